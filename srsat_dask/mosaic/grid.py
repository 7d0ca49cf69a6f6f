"""The web-mercator tile grid: which tiles cover a box, and where they lie in a mosaic.

Tile maths is `mercantile`'s; this module adds the rectangle of tiles that a scene's mosaic is.
Tiles are 256 px; rows count from the north, as in every XYZ service.
"""

from dataclasses import dataclass

import mercantile
from affine import Affine

from srsat_dask.errors import BoundsError
from srsat_dask.mosaic.georeference import Georeference
from srsat_dask.mosaic.windows import Window

TILE = 256
"""Side of a tile in pixels."""

MAX_ZOOM = 24
"""Deepest zoom accepted; at 24 a pixel is under a centimetre."""

_MERCATOR_LATITUDE = 85.051128
"""Degrees north and south where the square of web mercator ends."""

_EDGE = 1e-11
"""Degrees taken off a box's east and south so that an edge on a tile border adds no tile."""

Box = tuple[float, float, float, float]
"""West, south, east, north in degrees (EPSG:4326)."""


def check_box(box: Box) -> Box:
    """Return the box, or raise if it is not west, south, east, north in degrees.

    Raises
    ------
    BoundsError
        A number out of range, west not less than east, or south not less than north.
    """
    west, south, east, north = box
    if not (-180 <= west <= 180 and -180 <= east <= 180):
        raise BoundsError(f"box {box}: longitudes must lie in -180..180 degrees")
    if not (-90 <= south <= 90 and -90 <= north <= 90):
        raise BoundsError(f"box {box}: latitudes must lie in -90..90 degrees")
    if not west < east:
        raise BoundsError(
            f"box {box}: west {west} must be less than east {east}; the order is W S E N"
            " (split a box that crosses the antimeridian in two)"
        )
    if not south < north:
        raise BoundsError(
            f"box {box}: south {south} must be less than north {north}; the order is W S E N"
        )
    return box


def check_zoom(zoom: int, lowest: int, highest: int) -> int:
    """Return the zoom, or raise `BoundsError` if the service has no such level."""
    if not lowest <= zoom <= highest:
        raise BoundsError(f"zoom {zoom} is out of range: choose {lowest} to {highest}")
    return zoom


@dataclass(frozen=True)
class TileRange:
    """A rectangle of tiles of one zoom: columns ``x0 <= x < x1``, rows ``y0 <= y < y1``."""

    zoom: int
    x0: int
    y0: int
    x1: int
    y1: int

    @classmethod
    def covering(cls, box: Box, zoom: int) -> "TileRange":
        """Return the tiles that a box touches, last row and column included.

        Parameters
        ----------
        box : tuple of float
            West, south, east, north in degrees (EPSG:4326). Latitudes beyond web mercator's
            ±85.0511° take the outermost row.
        zoom : int
            Zoom level, 0 to 24.
        """
        west, south, east, north = check_box(box)
        check_zoom(zoom, 0, MAX_ZOOM)
        south, north = max(south, -_MERCATOR_LATITUDE), min(north, _MERCATOR_LATITUDE)
        first = mercantile.tile(west, north, zoom)
        last = mercantile.tile(east - _EDGE, south + _EDGE, zoom)
        limit = 2**zoom - 1
        return cls(
            zoom,
            max(first.x, 0),
            max(first.y, 0),
            max(min(last.x, limit), first.x) + 1,
            max(min(last.y, limit), first.y) + 1,
        )

    @property
    def rows(self) -> int:
        """Number of tile rows."""
        return self.y1 - self.y0

    @property
    def columns(self) -> int:
        """Number of tile columns."""
        return self.x1 - self.x0

    @property
    def georeference(self) -> Georeference:
        """Where the mosaic of these tiles lies: EPSG:3857, square pixels, north up."""
        corner = mercantile.xy_bounds(self.x0, self.y0, self.zoom)
        pixel = (corner.right - corner.left) / TILE
        return Georeference(
            crs="EPSG:3857",
            transform=Affine(pixel, 0, corner.left, 0, -pixel, corner.top),
            height=self.rows * TILE,
            width=self.columns * TILE,
        )

    def tile(self, row: int, column: int) -> mercantile.Tile:
        """Return the service's tile at a row and column of the mosaic."""
        return mercantile.Tile(self.x0 + column, self.y0 + row, self.zoom)


def tile_window(row: int, column: int) -> Window:
    """Return the pixels that a tile fills in its mosaic."""
    return Window(row * TILE, (row + 1) * TILE, column * TILE, (column + 1) * TILE)
