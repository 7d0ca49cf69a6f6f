"""Presets: everything that a training run is made of, apart from its data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from srsat_dask.errors import InputError


@dataclass(frozen=True)
class Preset:
    """Settings of a training run."""

    size: int
    """Side of an HR patch in pixels; rounded down to a multiple of the scale."""
    validation_size: int
    """Side of a validation patch in pixels; rounded down likewise."""
    batch: int
    """Patches per step."""
    steps_per_epoch: int
    """Steps between two validations."""
    epochs: int
    """Length of a run that is given no other."""
    first_rate: float
    """Learning rate of Adam at the first step."""
    last_rate: float
    """Learning rate at the end; on the way it falls along half a cosine."""
    residual: bool
    """Whether the network predicts what to add to the bicubic image."""
    filters: tuple[int, ...] = (64, 32)
    """Channels between the convolutions."""
    kernels: tuple[int, ...] = (9, 1, 5)
    """Widths of the convolutions in HR pixels."""
    luminance: bool = False
    """Whether the network sees and corrects BT.601 luma alone."""
    contrast_stretch: bool = False
    """Stretch each patch to its own contrast before degrading it: the article's defect."""
    pooled_psnr: bool = False
    """PSNR of a batch's pooled error, where the mean over its images is the rule."""

    def patch(self, scale: int) -> int:
        """Return the side of an HR patch in pixels, a multiple of `scale`."""
        return self.size // scale * scale

    def validation_patch(self, scale: int) -> int:
        """Return the side of a validation patch in pixels, a multiple of `scale`."""
        return self.validation_size // scale * scale


PRESETS = {
    # By measurement at ×4, after 50 megapixels of a town (two minutes on two free cores), in dB
    # over bicubic: batches of 16 gave 0.40, of 8 0.49, of 4 0.53. A first rate of 2e-3 cost 0.05
    # at batches of 8.
    "default": Preset(
        size=64,
        validation_size=128,
        batch=4,
        steps_per_epoch=500,
        epochs=40,
        first_rate=1e-3,
        last_rate=1e-5,
        residual=True,
    ),
    # Dong et al., IEEE TPAMI 38 (2016): 33 px sub-images, batches of 128, rate 1e-4, the network
    # predicts the image itself. Adam stands in for its SGD, and one rate for its two.
    "paper": Preset(
        size=33,
        validation_size=128,
        batch=128,
        steps_per_epoch=100,
        epochs=200,
        first_rate=1e-4,
        last_rate=1e-4,
        residual=False,
    ),
    # "Get super-resolution for satellite images using SRCNN": whole tiles, 187 batches of 32,
    # Adam as it comes. What it calls PSNR is that of a batch's pooled error. Its zero padding is
    # not reproduced: the convolutions here are valid.
    "article": Preset(
        size=256,
        validation_size=128,
        batch=32,
        steps_per_epoch=187,
        epochs=200,
        first_rate=1e-3,
        last_rate=1e-3,
        residual=False,
        contrast_stretch=True,
        pooled_psnr=True,
    ),
}
"""The presets of ``srsat train --preset``, by name."""


def choose_preset(
    name: str,
    *,
    filters: Sequence[int] | None = None,
    kernels: Sequence[int] | None = None,
    residual: bool | None = None,
    luminance: bool | None = None,
) -> Preset:
    """Return a preset, with its network changed where asked for.

    Parameters
    ----------
    name : str
        A key of `PRESETS`.
    filters, kernels : sequence of int, optional
        In place of the preset's.
    residual, luminance : bool, optional
        Likewise.

    Raises
    ------
    InputError
        There is no such preset.
    """
    if name not in PRESETS:
        raise InputError(f"preset {name!r} is unknown: choose {', '.join(PRESETS)}")
    preset = PRESETS[name]
    return replace(
        preset,
        filters=preset.filters if filters is None else tuple(filters),
        kernels=preset.kernels if kernels is None else tuple(kernels),
        residual=preset.residual if residual is None else residual,
        luminance=preset.luminance if luminance is None else luminance,
    )
