"""Pixel windows: half-open rectangles in an image, and how they cover it.

Pure integers. The invariant everything above rests on: the windows of :func:`split` cover each
pixel exactly once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, order=True)
class Window:
    """Rows ``y0 <= y < y1`` and columns ``x0 <= x < x1`` of an image, in pixels."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices, to index an array whose last axes are y and x."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def scaled(self, scale: int) -> "Window":
        """Return the same ground in an image ``scale`` times finer."""
        return Window(self.y0 * scale, self.y1 * scale, self.x0 * scale, self.x1 * scale)

    def coarsened(self, scale: int) -> "Window":
        """Return the smallest window of an image ``scale`` times coarser that covers this one."""
        return Window(
            self.y0 // scale, -(-self.y1 // scale), self.x0 // scale, -(-self.x1 // scale)
        )

    def expanded(self, pixels: int) -> "Window":
        """Return the window grown by ``pixels`` on each side; it may leave the image."""
        return Window(self.y0 - pixels, self.y1 + pixels, self.x0 - pixels, self.x1 + pixels)

    def shifted(self, rows: int, columns: int) -> "Window":
        """Return the window moved down by ``rows`` and right by ``columns`` pixels."""
        return Window(self.y0 + rows, self.y1 + rows, self.x0 + columns, self.x1 + columns)

    def clipped(self, shape: tuple[int, int]) -> "Window":
        """Return the part of the window inside an image of ``shape`` (height, width)."""
        return Window(
            max(self.y0, 0), min(self.y1, shape[0]), max(self.x0, 0), min(self.x1, shape[1])
        )


def split(shape: tuple[int, int], step: int) -> Iterator[tuple[tuple[int, int], Window]]:
    """Cut an image into windows of ``step`` pixels, row by row.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the image in pixels.
    step : int
        Side of a window in pixels; the last row and column may be smaller.

    Yields
    ------
    index : tuple of int
        Row and column of the window in the grid of windows.
    window : Window
        The window. The windows cover each pixel exactly once.
    """
    for row, y0 in enumerate(range(0, shape[0], step)):
        for column, x0 in enumerate(range(0, shape[1], step)):
            yield (row, column), Window(y0, min(y0 + step, shape[0]), x0, min(x0 + step, shape[1]))


def mirrored(start: int, stop: int, size: int) -> npt.NDArray[np.intp]:
    """Return the indices ``start .. stop - 1`` of an axis continued by symmetric reflection.

    The edge pixel is repeated (``… 1 0 | 0 1 2 …``), as ``numpy.pad(mode="symmetric")`` does.

    Parameters
    ----------
    start, stop : int
        Half-open range of positions; it may leave ``0 .. size`` on both sides.
    size : int
        Length of the axis in pixels, at least 1.

    Returns
    -------
    numpy.ndarray of intp, shape (stop - start,)
        Positions inside the axis.
    """
    position = np.arange(start, stop) % (2 * size)
    return np.minimum(position, 2 * size - 1 - position)
