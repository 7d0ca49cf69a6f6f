"""The plan of the landscape: districts, the major roads between them, and the river.

Districts are the cells of a Voronoi diagram. Each has one use and one orientation; its edges are
the major roads. Coordinates are ground metres, x to the east and y to the *south*.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from srsat_dask.errors import BoundsError
from srsat_dask.sandbox.noise import Floats, interpolate, noise_at, uniform

SPACING = 330.0
"""Mean distance between district centres, metres."""

BEND = 26.0
"""How far the plan is bent, metres: streets that run on for a mile are never quite straight."""

COARSE = 16.0
"""Lattice on which slow functions (bend, river) are worked out, metres."""


class Use(IntEnum):
    """What a district is used for."""

    TOWN = 0
    SUBURB = 1
    WORKS = 2
    PADDY = 3
    FARM = 4
    FOREST = 5


ROAD_WIDTHS = np.array([10.0, 8.0, 12.0, 4.5, 4.5, 3.5], np.float32)
"""Width of a road between two districts, metres: that of the more built-up of the two."""


@dataclass(frozen=True)
class Sites:
    """Some district centres, as parallel arrays of one length n."""

    x: Floats
    """Centre, metres east."""

    y: Floats
    """Centre, metres south."""

    use: NDArray[np.uint8]
    """A :class:`Use` each."""

    angle: Floats
    """Direction of the streets or rows, radians."""

    seed: NDArray[np.int64]
    """What makes its houses differ from the next district's."""

    def __getitem__(self, chosen: NDArray[np.intp]) -> "Sites":
        return Sites(
            self.x[chosen], self.y[chosen], self.use[chosen], self.angle[chosen], self.seed[chosen]
        )


@dataclass(frozen=True)
class Plan:
    """The plan of a grid of samples, shape (rows, columns) where not said otherwise."""

    x: Floats
    """Bent coordinate of each sample, metres east."""

    y: Floats
    """Bent coordinate of each sample, metres south."""

    sites: Sites
    """The districts that matter here."""

    nearest: NDArray[np.uint8]
    """Index of each sample's district."""

    second: NDArray[np.uint8]
    """Index of the next nearest district: the one across the road."""

    road: Floats
    """Distance to the line between the two, metres."""

    river: Floats
    """Distance to the river's middle, metres."""


def sites_around(west: float, north: float, east: float, south: float, seed: int) -> Sites:
    """List the districts whose centre may be first or second nearest to a point of a box."""
    i = np.arange(np.floor(west / SPACING) - 2, np.floor(east / SPACING) + 3).astype(np.int64)
    j = np.arange(np.floor(north / SPACING) - 2, np.floor(south / SPACING) + 3).astype(np.int64)
    i, j = (each.ravel() for each in np.meshgrid(i, j))
    x = ((i + 0.15 + 0.7 * uniform(i, j, seed)) * SPACING).astype(np.float32)
    y = ((j + 0.15 + 0.7 * uniform(i, j, seed + 1)) * SPACING).astype(np.float32)
    # Neighbouring districts lean the same way, as terrain and old roads make them.
    lean = noise_at(x, y, 2500.0, seed + 2) + 0.35 * uniform(i, j, seed + 3)
    return Sites(
        x,
        y,
        _uses(x, y, uniform(i, j, seed + 4), seed),
        (lean * 2.2).astype(np.float32),
        seed + 1000 + i * 7919 + j * 104729,
    )


