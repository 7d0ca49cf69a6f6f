"""HR to LR: the degradation that the models are trained and judged on."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from srsat_dask.errors import BoundsError, InputError, ModelError
from srsat_dask.model.sensor import blur_and_decimate, mtf_margin, sensor_noise

METHODS = ("bicubic", "area", "mtf")

FORMS = "bicubic, area or mtf:0.25, and after it, if wanted, +noise:2 or, with a seed, +noise:2:7"
"""What a degradation may be written as; for messages and help."""

NYQUIST = (0.05, 0.5)
"""MTF at the Nyquist frequency that can be asked for. Sensors have 0.1 to 0.4; a sharper Gaussian
is too narrow to be sampled on the HR grid."""

_OLD_BICUBIC = "antialiased bicubic, 8 bits"  # what the first models recorded

_RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "area": Image.Resampling.BOX}


@dataclass(frozen=True)
class Degradation:
    """How a coarse image is made of a fine one.

    Written as a text such as ``bicubic``, ``area``, ``mtf:0.25`` or ``bicubic+noise:2``.

    Raises
    ------
    InputError
        If a field is out of its range; the message names the value.
    """

    method: str = "bicubic"
    """``bicubic``, antialiased, what Pillow does in mode F; ``area``, the mean of the HR pixels;
    ``mtf``, a Gaussian blur sampled at the LR pixels' centres."""

    nyquist: float | None = None
    """MTF of the blur at the Nyquist frequency of the coarse grid, for ``mtf`` only."""

    noise: float = 0.0
    """Standard deviation of Gaussian sensor noise, in digital numbers of 8 bits."""

    seed: int = 0
    """Seed of the noise; not negative."""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"degradation {self.method!r} is unknown: give {FORMS}")
        if (self.nyquist is not None) != (self.method == "mtf"):
            raise InputError(
                f"degradation {self.method} with an MTF of {self.nyquist}: mtf takes its value at"
                " the Nyquist frequency, such as mtf:0.25, and no other method takes one"
            )
        if self.nyquist is not None and not NYQUIST[0] <= self.nyquist <= NYQUIST[1]:
            raise InputError(
                f"an MTF of {self.nyquist:g} at the Nyquist frequency is not between"
                f" {NYQUIST[0]} and {NYQUIST[1]}: sensors have 0.1 to 0.4"
            )
        if not (math.isfinite(self.noise) and 0 <= self.noise <= 255):
            raise InputError(f"noise of {self.noise:g} digital numbers is not between 0 and 255")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"noise seed {self.seed} is not between 0 and 2^63")

    @classmethod
    def of(cls, degradation: "str | Degradation") -> "Degradation":
        """Take a degradation, or read one from its text.

        Raises
        ------
        InputError
            If the text is not one of a degradation.
        """
        if isinstance(degradation, Degradation):
            return degradation
        try:
            resampling, plus, noise = degradation.partition("+")
            method, colon, nyquist = resampling.partition(":")
            sigma, seed = "0", "0"
            if plus:
                word, sigma, *rest = noise.split(":")
                (seed,) = rest or ("0",)
                if word != "noise":
                    raise ValueError(word)
            value = float(nyquist) if colon else None
            return cls(method, value, float(sigma), int(seed))
        except ValueError as error:
            raise InputError(f"{degradation!r} is not a degradation: give {FORMS}") from error

    def __str__(self) -> str:
        text = self.method if self.nyquist is None else f"{self.method}:{_short(self.nyquist)}"
        if not self.noise:
            return text
        seed = f":{self.seed}" if self.seed else ""
        return f"{text}+noise:{_short(self.noise)}{seed}"

    @classmethod
    def recorded(cls, metadata: Mapping[str, Any]) -> "Degradation":
        """Return what a model's metadata say of it; bicubic where they say nothing.

        Raises
        ------
        ModelError
            If they name one that is not known here.
        """
        record = metadata.get("degradation", {})
        try:
            method = record.get("method", "bicubic")
            if method == _OLD_BICUBIC:
                return cls()
            nyquist = record.get("nyquist")
            return cls(
                method,
                None if nyquist is None else float(nyquist),
                float(record.get("noise", 0.0)),
                int(record.get("seed", 0)),
            )
        except (AttributeError, TypeError, ValueError, OverflowError, InputError) as error:
            raise ModelError(
                f"the model records a degradation that is not known here, {str(record)[:200]}:"
                f" give another, {FORMS}"
            ) from error

    def record(self) -> dict[str, Any]:
        """Return the fields as JSON values, which `recorded` reads again."""
        return asdict(self)

    def margin(self, scale: int) -> int:
        """HR pixels needed around a window so that its LR pixels are exact.

        The antialiased bicubic kernel reaches ``2 * scale`` HR pixels from the centre of an LR
        pixel, which is less than two LR pixels beyond its own; a mean reaches no further than its
        own pixel.

        Parameters
        ----------
        scale : int
            HR pixels per LR pixel.

        Returns
        -------
        int
            A multiple of `scale`.
        """
        if self.nyquist is not None:
            return mtf_margin(self.nyquist, scale)
        return 2 * scale if self.method == "bicubic" else 0

    def apply(
        self, image: NDArray[np.uint8], scale: int, origin: tuple[int, int] = (0, 0)
    ) -> NDArray[np.uint8]:
        """Make an image coarser.

        Noise is added before the one rounding (half to even) and clipping to 8 bits.

        Parameters
        ----------
        image : uint8 (scale * y, scale * x, bands)
            HR image.
        scale : int
            HR pixels per LR pixel.
        origin : tuple of int
            Row and column of the image in its scene, in LR pixels: noise belongs to the place.

        Returns
        -------
        uint8 (y, x, bands)

        Raises
        ------
        BoundsError
            If an axis is empty or not a multiple of `scale`.
        """
        _check_size(image, scale)
        if self.nyquist is not None:
            coarse = blur_and_decimate(image, scale, self.nyquist)
        else:
            coarse = _resized(image, scale, _RESAMPLING[self.method])
        if self.noise:
            height, width, bands = coarse.shape
            coarse = coarse + self.noise * sensor_noise((height, width, bands), origin, self.seed)
        rounded: NDArray[np.uint8] = np.clip(np.rint(coarse), 0, 255).astype(np.uint8)
        return rounded


