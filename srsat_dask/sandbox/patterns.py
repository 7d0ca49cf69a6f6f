"""Repetition and scatter: what the painters of districts share."""

import numpy as np
from numpy.typing import NDArray

from srsat_dask.sandbox.materials import Material, Surface, pick
from srsat_dask.sandbox.noise import Cells, Floats

M = Material

GARDEN_TREES = [M.CEDAR, M.BROADLEAF, M.BROADLEAF, M.LIGHT_LEAF]


def wrap(x: Floats, period: float) -> tuple[NDArray[np.int32], Floats]:
    """Split a coordinate into the number of its period and the metres into it."""
    index = x * np.float32(1 / period)
    np.floor(index, out=index)
    number = index.astype(np.int32)
    index *= np.float32(-period)
    index += x
    return number, index


def wave(x: Floats, period: float) -> Floats:
    """Triangular wave between -1 and 1, 1 in the middle of each period."""
    wave: Floats = np.float32(1) - np.abs(wrap(x, period)[1] * np.float32(4 / period) - 2)
    return wave


def rows(x: Floats, period: float, step: float) -> Floats:
    """Rows of a field or ribs of a roof, -1..1; they fade where samples cannot resolve them."""
    return wave(x, period) * np.float32(min(max(1.5 - 2 * step / period, 0.0), 1.0))


def garden_trees(
    surface: Surface, where: NDArray[np.bool_], u: Floats, v: Floats, seed: int, share: float
) -> None:
    """Set single trees and shrubs where there is room."""
    i, fu = wrap(u, 4.5)
    j, fv = wrap(v, 4.5)
    tree = Cells(i, j, seed)
    radius = np.where(tree.random(1) < share, 0.9 + 1.3 * tree.random(2), 0).astype(np.float32)
    bulge = tree.at(np.square(radius)) - np.square(fu - 2.25) - np.square(fv - 2.25)
    surface.paint(
        where & (bulge > 0),
        tree.at(pick(GARDEN_TREES, tree.random(3))),
        tree.at(0.8 + 0.4 * tree.random(4)),
        1.5 + 0.8 * bulge,
    )