def plan(x: Floats, y: Floats, seed: int) -> Plan:
    """Work out the plan of a grid of samples.

    Parameters
    ----------
    x, y : ndarray of float32, shapes (columns,) and (rows,)
        Sample coordinates, ground metres.
    seed : int
        Seed of the world.

    Returns
    -------
    Plan
        The same for a sample whichever grid it is part of.

    Raises
    ------
    BoundsError
        The grid spans more districts (about 4 km) than one picture may hold.
    """
    bent_x, bent_y = _bend(x, y, seed)
    box = (float(bent_x.min()), float(bent_y.min()), float(bent_x.max()), float(bent_y.max()))
    sites = _contenders(sites_around(*box, seed), *box)

    if len(sites.x) > 256:
        raise BoundsError(
            f"{len(sites.x)} districts in one picture, at most 256 fit: render it tile by tile"
        )
    # Squared distance and district share one integer, the district in its low byte: positive
    # floats sort like the integers of the same bits, so two minima find both at once. The byte
    # costs centimetres of precision in the width of a road.
    first = np.full(bent_x.shape, np.iinfo(np.int32).max, np.int32)
    then = first.copy()
    square, other = np.empty_like(bent_x), np.empty_like(bent_x)
    key, loser = square.view(np.int32), other.view(np.int32)
    for k in range(len(sites.x)):
        np.square(np.subtract(bent_x, sites.x[k], out=square), out=square)
        square += np.square(np.subtract(bent_y, sites.y[k], out=other), out=other)
        np.bitwise_or(np.bitwise_and(key, -256, out=key), k, out=key)
        np.maximum(first, key, out=loser)
        np.minimum(first, key, out=first)
        np.minimum(then, loser, out=then)
    nearest, second = first.astype(np.uint8), then.astype(np.uint8)
    road = (then & -256).view(np.float32) - (first & -256).view(np.float32)

    # Half the difference of the squares, over the distance of the centres, is the distance to
    # the line halfway between them.
    apart = np.hypot(sites.x[:, None] - sites.x, sites.y[:, None] - sites.y)
    np.fill_diagonal(apart, 1.0)
    pair = nearest * np.uint16(len(sites.x)) + second
    road *= (0.5 / apart).astype(np.float32).ravel()[pair]
    return Plan(bent_x, bent_y, sites, nearest, second, road, river_distance(x, y, seed))


def river_distance(x: Floats, y: Floats, seed: int) -> Floats:
    """Distance to the middle of the river on a grid of samples, metres, shape (rows, columns).

    The river runs along a level line of slow noise; value over slope is the distance near it.
    """

    def lattice(i: NDArray[np.int64], j: NDArray[np.int64]) -> Floats:
        h = np.float32(COARSE / 2)
        at_x, at_y = (i * COARSE).astype(np.float32), (j * COARSE).astype(np.float32)
        east, west = _river_level(at_x + h, at_y, seed), _river_level(at_x - h, at_y, seed)
        south, north = _river_level(at_x, at_y + h, seed), _river_level(at_x, at_y - h, seed)
        slope = np.hypot(east - west, south - north) / np.float32(COARSE)
        level = (east + west + south + north) / 4 - np.float32(0.5)
        distance: Floats = level / np.maximum(slope, np.float32(1e-4))
        return distance

    return np.abs(interpolate(lattice, x, y, COARSE))


def _river_level(x: Floats, y: Floats, seed: int) -> Floats:
    return noise_at(x, y, 4200.0, seed + 11, octaves=3)


def _uses(x: Floats, y: Floats, chance: Floats, seed: int) -> NDArray[np.uint8]:
    """Choose uses: woods on the hills, a town around its centre, fields on the plain."""
    hills = noise_at(x, y, 1900.0, seed + 21, octaves=2)
    urban = noise_at(x, y, 1500.0, seed + 22, octaves=2)
    wet = noise_at(x, y, 1300.0, seed + 23)
    use = np.where(wet + 0.2 * (chance - 0.5) > 0.48, Use.PADDY, Use.FARM)
    use = np.where(urban > 0.5, Use.SUBURB, use)
    use = np.where(urban > 0.58, Use.TOWN, use)
    use = np.where((urban > 0.47) & (chance < 0.17), Use.WORKS, use)
    use = np.where((hills > 0.57) | (chance > 0.96), Use.FOREST, use)
    return use.astype(np.uint8)


def _bend(x: Floats, y: Floats, seed: int) -> tuple[Floats, Floats]:
    """Bend sample coordinates; two arrays of shape (rows, columns)."""

    def shift(key: int) -> Floats:
        return interpolate(
            lambda i, j: noise_at(
                (i * COARSE).astype(np.float32), (j * COARSE).astype(np.float32), 800.0, key
            ),
            x,
            y,
            COARSE,
        )

    bend = np.float32(BEND)
    return x + bend * (shift(seed + 31) - 0.5), y[:, None] + bend * (shift(seed + 32) - 0.5)


def _contenders(sites: Sites, west: float, north: float, east: float, south: float) -> Sites:
    """Drop the districts that are neither first nor second nearest to any point of the box."""
    near_x = np.clip(sites.x, west, east) - sites.x
    near_y = np.clip(sites.y, north, south) - sites.y
    far_x = np.maximum(sites.x - west, east - sites.x)
    far_y = np.maximum(sites.y - north, south - sites.y)
    bound = np.sort(far_x**2 + far_y**2)[1]
    return sites[np.flatnonzero(near_x**2 + near_y**2 <= bound * 1.001 + 1.0)]
