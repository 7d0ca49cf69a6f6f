"""Scenes of a procedural landscape: a town with its fields, woods and river.

The world is one function of place and seed: the plan (:mod:`.districts`), what stands on it
(:mod:`.ground`, :mod:`.survey`), light and sensor (:mod:`.camera`). A tile is that function
sampled, and a sample knows nothing of the tile it is part of: neighbouring tiles meet bit for
bit, and zooms agree because they sample the same world.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from srsat_dask.errors import BoundsError
from srsat_dask.sandbox.camera import DIRECT_ZOOM, GROUND_SCALE, ground_metres, render
from srsat_dask.sandbox.districts import Use, river_distance, sites_around
from srsat_dask.sandbox.noise import Floats
from srsat_dask.sandbox.scenes import TILE, Bounds, Rgba, pixel_size, to_degrees, to_pixels

BOX: Bounds = (138.0, 35.2, 140.5, 37.1)
"""Where the scenes lie: west, south, east, north, degrees."""

FINEST = 18
"""Zoom whose pixel grid footprints are laid out on."""

ORBIT_ANGLE = 10.0
"""How far footprints are turned, counter-clockwise, degrees."""


@dataclass(frozen=True)
class LandscapeScene:
    """One photograph of the landscape: a square turned against north.

    Build several with :func:`landscape_scenes`.
    """

    entity_id: str
    """Date, time and sensor, like ``20181224060959386_AS1``."""

    lon: float
    """Longitude of the middle, degrees."""

    lat: float
    """Latitude of the middle, degrees."""

    size_m: float
    """Side of the footprint, ground metres."""

    acquired: datetime
    """When it was taken, UTC."""

    cloud_cover: float
    """Percent. Clouds are not drawn."""

    seed: int
    """Seed of the world."""

    angle: float = ORBIT_ANGLE
    """How far the footprint is turned, counter-clockwise, degrees."""

    min_zoom: int = 9
    """Coarsest zoom served."""

    max_zoom: int = FINEST
    """Finest zoom served."""

    @property
    def bounds(self) -> Bounds:
        """West, south, east, north of the turned footprint, degrees."""
        x, y = to_pixels(self.lon, self.lat, FINEST)
        turn = math.radians(self.angle)
        reach = self._half_side(FINEST) * (abs(math.cos(turn)) + abs(math.sin(turn)))
        west, north = to_degrees(x - reach, y - reach, FINEST)
        east, south = to_degrees(x + reach, y + reach, FINEST)
        return west, south, east, north

    def tile(self, z: int, x: int, y: int) -> Rgba | None:
        """Render one tile; see :meth:`SceneProvider.tile`."""
        inside = self._footprint(z, x, y)
        if not inside.any():
            return None
        if z >= DIRECT_ZOOM:
            rgb = render(z, x * TILE, y * TILE, width=TILE, height=TILE, seed=self.seed)
        else:
            rgb = _halve(self, z, x, y)
        alpha = np.where(inside, np.uint8(255), np.uint8(0))[..., None]
        return np.concatenate([np.where(alpha > 0, rgb, np.uint8(0)), alpha], axis=2)

    def _half_side(self, zoom: int) -> float:
        return self.size_m / 2 / (pixel_size(zoom) * GROUND_SCALE)

    def _footprint(self, z: int, x: int, y: int) -> NDArray[np.bool_]:
        """Whether each pixel's centre lies in the footprint, shape (256, 256)."""
        middle_x, middle_y = to_pixels(self.lon, self.lat, z)
        dx = np.arange(TILE) + (x * TILE + 0.5 - middle_x)
        dy = (np.arange(TILE) + (y * TILE + 0.5 - middle_y))[:, None]
        cos, sin = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        half = self._half_side(z)
        inside: NDArray[np.bool_] = np.abs(dx * cos - dy * sin) <= half
        inside &= np.abs(dy * cos + dx * sin) <= half
        return inside


def landscape_scenes(
    count: int = 4, *, size_m: float = 2400.0, seed: int = 0
) -> list[LandscapeScene]:
    """Choose places of one world that are worth a photograph.

    Parameters
    ----------
    count : int
        How many scenes.
    size_m : float
        Side of each footprint, ground metres.
    seed : int
        Seed of the world and of the choice.

    Returns
    -------
    list of LandscapeScene
        The same ones for the same arguments, oldest first; the first ``n`` places do not depend
        on ``count``.

    Raises
    ------
    BoundsError
        ``count`` below 1, or ``size_m`` out of 50 m to 20 km.
    """
    if count < 1:
        raise BoundsError(f"count {count} is out of range: ask for at least one scene")
    if not 50 <= size_m <= 20_000:
        raise BoundsError(f"size_m {size_m:g} is out of range: choose 50 to 20000 metres")
    scenes = [_scene(np.random.default_rng([seed, k]), size_m, seed) for k in range(count)]
    return sorted(scenes, key=lambda scene: scene.entity_id)


def _scene(random: np.random.Generator, size_m: float, seed: int) -> LandscapeScene:
    west, south, east, north = BOX
    margin = 0.15
    places = np.column_stack(
        [random.uniform(west + margin, east - margin, 10),
         random.uniform(south + margin, north - margin, 10)]
    )  # fmt: skip
    lon, lat = max(
        places, key=lambda place: _variety(float(place[0]), float(place[1]), size_m, seed)
    )
    morning = datetime(2017, 1, 1, 1, 20, tzinfo=UTC)  # 10:20 in Japan: the sun in the south-east
    acquired = morning + timedelta(
        days=int(random.integers(0, 3 * 365)), milliseconds=int(random.integers(0, 2_400_000))
    )
    stamp = f"{acquired:%Y%m%d%H%M%S}{acquired.microsecond // 1000:03d}"
    return LandscapeScene(
        entity_id=f"{stamp}_AS1",
        lon=round(float(lon), 6),
        lat=round(float(lat), 6),
        size_m=float(size_m),
        acquired=acquired.replace(microsecond=0),
        cloud_cover=round(float(random.beta(1.0, 6.0)) * 100, 1),
        seed=seed,
    )


def _variety(lon: float, lat: float, size_m: float, seed: int) -> float:
    """How much there is to see around a place: kinds of district, and the river passing by."""
    x, y = (float(each) for each in ground_metres(lon, lat))
    half = max(size_m, 800.0) / 2
    uses = sites_around(x - half, y - half, x + half, y + half, seed).use
    share = np.bincount(uses, minlength=len(Use)) / len(uses)
    entropy = -float(np.sum(share * np.log(np.maximum(share, 1e-9))))
    axis: Floats = np.linspace(-half, half, 25, dtype=np.float32)
    river = river_distance(axis + np.float32(x), axis + np.float32(y), seed)
    return entropy + 0.5 * float((river < 45).mean() > 0.01)


@lru_cache(maxsize=64)
def _halve(scene: LandscapeScene, z: int, x: int, y: int) -> Rgba:
    """Average the four tiles one zoom finer, leaving out what they do not cover; RGB only."""
    fine = np.zeros((2 * TILE, 2 * TILE, 4), np.uint8)
    for row in (0, 1):
        for column in (0, 1):
            child = scene.tile(z + 1, 2 * x + column, 2 * y + row)
            if child is not None:
                fine[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE] = child
    blocks = fine.reshape(TILE, 2, TILE, 2, 4).astype(np.uint16).sum((1, 3))
    covered = np.maximum(blocks[..., 3:] // 255, 1)
    mean: Rgba = ((blocks[..., :3] + covered // 2) // covered).astype(np.uint8)
    return mean
