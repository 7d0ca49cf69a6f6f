"""Randomness that depends on the place alone.

Every value comes from hashing integer lattice coordinates, so that two tiles, two zooms or two
processes that look at the same place see the same thing.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Hashes = NDArray[np.uint32]

S = TypeVar("S", bound=np.generic)

_PRIMES = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)


def hash_lattice(i: NDArray[Any], j: NDArray[Any], seed: int) -> Hashes:
    """Hash lattice coordinates.

    Parameters
    ----------
    i, j : ndarray of int
        Coordinates, any sign; broadcast against each other.
    seed : int
        Another seed, another world.

    Returns
    -------
    ndarray of uint32
        Evenly spread over all 32 bits.
    """
    mixed = i.astype(np.uint32) * np.uint32(_PRIMES[0])
    mixed = mixed + np.uint32(seed * _PRIMES[2] & 0xFFFFFFFF)
    mixed = _avalanche(mixed)
    return _avalanche(mixed + j.astype(np.uint32) * np.uint32(_PRIMES[1]))


def uniform(i: NDArray[Any], j: NDArray[Any], seed: int) -> Floats:
    """Hash lattice coordinates to float32 in [0, 1)."""
    return (hash_lattice(i, j, seed) >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)


def interpolate(
    lattice: Callable[[NDArray[np.int64], NDArray[np.int64]], Floats],
    x: Floats,
    y: Floats,
    spacing: float,
    *,
    smooth: bool = False,
) -> Floats:
    """Interpolate a function given on a lattice fixed in the world onto a grid of samples.

    Parameters
    ----------
    lattice : callable
        ``lattice(i, j)`` gives the values at the nodes ``(i * spacing, j * spacing)``.
    x, y : ndarray of float32, shapes (columns,) and (rows,)
        Sample coordinates, metres, ascending.
    spacing : float
        Between nodes, metres.
    smooth : bool
        Flatten the function at its nodes, so that no crease shows there.

    Returns
    -------
    ndarray of float32, shape (rows, columns)
    """
    i, fx = _split(x, spacing, smooth)
    j, fy = _split(y, spacing, smooth)
    columns, rows = np.arange(i[0], i[-1] + 2), np.arange(j[0], j[-1] + 2)
    nodes = lattice(columns[None, :], rows[:, None])
    i, j = i - i[0], j - j[0]
    across = nodes[:, i] + (nodes[:, i + 1] - nodes[:, i]) * fx
    step = np.diff(across, axis=0)
    fine: Floats = step[j] * fy[:, None]
    fine += across[j]
    return fine


def value_noise(x: Floats, y: Floats, wavelength: float, seed: int) -> Floats:
    """Smooth noise in [0, 1) on a grid of samples; arguments as for :func:`interpolate`."""
    return interpolate(lambda i, j: uniform(i, j, seed), x, y, wavelength, smooth=True)


def noise_at(x: Floats, y: Floats, wavelength: float, seed: int, octaves: int = 1) -> Floats:
    """Smooth noise in [0, 1) at scattered points (metres), each octave half the one before."""
    total, weight = np.zeros(np.broadcast(x, y).shape, np.float32), 0.0
    for octave in range(octaves):
        scale = 2.0**-octave
        i, fx = _split(x, wavelength * scale, True)
        j, fy = _split(y, wavelength * scale, True)
        key = seed + 101 * octave
        north = uniform(i, j, key) * (1 - fx) + uniform(i + 1, j, key) * fx
        south = uniform(i, j + 1, key) * (1 - fx) + uniform(i + 1, j + 1, key) * fx
        total += np.float32(scale) * (north * (1 - fy) + south * fy)
        weight += scale
    return total / np.float32(weight)


class Cells:
    """The cells of a lattice that some points fall into, with random values for each cell.

    Values are drawn once a cell and looked up for each point: far cheaper than hashing points.

    Parameters
    ----------
    i, j : ndarray of int, shape (n,)
        The cell each point falls into.
    seed : int
        Seed of everything drawn.
    """

    def __init__(self, i: NDArray[Any], j: NDArray[Any], seed: int) -> None:
        i0, i1, j0, j1 = (int(each) for each in (i.min(), i.max(), j.min(), j.max()))
        self._code = (i - i0) * (j1 - j0 + 1) + (j - j0)
        self._i, self._j = np.arange(i0, i1 + 1)[:, None], np.arange(j0, j1 + 1)[None, :]
        self._seed = seed

    def random(self, salt: int) -> Floats:
        """Draw a number in [0, 1) for each cell; another salt, another draw."""
        return uniform(self._i, self._j, self._seed + 7919 * salt).ravel()

    def at(self, values: NDArray[S]) -> NDArray[S]:
        """Spread one value a cell to the points, shape (n,)."""
        spread: NDArray[S] = values[self._code]
        return spread


def _avalanche(mixed: Hashes) -> Hashes:
    mixed = mixed ^ (mixed >> np.uint32(16))
    mixed = mixed * np.uint32(0x7FEB352D)
    mixed ^= mixed >> np.uint32(15)
    mixed = mixed * np.uint32(0x846CA68B)
    mixed ^= mixed >> np.uint32(16)
    return mixed


def _split(x: Floats, spacing: float, smooth: bool) -> tuple[NDArray[np.int64], Floats]:
    """Lattice index and fraction in [0, 1) of coordinates."""
    scaled = np.asarray(x, np.float32) / np.float32(spacing)
    index = np.floor(scaled)
    fraction = scaled - index
    if smooth:
        fraction = fraction * fraction * (3 - 2 * fraction)
    return index.astype(np.int64), fraction
