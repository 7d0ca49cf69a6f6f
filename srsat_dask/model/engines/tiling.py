"""How an engine cuts an input into sub-tiles of one fixed shape: pure integers, in LR pixels.

Engines compile for a fixed shape: it is faster, and the memory does not grow with the input.
Invariant: the sub-tiles lie inside the core (unless it is smaller than one) and cover each of its
pixels; where two overlap they hold the same bits.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from srsat_dask.errors import InputError

LARGE_HR = 512
"""Side of a usual sub-tile, in HR pixels. On 2 cores and scale 4 sub-tiles of 512, 256 and 128
ran at 2.96, 2.79 and 2.55 Mpx/s, and a larger one takes more memory: 100 MB per lane at 512."""

SMALL_HR = 128
"""Side for inputs that would fill a large one badly, in HR pixels."""


Tile = tuple[slice, slice, NDArray[np.float32]]
"""Rows and columns of an output, and what they hold, (bands, y, x)."""


class TiledUpscaler(ABC):
    """The part of an `Upscaler` that is the same for engines of sub-tiles."""

    scale: int
    halo: int
    bands: int

    @abstractmethod
    def tiles(self, lr: NDArray[np.float32]) -> Iterator[Tile]:
        """Yield the output sub-tile by sub-tile; see `srsat_dask.model.engines.Upscaler`."""

    def __call__(self, lr: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (scale * y, scale * x, bands) for (y + 2 * halo, x + 2 * halo, bands)."""
        height, width = core_size(lr, self.halo, self.bands)
        output = np.empty((self.bands, self.scale * height, self.scale * width), np.float32)
        for rows, columns, values in self.tiles(lr):
            output[:, rows, columns] = values
        return output.transpose(1, 2, 0)


def tile_sides(scale: int) -> tuple[int, int]:
    """Return the small and the large side of a sub-tile's core, in LR pixels, rounded up."""
    return -(-SMALL_HR // scale), -(-LARGE_HR // scale)


def origins(size: int, side: int) -> list[int]:
    """Return where the sub-tiles begin along one axis; the last is shifted back inside.

    Parameters
    ----------
    size : int
        Length of the core, in LR pixels.
    side : int
        Length of a sub-tile's core, in LR pixels.
    """
    return [min(start, max(size - side, 0)) for start in range(0, size, side)]


def choose_side(height: int, width: int, sides: tuple[int, ...], lanes: int = 1) -> int:
    """Return the side that computes the fewest pixels, `lanes` sub-tiles running at once.

    Parameters
    ----------
    height, width : int
        Size of the core, in LR pixels.
    sides : tuple of int
        What may be chosen, in LR pixels; of two equally good, the larger.
    lanes : int
        How many sub-tiles run at once.
    """

    def cost(side: int) -> tuple[int, int]:
        rounds = -(-len(origins(height, side)) * len(origins(width, side)) // lanes)
        return rounds * side * side, -side

    return min(sides, key=cost)


def core_size(lr: NDArray[np.float32], halo: int, bands: int) -> tuple[int, int]:
    """Return height and width of an input without its halo.

    Parameters
    ----------
    lr : float32 (y + 2 * halo, x + 2 * halo, bands)
        What an engine is given.
    halo : int
        In LR pixels.
    bands : int
        What the model takes.

    Raises
    ------
    InputError
        If the shape is another, or nothing is left inside the halo.
    """
    if lr.ndim != 3 or lr.shape[2] != bands or min(lr.shape[:2]) <= 2 * halo:
        raise InputError(
            f"an input of shape {lr.shape} cannot be upscaled: give (y, x, {bands}) with more "
            f"than {2 * halo} pixels on each axis, a halo of {halo} on each side included"
        )
    return lr.shape[0] - 2 * halo, lr.shape[1] - 2 * halo


def cut(lr: NDArray[np.float32], y: int, x: int, side: int) -> NDArray[np.float32]:
    """Return the square of `side` LR pixels at (y, x), zeros beyond the input.

    Zeros lie further from the core than the halo reaches, so they never show in it.
    """
    piece = lr[y : y + side, x : x + side]
    if piece.shape[:2] == (side, side):
        return piece
    square = np.zeros((side, side, lr.shape[2]), np.float32)
    square[: piece.shape[0], : piece.shape[1]] = piece
    return square
