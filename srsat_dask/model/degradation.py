"""HR to LR: the degradation that the models are trained and judged on."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from srsat_dask.errors import BoundsError


def degrade_margin(scale: int) -> int:
    """HR pixels needed around a window so that its LR pixels are exact.

    The antialiased kernel reaches ``2 * scale`` HR pixels from the centre of an LR pixel, which is
    less than two LR pixels beyond its own.

    Parameters
    ----------
    scale : int
        HR pixels per LR pixel.

    Returns
    -------
    int
        A multiple of `scale`.
    """
    return 2 * scale


def degrade(image: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Make an image coarser by antialiased bicubic interpolation.

    Each band goes through Pillow in mode F, so it is rounded (half to even) and clipped once.

    Parameters
    ----------
    image : uint8 (scale * y, scale * x, bands)
        HR image.
    scale : int
        HR pixels per LR pixel.

    Returns
    -------
    uint8 (y, x, bands)

    Raises
    ------
    BoundsError
        If an axis is empty or not a multiple of `scale`.
    """
    if scale < 1:
        raise BoundsError(f"scale {scale} is not positive; give 2, 3 or 4")
    height, width, bands = image.shape
    if not (height and width) or height % scale or width % scale:
        raise BoundsError(
            f"an image of {height}×{width} pixels cannot be degraded by {scale}: crop it to "
            f"{height // scale * scale}×{width // scale * scale}, a multiple of {scale} of at "
            "least one pixel"
        )
    size = (width // scale, height // scale)
    coarse = np.empty((height // scale, width // scale, bands), np.uint8)
    for band in range(bands):
        values = Image.fromarray(image[..., band].astype(np.float32))
        resized = np.asarray(values.resize(size, Image.Resampling.BICUBIC))
        coarse[..., band] = np.clip(np.rint(resized), 0, 255)
    return coarse


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
