"""Black and white of a whole scene: one range, found once, in memory that stays the same.

A range for each tile or chunk would make radiometric seams; so it is taken from all scenes of an
input together, from windows spread evenly over them. No chance is in it: the same input has the
same range.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from srsat_dask.errors import InputError
from srsat_dask.mosaic.inputs import ReadableScene
from srsat_dask.mosaic.windows import Window
from srsat_dask.upscaling.recipe import Range, check_range

AUTO = "auto"
"""The word for a range found in the scene itself."""

QUANTILES = (0.001, 0.999)
"""Shares of the sampled values below black and below white: a few clouds and glints are left out,
and are not clipped."""

SAMPLES = 256
"""Windows read of an input, at most."""

SIDE = 128
"""Side of a window in pixels."""


def scene_range(scenes: Sequence[ReadableScene], word: str = AUTO) -> Range:
    """Return the values of an input that stand for black and white.

    Parameters
    ----------
    scenes : sequence of ReadableScene
        All scenes of the input, of one type.
    word : {"auto"}
        What was asked for.

    Returns
    -------
    tuple of float
        The 0.1 % and 99.9 % quantiles of the present pixels of all bands, of up to 256 windows of
        128 px; whole numbers for a type of whole numbers. Values beyond them are not clipped.

    Raises
    ------
    InputError
        Another word, or no window with a pixel that is there.
    """
    if word != AUTO:
        raise InputError(f"range {word!r} is unknown: give two numbers, or {AUTO}")
    per_scene = max(SAMPLES // len(scenes), 1)
    found = [values for scene in scenes for values in _sampled(scene, per_scene)]
    sample = np.concatenate(found) if found else np.empty(0)
    if not sample.size:
        raise InputError("no pixel is there to find a range in: give --range LOW HIGH")
    low, high = np.quantile(sample.astype(np.float64), QUANTILES)
    dtype = scenes[0].dtype
    if dtype.kind == "u":
        low, high = np.floor(low), np.ceil(high)
    if not low < high:
        raise InputError(f"all pixels sampled are {low:g}: give --range LOW HIGH")
    return check_range(dtype, (float(low), float(high)))


def _sampled(scene: ReadableScene, most: int) -> Iterator[npt.NDArray[Any]]:
    """Yield the present values of windows spread evenly over a scene."""
    for window in spread_windows(scene.shape, most):
        image, valid = scene.read(window)
        if valid.any():
            yield image[:, valid].ravel()


def spread_windows(shape: tuple[int, int], most: int) -> Iterator[Window]:
    """Yield up to ``most`` windows in the middles of equal cells of an image.

    An image that so many windows cover is covered whole.
    """
    height, width = shape
    rows, columns = -(-height // SIDE), -(-width // SIDE)
    while rows * columns > most:
        if rows >= columns:
            rows -= 1
        else:
            columns -= 1
    for row in range(rows):
        for column in range(columns):
            y0, y1 = row * height // rows, (row + 1) * height // rows
            x0, x1 = column * width // columns, (column + 1) * width // columns
            top = y0 + max(y1 - y0 - SIDE, 0) // 2
            left = x0 + max(x1 - x0 - SIDE, 0) // 2
            yield Window(top, min(top + SIDE, y1), left, min(left + SIDE, x1))
