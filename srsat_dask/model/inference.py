"""Windows and whole images through an upscaler, nodata kept out of the pixels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from srsat_dask.errors import InputError
from srsat_dask.model.bicubic import upsample
from srsat_dask.model.engines import Upscaler
from srsat_dask.model.nodata import fill_nodata


def reach(upscaler: Upscaler) -> int:
    """LR pixels that a window needs on each side of its core.

    Twice the halo: the network reads one halo around the core, and a missing pixel in it is
    filled from one more around that.

    Parameters
    ----------
    upscaler : Upscaler
        Its halo is in LR pixels.
    """
    return 2 * upscaler.halo


def upscale_float(
    lr: NDArray[np.floating[Any]], valid: NDArray[np.bool_] | None, upscaler: Upscaler
) -> NDArray[np.float32]:
    """Upscale a window of real numbers.

    Parameters
    ----------
    lr : float (bands or more, y + 2 * R, x + 2 * R)
        In [0, 1], with ``R = reach(upscaler)``; bands beyond the model's are ignored.
    valid : bool (y + 2 * R, x + 2 * R), optional
        False where a pixel is missing: whatever lies there, NaN included, is replaced by what
        surrounds it. Not applied to the result.
    upscaler : Upscaler
        What to run.

    Returns
    -------
    float32 (bands, scale * y, scale * x)
        In the same unit, neither rounded nor clipped.

    Raises
    ------
    InputError
        If bands are lacking, the shapes differ, or nothing is left inside the margin.
    """
    _check(lr, valid, upscaler)
    return upscaler(_seen(lr, valid, upscaler)).transpose(2, 0, 1)


def upscale_window(
    image: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    upscaler: Upscaler,
    value_range: tuple[float, float] = (0.0, 255.0),
) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
    """Upscale a window of pixels.

    Parameters
    ----------
    image : uint8, uint16 or float (bands or more, y + 2 * R, x + 2 * R)
        Core and margin, with ``R = reach(upscaler)``.
    valid : bool (y + 2 * R, x + 2 * R), optional
        False where a pixel is missing.
    upscaler : Upscaler
        What to run.
    value_range : tuple of float
        The values that the network sees as 0 and 1; what lies beyond them is not clipped.

    Returns
    -------
    image : (bands, scale * y, scale * x)
        Of the same type; whole numbers are rounded half to even and clipped to what the type
        holds; 0 where missing.
    valid : uint8 (scale * y, scale * x) or None
        1 where the LR pixel was there; None if no `valid` was given.

    Raises
    ------
    InputError
        If bands are lacking, the shapes differ, or nothing is left inside the margin.
    """
    low, width = np.float32(value_range[0]), np.float32(value_range[1] - value_range[0])
    _check(image, valid, upscaler)
    lr = _seen((image.astype(np.float32) - low) / width, valid, upscaler)
    sides = (upscaler.scale * (side - 2 * upscaler.halo) for side in lr.shape[:2])
    pixels = np.empty((upscaler.bands, *sides), image.dtype)
    for rows, columns, piece in upscaler.tiles(lr):  # no float output of a whole shard is held
        pixels[:, rows, columns] = _to_type(piece * width + low, image.dtype)
    if valid is None:
        return pixels, None
    margin = reach(upscaler)
    core = valid[margin:-margin, margin:-margin]
    finer = core.repeat(upscaler.scale, axis=0).repeat(upscaler.scale, axis=1).astype(np.uint8)
    if not core.all():
        pixels *= finer
    return pixels, finer


def upscale_image(
    image: NDArray[np.uint8], upscaler: Upscaler, valid: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """Upscale a whole image in memory, mirrored at its edges.

    Parameters
    ----------
    image : uint8 (y, x, bands)
        At least as large as the halo on each axis.
    upscaler : Upscaler
        What to run.
    valid : bool (y, x), optional
        False where a pixel is missing; 0 is returned there.

    Returns
    -------
    uint8 (scale * y, scale * x, bands)

    Raises
    ------
    InputError
        If the image is smaller than the halo, or lacks bands.
    """
    if image.ndim != 3 or min(image.shape[:2]) < upscaler.halo:
        raise InputError(
            f"an image of shape {image.shape} cannot be upscaled: give (y, x, bands) with at "
            f"least {upscaler.halo} pixels on each axis, the model's halo"
        )
    margin = reach(upscaler)
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="symmetric")
    mask = None if valid is None else np.pad(valid, margin, mode="symmetric")
    pixels, _ = upscale_window(padded.transpose(2, 0, 1), mask, upscaler)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))


def bicubic_image(image: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Upsample a whole image by bicubic interpolation: the twin to compare a result with.

    Parameters
    ----------
    image : uint8 (y, x, bands)
        LR image.
    scale : int
        HR pixels per LR pixel.

    Returns
    -------
    uint8 (scale * y, scale * x, bands)
        Rounded half to even, clipped.

    Raises
    ------
    BoundsError
        If an axis is empty or `scale` is not positive.
    """
    return _to_type(upsample(image, scale), np.dtype(np.uint8))


def _check(image: NDArray[Any], valid: NDArray[np.bool_] | None, upscaler: Upscaler) -> None:
    if image.ndim != 3 or image.shape[0] < upscaler.bands:
        raise InputError(
            f"a window of shape {image.shape} lacks bands: give ({upscaler.bands} or more, y, x)"
        )
    if valid is not None and valid.shape != image.shape[1:]:
        raise InputError(f"a mask of shape {valid.shape} beside a window of {image.shape[1:]}")
    if min(image.shape[1:]) <= 2 * reach(upscaler):
        raise InputError(
            f"a window of {image.shape[1]}×{image.shape[2]} pixels has no core inside its margin"
            f" of {reach(upscaler)}, twice the halo of {upscaler.halo}"
        )


def _seen(
    lr: NDArray[np.floating[Any]], valid: NDArray[np.bool_] | None, upscaler: Upscaler
) -> NDArray[np.float32]:
    # What the network sees of a window, (y, x, bands): a halo around the core, missing pixels
    # filled from one halo more.
    halo = upscaler.halo
    values = lr[: upscaler.bands].transpose(1, 2, 0).astype(np.float32, copy=False)
    if valid is not None and not valid.all():
        values = fill_nodata(values, valid, halo)
    return values[halo:-halo, halo:-halo]


def _to_type(values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    # `values` is overwritten.
    if dtype.kind == "u":
        np.rint(values, out=values)
        np.clip(values, 0, np.iinfo(dtype).max, out=values)
    return values.astype(dtype, copy=False)
