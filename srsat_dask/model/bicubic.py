"""Bicubic upsampling by a whole number, in NumPy.

The kernel is that of Keys, "Cubic convolution interpolation for digital image processing", IEEE
Trans. ASSP 29 (1981), with a = -0.5; pixel centres lie at half-integers; a tap beyond the edge is
left out and the others are divided by their sum. This is what Pillow does in mode F.
"""

import numpy as np
from numpy.typing import NDArray

from srsat_dask.errors import BoundsError

TAPS = 4
"""LR pixels that make one HR pixel, on each axis."""


def keys_kernel(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weight of a sample at a distance, after Keys (1981) with a = -0.5.

    Parameters
    ----------
    distance : float64 array
        In LR pixels, of any sign.

    Returns
    -------
    float64 array
        Of the same shape; zero from 2 pixels on.
    """
    x = np.abs(distance)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def phase_taps(scale: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """First tap and weights of each of the `scale` HR pixels in one LR pixel.

    HR pixel ``scale * i + phase`` is the weighted sum of the LR pixels
    ``i + first[phase] .. i + first[phase] + 3``. Phases, not positions, carry the weights: so the
    same pixel gets the same weights, to the last bit, in whatever window it lies.

    Parameters
    ----------
    scale : int
        HR pixels per LR pixel.

    Returns
    -------
    first : int64 (scale,)
        Offset of the first tap, in LR pixels: -2 or -1.
    weights : float64 (scale, 4)
        They sum to 1 in each row.

    Raises
    ------
    BoundsError
        If `scale` is not positive.
    """
    if scale < 1:
        raise BoundsError(f"scale {scale} is not positive; give 2, 3 or 4")
    phase = np.arange(scale)
    # The centre of a phase is (phase + 0.5) / scale - 0.5 = numerator / (2 scale) LR pixels from
    # the centre of its LR pixel; integers keep the fraction exact for scale 3 too.
    numerator = 2 * phase + 1 - scale
    first = numerator // (2 * scale) - 1
    fraction = (numerator % (2 * scale)) / (2.0 * scale)
    weights = keys_kernel(fraction[:, None] - np.arange(-1, TAPS - 1))
    return first, weights / weights.sum(axis=1, keepdims=True)


def upsampling_taps(size: int, scale: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Taps of every HR pixel along one axis of an image.

    Parameters
    ----------
    size : int
        Length of the axis, in LR pixels.
    scale : int
        HR pixels per LR pixel.

    Returns
    -------
    indices : int64 (scale * size, 4)
        LR pixels, held inside the image.
    weights : float32 (scale * size, 4)
        Zero for a tap beyond the edge; the others sum to 1.

    Raises
    ------
    BoundsError
        If `size` or `scale` is not positive.
    """
    if size < 1:
        raise BoundsError(f"an axis of {size} pixels cannot be upsampled; give at least one pixel")
    first, by_phase = phase_taps(scale)
    position = np.arange(scale * size)
    phase = position % scale
    indices = (position // scale + first[phase])[:, None] + np.arange(TAPS)
    weights = np.where((indices >= 0) & (indices < size), by_phase[phase], 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.clip(indices, 0, size - 1), weights.astype(np.float32)


def upsample(image: NDArray[np.generic], scale: int) -> NDArray[np.float32]:
    """Bicubic upsampling, neither rounded nor clipped.

    Parameters
    ----------
    image : (y, x, bands) array
        Any real dtype and unit.
    scale : int
        HR pixels per LR pixel.

    Returns
    -------
    float32 (scale * y, scale * x, bands)
        In the unit of `image`; may overshoot its range at sharp edges.

    Raises
    ------
    BoundsError
        If an axis is empty or `scale` is not positive.
    """
    values = np.asarray(image, dtype=np.float32)
    for axis in (1, 0):
        indices, weights = upsampling_taps(values.shape[axis], scale)
        along = [1, 1, 1]
        along[axis] = -1
        total = np.take(values, indices[:, 0], axis) * weights[:, 0].reshape(along)
        for tap in range(1, TAPS):
            total += np.take(values, indices[:, tap], axis) * weights[:, tap].reshape(along)
        values = total
    return values
