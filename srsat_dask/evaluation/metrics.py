"""How far an image is from the true one, in sums: PSNR, luma PSNR and SSIM of 8-bit pixels.

What can be is summed in whole numbers, so the sums do not hang on where an image was cut.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
"""An image, uint8 (y, x, 3)."""

Place = npt.NDArray[np.bool_]
"""Which pixels are meant, bool (y, x)."""

LUMA = np.array([65.481, 128.553, 24.966]) / 255
"""BT.601 luma of red, green and blue: 8 bits to 16 to 235, as MATLAB's and scikit-image's."""

RADIUS = 3
"""Pixels around one that its SSIM looks at: a uniform window of 7 × 7."""

_N = (2 * RADIUS + 1) ** 2
# The constants of Wang et al., IEEE Trans. Image Processing 13 (2004), times what the whole-number
# sums below are larger than means and sample covariances.
_C1 = np.float32((0.01 * 255) ** 2 * _N**2)
_C2 = np.float32((0.03 * 255) ** 2 * _N * (_N - 1))


@dataclass(frozen=True)
class Sums:
    """Sums over the pixels that count, of one image against the true one."""

    squares: int = 0
    """Squared differences of red, green and blue, in 8-bit digital numbers."""
    luma_squares: float = 0.0
    """Squared differences of BT.601 luma, in the same unit."""
    pixels: int = 0
    """Pixels that count."""
    ssim: float = 0.0
    """SSIM, mean of the bands."""
    ssim_pixels: int = 0
    """Pixels whose whole SSIM window counts."""
    low_squares: int = 0
    """Squared differences of the image degraded again and what it was made from."""
    low_pixels: int = 0
    """Coarse pixels that count in these."""

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            self.squares + other.squares,
            self.luma_squares + other.luma_squares,
            self.pixels + other.pixels,
            self.ssim + other.ssim,
            self.ssim_pixels + other.ssim_pixels,
            self.low_squares + other.low_squares,
            self.low_pixels + other.low_pixels,
        )

    @classmethod
    def total(cls, parts: Sequence["Sums"]) -> "Sums":
        """Return the sums of all parts, added in their order."""
        return sum(parts, cls())

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio of red, green and blue together in dB; inf if none differ."""
        return decibel(self.squares, 3 * self.pixels)

    @property
    def psnr_y(self) -> float:
        """Peak signal-to-noise ratio of BT.601 luma in dB, peak 255 as for RGB."""
        return decibel(self.luma_squares, self.pixels)

    @property
    def mean_ssim(self) -> float:
        """Mean structural similarity; NaN for an image smaller than its window."""
        return self.ssim / self.ssim_pixels if self.ssim_pixels else math.nan

    @property
    def consistency(self) -> float:
        """PSNR of the image degraded again against what it was made from, in dB."""
        return decibel(self.low_squares, 3 * self.low_pixels)

    @property
    def consistency_rmse(self) -> float:
        """Root mean square of the same differences, in 8-bit digital numbers."""
        return math.sqrt(self.low_squares / (3 * self.low_pixels)) if self.low_pixels else math.nan


def decibel(squares: float, samples: int) -> float:
    """Return the PSNR in dB of a sum of squared differences of 8-bit numbers, NaN for no sample."""
    if not samples:
        return math.nan
    return math.inf if squares == 0 else 10 * math.log10(255**2 * samples / squares)


def differences(original: Pixels, other: Pixels, counted: Place) -> tuple[int, float, int]:
    """Sum the squared differences of two images over the pixels that count.

    Parameters
    ----------
    original, other : uint8 (y, x, 3)
        The images.
    counted : bool (y, x)
        Which pixels count.

    Returns
    -------
    squares : int
        Of red, green and blue.
    luma_squares : float
        Of BT.601 luma: the squares and products of the bands' differences, weighted.
    pixels : int
        That count.
    """
    difference = np.subtract(original, other, dtype=np.int16).astype(np.float32)
    difference *= counted[..., None]
    # Rows of at most 2^24 / 255^2 pixels, in which single precision counts exactly.
    products = np.zeros((3, 3))
    rows = difference.reshape(-1, 3)
    for start in range(0, len(rows), 256):
        part = rows[start : start + 256]
        products += part.T @ part
    return int(products.trace()), float(LUMA @ products @ LUMA), int(counted.sum())


