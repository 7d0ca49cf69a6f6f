"""How pixels become finer pixels: model, engine, bands and range, the same for a whole image.

The lazy API, the task of a shard and the proof of seams all go through :meth:`Recipe.apply`, so
they give the same bits. A recipe is cheap to send to workers; each process builds its engine once.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from srsat_dask import __version__
from srsat_dask.errors import InputError, RasterError
from srsat_dask.model.bands import with_bands
from srsat_dask.model.engines import Upscaler, get_upscaler, resolve_engine
from srsat_dask.model.ensemble import EnsembleUpscaler
from srsat_dask.model.file import ModelFile
from srsat_dask.model.inference import upscale_window
from srsat_dask.mosaic.inputs import DTYPES
from srsat_dask.runtime.clusters import threads_here

Range = tuple[float, float]
"""The values that stand for black and white: what the model sees as 0 and 1."""

OTHER_BANDS = ("bicubic",)
"""What may become of the bands that the model does not take; by default they are left out."""


@dataclass(frozen=True)
class Recipe:
    """All that decides the finer pixels, apart from the coarse ones."""

    model: ModelFile
    """Network and weights."""
    engine: str
    """What computes it, on every worker: ``openvino`` or ``keras``."""
    value_range: Range
    """Values for black and white, one pair for the whole image: a pair per part makes seams."""
    bands: int = 3
    """Bands of the image: as many as the model takes, one (shown to it as grey), or more, which
    are upsampled by bicubic interpolation."""
    ensemble: bool = False
    """Whether the network sees all eight rotations and flips, to be averaged."""

    @property
    def scale(self) -> int:
        """Output pixels per input pixel, along one axis."""
        return self.model.spec.scale

    @property
    def halo(self) -> int:
        """Input pixels that the network needs around a window."""
        return self.model.spec.halo

    @property
    def margin(self) -> int:
        """Input pixels to read around a window: one halo more fills missing pixels in the halo."""
        return 2 * self.model.spec.halo

    def upscaler(self) -> Upscaler:
        """Return this process' upscaler, built the first time it is asked for."""
        network = get_upscaler(self.model, self.engine, threads_here())
        return with_bands(EnsembleUpscaler(network) if self.ensemble else network, self.bands)

    def apply(
        self, image: npt.NDArray[Any], valid: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
        """Upscale a window with its margin.

        Parameters
        ----------
        image : numpy.ndarray of shape (bands, y + 2·margin, x + 2·margin)
            uint8, uint16 or float.
        valid : numpy.ndarray of bool, shape (y + 2·margin, x + 2·margin)
            False where a pixel is missing.

        Returns
        -------
        image : numpy.ndarray of the same type, shape (bands, scale·y, scale·x)
            0 where missing.
        valid : numpy.ndarray of uint8, shape (scale·y, scale·x)
            1 where the input pixel exists. Where none does, no engine is asked for.
        """
        margin, scale = self.margin, self.scale
        if not valid[margin:-margin, margin:-margin].any():
            height, width = (scale * (side - 2 * margin) for side in valid.shape)
            empty = np.zeros((height, width), np.uint8)
            return np.zeros((self.bands, height, width), image.dtype), empty
        pixels, mask = upscale_window(image, valid, self.upscaler(), self.value_range)
        return pixels, cast("npt.NDArray[np.uint8]", mask)

    def lineage(self) -> dict[str, Any]:
        """Return what decides the pixels, as JSON values."""
        return {
            "model": self.model.sha256,
            "scale": self.scale,
            "halo": self.halo,
            "engine": self.engine,
            "range": list(self.value_range),
            "ensemble": self.ensemble,
            "version": __version__,
        }


def make_recipe(
    model: Any,
    dtype: npt.DTypeLike,
    bands: int,
    *,
    engine: str = "auto",
    value_range: Range | None = None,
    ensemble: bool = False,
) -> Recipe:
    """Check the settings of an upscaling and resolve what is left to it.

    Parameters
    ----------
    model : str, path, keras.Model or ModelFile
        What :meth:`ModelFile.open` takes.
    dtype : numpy.dtype
        Type of the image.
    bands : int
        Bands of the image that go into the result.
    engine : {"auto", "openvino", "keras"}
        ``auto`` is resolved here, once for the whole image.
    value_range : tuple of float, optional
        By default that of the integer type, and 0 to 1 for floats.
    ensemble : bool
        Average over the eight rotations and flips of the input.

    Raises
    ------
    InputError
        A type, range or engine that cannot be used.
    ModelError
        The model cannot be read.
    """
    resolved = resolve_engine(engine)
    file = ModelFile.open(model)
    if bands not in {1, *range(file.spec.bands, bands + 1)}:
        raise RasterError(
            f"{bands} bands will not do: the model takes {file.spec.bands}, or one, shown to it"
            " as grey"
        )
    return Recipe(file, resolved, check_range(np.dtype(dtype), value_range), bands, ensemble)


def check_range(dtype: np.dtype[Any], value_range: Range | None) -> Range:
    """Return the values for black and white of an image of this type.

    Raises
    ------
    InputError
        A type that is not uint8, uint16 or float, or black not less than white.
    """
    if dtype.name not in DTYPES:
        raise InputError(f"type {dtype} is not {', '.join(DTYPES)}: convert it first")
    if value_range is None:
        return (0.0, float(np.iinfo(dtype).max)) if dtype.kind == "u" else (0.0, 1.0)
    low, high = (float(value) for value in value_range)
    if not (np.isfinite([low, high]).all() and low < high):
        raise InputError(f"value_range {value_range}: black must be less than white, both finite")
    return low, high


def check_other_bands(other_bands: str | None) -> None:
    """Refuse a word for the other bands that means nothing."""
    if other_bands is not None and other_bands not in OTHER_BANDS:
        raise InputError(f"other_bands {other_bands!r} is unknown: give {', '.join(OTHER_BANDS)}")
