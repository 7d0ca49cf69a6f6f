"""What the sandbox serves: scenes cut into web-mercator tiles.

A scene is anything that satisfies :class:`SceneProvider`: a GeoTIFF
(:mod:`srsat_dask.sandbox.raster`) or a piece of the procedural landscape
(:mod:`srsat_dask.sandbox.landscape`). The tile grid is the usual XYZ one: EPSG:3857, 256 px,
y counted from the north.
"""

import math
from datetime import datetime
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

EARTH_RADIUS = 6378137.0
"""Radius of the EPSG:3857 sphere, metres."""

WORLD = 2 * math.pi * EARTH_RADIUS
"""Width and height of the EPSG:3857 square, metres."""

TILE = 256
"""Width and height of a tile, pixels."""

Bounds = tuple[float, float, float, float]
"""West, south, east, north."""

Rgba = NDArray[np.uint8]
"""An array (y, x, 4) of uint8: red, green, blue and an alpha of 0 or 255."""


@runtime_checkable
class SceneProvider(Protocol):
    """One scene of the catalogue and its pixels, safe to read from several threads."""

    @property
    def entity_id(self) -> str:
        """Name in addresses: letters, digits, ``_`` and ``-``."""

    @property
    def bounds(self) -> Bounds:
        """West, south, east, north of the footprint, degrees (EPSG:4326)."""

    @property
    def acquired(self) -> datetime:
        """When the scene was taken, with its time zone."""

    @property
    def cloud_cover(self) -> float:
        """Clouded share of the scene, percent."""

    @property
    def min_zoom(self) -> int:
        """Coarsest zoom served."""

    @property
    def max_zoom(self) -> int:
        """Finest zoom served."""

    def tile(self, z: int, x: int, y: int) -> Rgba | None:
        """Render one tile.

        Parameters
        ----------
        z, x, y : int
            Zoom, column and row of the XYZ grid; ``min_zoom <= z <= max_zoom``.

        Returns
        -------
        ndarray of uint8, shape (256, 256, 4), or None
            RGBA, all four zero outside the footprint; None for a tile wholly outside it.
        """


def pixel_size(zoom: int) -> float:
    """Side of one tile pixel at a zoom, EPSG:3857 metres."""
    return WORLD / TILE / float(1 << zoom)


def to_pixels(lon: float, lat: float, zoom: int) -> tuple[float, float]:
    """Longitude and latitude (degrees) as global pixel coordinates (x, y) at a zoom.

    (0, 0) is the outer corner of the north-western pixel of the world.
    """
    size = float(TILE << zoom)
    y = math.asinh(math.tan(math.radians(lat)))
    return (lon / 360.0 + 0.5) * size, (0.5 - y / (2 * math.pi)) * size


def to_degrees(x: float, y: float, zoom: int) -> tuple[float, float]:
    """Global pixel coordinates at a zoom as longitude and latitude, degrees."""
    size = float(TILE << zoom)
    lat = math.degrees(math.atan(math.sinh((0.5 - y / size) * 2 * math.pi)))
    return (x / size - 0.5) * 360.0, lat


def thumbnail(scene: SceneProvider) -> Rgba:
    """Draw a whole scene small, from its own tiles.

    Parameters
    ----------
    scene : SceneProvider
        The scene to draw.

    Returns
    -------
    ndarray of uint8, shape (y, x, 4)
        RGBA in web mercator, north up, at most 256 px either way.
    """
    west, south, east, north = scene.bounds
    left, top = to_pixels(west, north, 0)
    right, bottom = to_pixels(east, south, 0)
    extent = max(right - left, bottom - top, 1e-9)
    zoom = min(max(math.floor(math.log2(TILE / extent)), scene.min_zoom), scene.max_zoom)

    scale = 1 << zoom
    slack = 1e-6  # bounds on the pixel grid come back from degrees a little off it
    x0, y0 = math.floor(left * scale + slack), math.floor(top * scale + slack)
    x1 = max(math.ceil(right * scale - slack), x0 + 1)
    y1 = max(math.ceil(bottom * scale - slack), y0 + 1)
    picture = np.zeros((y1 - y0, x1 - x0, 4), np.uint8)
    for row in range(y0 // TILE, (y1 - 1) // TILE + 1):
        for column in range(x0 // TILE, (x1 - 1) // TILE + 1):
            tile = scene.tile(zoom, column, row)
            if tile is not None:
                _paste(picture, tile, column * TILE - x0, row * TILE - y0)
    image = Image.fromarray(picture)
    image.thumbnail((TILE, TILE))  # a scene larger than a tile even at its coarsest zoom
    return np.asarray(image)


def _paste(picture: Rgba, tile: Rgba, x: int, y: int) -> None:
    """Copy the part of a tile that falls on the picture, its corner at (x, y)."""
    height, width = picture.shape[:2]
    rows = slice(max(y, 0), min(y + TILE, height))
    columns = slice(max(x, 0), min(x + TILE, width))
    picture[rows, columns] = tile[
        rows.start - y : rows.stop - y, columns.start - x : columns.stop - x
    ]