class Similarity:
    """SSIM of images against a true one, whose own sums are made once.

    After Wang et al. (2004) with a uniform 7 × 7 window and sample covariances, what
    scikit-image's ``structural_similarity`` does by default; the means and covariances are whole
    numbers until the last step.

    Parameters
    ----------
    original : uint8 (y, x, 3)
        The true image, more than 6 pixels on each axis.
    """

    def __init__(self, original: Pixels) -> None:
        self._values = original.astype(np.int32)
        self._sums = boxes(self._values)
        self._variances = _N * boxes(self._values**2) - self._sums**2

    def map(self, other: Pixels) -> npt.NDArray[np.float32]:
        """Return the similarity of each pixel with a whole window, mean of the bands.

        Parameters
        ----------
        other : uint8 (y, x, 3)
            An image of the same shape.

        Returns
        -------
        float32 (y - 6, x - 6)
        """
        values = other.astype(np.int32)
        sums = boxes(values)
        product = self._sums * sums
        covariance = _N * boxes(self._values * values) - product
        variance = _N * boxes(values**2) - sums**2
        # Whole numbers and single precision would make double.
        top = (2 * product).astype(np.float32) + _C1
        top *= (2 * covariance).astype(np.float32) + _C2
        bottom = (self._sums**2 + sums**2).astype(np.float32) + _C1
        bottom *= (self._variances + variance).astype(np.float32) + _C2
        top /= bottom
        return np.asarray((top[..., 0] + top[..., 1] + top[..., 2]) / np.float32(3))


def boxes(values: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return the sum of every whole 7 × 7 window of (y, x, bands): (y - 6, x - 6, bands)."""
    for _ in range(2):
        pairs = values[:-1] + values[1:]
        fours = pairs[:-2] + pairs[2:]
        sevens = fours[:-3] + pairs[4:-1]
        sevens += values[6:]
        values = sevens.swapaxes(0, 1)
    return values


def edge_density(image: Pixels, counted: Place) -> float:
    """Return the mean step between neighbouring pixels that count, in 8-bit digital numbers.

    Parameters
    ----------
    image : uint8 (y, x, 3)
        The image; its bands are averaged.
    counted : bool (y, x)
        Which pixels count; a step counts if both its pixels do.

    Returns
    -------
    float
        0 where no two neighbours count.
    """
    grey = image.sum(axis=2, dtype=np.int32)
    steps, pairs = 0, 0
    for axis in (0, 1):
        values, there = (np.moveaxis(array, axis, 0) for array in (grey, counted))
        both = there[1:] & there[:-1]
        steps += int(np.abs(np.diff(values, axis=0))[both].sum())
        pairs += int(both.sum())
    return steps / (3 * pairs) if pairs else 0.0


def busiest(image: Pixels, rows: int, columns: int) -> tuple[slice, slice]:
    """Return the part of an image, of so many rows and columns, with the strongest edges."""
    grey = image.mean(axis=2)
    edges = np.zeros_like(grey)
    edges[1:, 1:] = np.abs(np.diff(grey, axis=0))[:, 1:] + np.abs(np.diff(grey, axis=1))[1:]
    starts = [
        (y, x)
        for y in range(0, grey.shape[0] - rows + 1, max(rows // 2, 1))
        for x in range(0, grey.shape[1] - columns + 1, max(columns // 2, 1))
    ]
    y, x = max(starts, key=lambda at: edges[at[0] : at[0] + rows, at[1] : at[1] + columns].sum())
    return slice(y, y + rows), slice(x, x + columns)
