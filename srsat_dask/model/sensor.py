"""What a coarser sensor does to an image: the blur of its optics, and noise that is repeatable.

Both are computed pixel by pixel in a fixed order, so a pixel comes out with the same bits in
whatever window it is computed.
"""

import math

import numpy as np
from numpy.typing import NDArray

REACH = 4.0
"""Standard deviations that the blur's kernel reaches at least; beyond lie 6e-5 of its weight."""

NOISE_BLOCK = 32
"""Side of the blocks that noise is drawn in, in LR pixels."""


def mtf_sigma(nyquist: float, scale: int) -> float:
    """Return the standard deviation of the Gaussian blur with a given MTF, in HR pixels.

    The Fourier transform of a Gaussian is ``exp(-2 π² σ² f²)``, and the Nyquist frequency of the
    coarse grid is ``f = 1 / (2 scale)`` cycles per HR pixel, so ``σ = scale / π · √(-2 ln MTF)``.
    After B. Aiazzi, L. Alparone, S. Baronti, A. Garzelli, M. Selva, "MTF-tailored multiscale
    fusion of high-resolution MS and Pan imagery", Photogramm. Eng. Remote Sens. 72 (2006).

    Parameters
    ----------
    nyquist : float
        Modulation transfer at the Nyquist frequency of the coarse grid, between 0 and 1.
    scale : int
        HR pixels per LR pixel.
    """
    return scale / math.pi * math.sqrt(-2.0 * math.log(nyquist))


def mtf_margin(nyquist: float, scale: int) -> int:
    """Return the HR pixels read on each side of an LR pixel's own: a multiple of `scale`."""
    beyond = REACH * mtf_sigma(nyquist, scale) - scale / 2
    return max(math.ceil(beyond / scale), 0) * scale


def mtf_taps(nyquist: float, scale: int) -> NDArray[np.float32]:
    """Return the weights of the HR pixels that make one LR pixel, along one axis.

    The kernel is centred on the LR pixel, which for an even scale is between two HR pixels.

    Parameters
    ----------
    nyquist : float
        Modulation transfer at the Nyquist frequency of the coarse grid.
    scale : int
        HR pixels per LR pixel.

    Returns
    -------
    float32 (scale + 2 * margin,)
        They sum to 1.
    """
    count = scale + 2 * mtf_margin(nyquist, scale)
    distance = np.arange(count) - (count - 1) / 2
    weights = np.exp(-0.5 * (distance / mtf_sigma(nyquist, scale)) ** 2)
    taps: NDArray[np.float32] = (weights / weights.sum()).astype(np.float32)
    return taps


def blur_and_decimate(image: NDArray[np.uint8], scale: int, nyquist: float) -> NDArray[np.floating]:
    """Blur an image as optics of a given MTF would, and sample it at the LR pixels' centres.

    Parameters
    ----------
    image : uint8 (scale * y, scale * x, bands)
        HR image. Taps beyond its edge are left out, and the others divided by their sum.
    scale : int
        HR pixels per LR pixel.
    nyquist : float
        Modulation transfer at the Nyquist frequency of the coarse grid.

    Returns
    -------
    float32 (y, x, bands)
        In the unit of `image`, neither rounded nor clipped.
    """
    taps = mtf_taps(nyquist, scale)
    margin = (len(taps) - scale) // 2
    values: NDArray[np.floating] = image.astype(np.float32)
    for axis in (1, 0):
        size = values.shape[axis]
        frame = [(0, 0)] * 3
        frame[axis] = (margin, margin)
        padded = np.pad(values, frame)
        inside = np.pad(np.ones(size, np.float32), margin)
        # The first sample of each tap, then every `scale`-th: one term at a time, in one order.
        at = [slice(tap, tap + size - scale + 1, scale) for tap in range(len(taps))]
        along = [1, 1, 1]
        along[axis] = -1
        total, weight = np.float32(0), np.float32(0)
        for tap, where in zip(taps, at, strict=True):
            index = [slice(None)] * 3
            index[axis] = where
            total = total + padded[tuple(index)] * tap
            weight = weight + inside[where] * tap
        values = total / np.reshape(weight, along)
    return values


def sensor_noise(
    shape: tuple[int, int, int], origin: tuple[int, int], seed: int
) -> NDArray[np.float64]:
    """Return standard normal noise that belongs to the pixels of a scene, not to a window.

    Blocks of pixels each have a Philox stream of their own, keyed by the seed and counted by the
    block's place: so nothing has to be drawn for what lies before.

    Parameters
    ----------
    shape : tuple of int
        Height, width and bands of the window.
    origin : tuple of int
        Row and column of the window in its scene, not negative.
    seed : int
        Another one gives other noise.

    Returns
    -------
    float64 (y, x, bands)
        Mean 0, standard deviation 1.
    """
    height, width, bands = shape
    top, left = (start // NOISE_BLOCK for start in origin)
    bottom = -(-(origin[0] + height) // NOISE_BLOCK)
    right = -(-(origin[1] + width) // NOISE_BLOCK)

    def block(row: int, column: int) -> NDArray[np.float64]:
        stream = np.random.Philox(key=seed, counter=[0, 0, row, column])
        return np.random.Generator(stream).standard_normal((bands, NOISE_BLOCK, NOISE_BLOCK))

    rows = [
        np.concatenate([block(row, column) for column in range(left, right)], axis=2)
        for row in range(top, bottom)
    ]
    y, x = origin[0] - top * NOISE_BLOCK, origin[1] - left * NOISE_BLOCK
    window = np.concatenate(rows, axis=1)[:, y : y + height, x : x + width]
    return window.transpose(1, 2, 0)
