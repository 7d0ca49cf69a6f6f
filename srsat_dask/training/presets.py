"""Presets: everything that a training run is made of, apart from its data."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any

from srsat_dask.errors import InputError

OPTIMIZERS = ("adam", "sgd")
AUGMENTATIONS = ("turns", "colour")


@dataclass(frozen=True)
class Preset:
    """Settings of a training run.

    Raises
    ------
    InputError
        A value is out of its range; the message names it.
    """

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
    """Learning rate at the first step."""
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
    optimizer: str = "adam"
    """``adam`` or ``sgd``."""
    momentum: float = 0.9
    """Momentum of ``sgd``."""
    last_layer_rate: float = 1.0
    """Learning rate of the last layer, as a share of the others'; of ``sgd`` only."""
    summed_loss: bool = False
    """Whether rates are for the squared error summed over a patch, as Dong et al. state theirs,
    rather than for its mean; of ``sgd`` only."""
    initial_deviation: float | None = None
    """Standard deviation of the first weights of every layer; else He's, the last layer's 0.001 in
    a residual network."""
    augment: str = "turns"
    """``turns``: each patch turned and mirrored at random; ``colour``: its bands exchanged and its
    contrast and brightness changed as well."""
    validation_patches: int = 64
    """Most patches that are validated on."""
    contrast_stretch: bool = False
    """Stretch each patch to its own contrast before degrading it: the article's defect."""
    pooled_psnr: bool = False
    """PSNR of a batch's pooled error, where the mean over its images is the rule."""

    def __post_init__(self) -> None:
        for name in WHOLE:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} {value!r} must be a whole number from 1 on")
        for name in POSITIVE:
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not (math.isfinite(value) and value > 0):
                raise InputError(f"{name} {value!r} must be more than 0")
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum {self.momentum} must lie from 0 to less than 1")
        for name, choice in (("optimizer", OPTIMIZERS), ("augment", AUGMENTATIONS)):
            if getattr(self, name) not in choice:
                raise InputError(f"{name} {getattr(self, name)!r} must be {' or '.join(choice)}")
        if self.optimizer == "adam" and (self.last_layer_rate != 1 or self.summed_loss):
            raise InputError(
                "last_layer_rate and summed_loss do nothing under adam, whose steps do not hang on"
                " the size of a gradient: give optimizer sgd"
            )

    def of_mean_loss(self, scale: int, bands: int) -> "Preset":
        """Return the same settings with rates for the mean of the squared error over a patch."""
        if not self.summed_loss:
            return self
        values = bands * self.patch(scale) ** 2
        return replace(
            self,
            first_rate=values * self.first_rate,
            last_rate=values * self.last_rate,
            summed_loss=False,
        )

    def patch(self, scale: int) -> int:
        """Return the side of an HR patch in pixels, a multiple of `scale`."""
        return self.size // scale * scale

    def validation_patch(self, scale: int) -> int:
        """Return the side of a validation patch in pixels, a multiple of `scale`."""
        return self.validation_size // scale * scale


WHOLE = ("size", "validation_size", "batch", "steps_per_epoch", "epochs", "validation_patches")
"""Fields that must be whole numbers from 1 on."""

POSITIVE = ("first_rate", "last_rate", "last_layer_rate", "initial_deviation")
"""Fields that must be more than 0."""

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
    # Dong et al., IEEE TPAMI 38 (2016), section 4: 24,800 sub-images of 33 px, momentum 0.9, rates
    # 1e-4 and, in the last layer, 1e-5, of an error summed over the sub-image; first weights
    # Gaussian of deviation 0.001; the network predicts the image itself. Batches of 128 are those
    # of its code.
    "paper": Preset(
        size=33,
        validation_size=128,
        batch=128,
        steps_per_epoch=194,
        epochs=200,
        first_rate=1e-4,
        last_rate=1e-4,
        residual=False,
        optimizer="sgd",
        momentum=0.9,
        last_layer_rate=0.1,
        summed_loss=True,
        initial_deviation=0.001,
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


def choose_preset(name: str, settings: Mapping[str, Any] | None = None) -> Preset:
    """Return a preset, changed where asked for.

    Parameters
    ----------
    name : str
        A key of `PRESETS`.
    settings : mapping, optional
        Fields of `Preset` and their values in place of the preset's; None changes nothing.

    Raises
    ------
    InputError
        There is no such preset or field, or a value is out of its range.
    """
    if name not in PRESETS:
        raise InputError(f"preset {name!r} is unknown: choose {', '.join(PRESETS)}")
    known = [field.name for field in fields(Preset)]
    changed = {key: value for key, value in (settings or {}).items() if value is not None}
    for key, value in changed.items():
        if key not in known:
            raise InputError(f"setting {key!r} is unknown{near(key, known)}")
        if isinstance(value, list):
            changed[key] = tuple(value)
    return replace(PRESETS[name], **changed)


def near(name: str, known: list[str]) -> str:
    """Return what to say after an unknown name: the nearest one, or all of them."""
    close = get_close_matches(name, known, 1)
    return f": did you mean {close[0]!r}?" if close else f": choose of {', '.join(known)}"