BICUBIC = Degradation()
"""Antialiased bicubic without noise: what is meant where nothing else is said."""


def stretch(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Stretch a tile to its own minimum and maximum, over all bands together.

    A defect to reproduce, not to use: Keras' ``array_to_img`` does this by default, and the
    article's recipe calls it, so that its inputs and targets differ in contrast from tile to tile.

    Parameters
    ----------
    image : uint8 (y, x, bands)
        A tile.

    Returns
    -------
    uint8 (y, x, bands)
        Truncated, not rounded, as ``array_to_img`` does; a constant tile becomes 0.
    """
    values = image.astype(np.float32)
    values -= values.min()
    peak = values.max()
    if peak > 0:
        values /= peak
    return (values * np.float32(255)).astype(np.uint8)


def _check_size(image: NDArray[np.uint8], scale: int) -> None:
    if scale < 1:
        raise BoundsError(f"scale {scale} is not positive; give 2, 3 or 4")
    height, width, _ = image.shape
    if not (height and width) or height % scale or width % scale:
        raise BoundsError(
            f"an image of {height}×{width} pixels cannot be degraded by {scale}: crop it to "
            f"{height // scale * scale}×{width // scale * scale}, a multiple of {scale} of at "
            "least one pixel"
        )


def _resized(
    image: NDArray[np.uint8], scale: int, resampling: Image.Resampling
) -> NDArray[np.floating]:
    # Each band by Pillow in mode F, which neither rounds nor clips.
    height, width, bands = image.shape
    size = (width // scale, height // scale)
    coarse = np.empty((size[1], size[0], bands), np.float32)
    for band in range(bands):
        values = Image.fromarray(image[..., band].astype(np.float32))
        coarse[..., band] = values.resize(size, resampling)
    return coarse


def _short(value: float) -> str:
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
