"""Tile ranges cover boxes, and mosaics lie where their tiles do."""

import mercantile
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srsat_dask.errors import BoundsError
from srsat_dask.mosaic.grid import TILE, Box, TileRange, check_box, check_zoom, tile_window

longitudes = st.floats(-180, 179.9)
latitudes = st.floats(-84, 84)


@given(
    west=longitudes,
    south=latitudes,
    width=st.floats(1e-4, 2),
    height=st.floats(1e-4, 2),
    zoom=st.integers(0, 12),
)
def test_range_is_every_tile_that_mercantile_finds(
    west: float, south: float, width: float, height: float, zoom: int
) -> None:
    """Mercantile's own list of the tiles of a box is the oracle."""
    box = (west, south, min(west + width, 180.0), min(south + height, 85.0))
    tiles = TileRange.covering(box, zoom)
    found = {
        tiles.tile(row, column) for row in range(tiles.rows) for column in range(tiles.columns)
    }
    assert found == set(mercantile.tiles(*box, [zoom]))


def test_box_that_ends_on_a_tile_edge_takes_no_further_tile() -> None:
    """The box of four tiles covers these four and no more."""
    first, last = mercantile.bounds(100, 200, 9), mercantile.bounds(101, 201, 9)
    tiles = TileRange.covering((first.west, last.south, last.east, first.north), 9)
    assert (tiles.x0, tiles.y0, tiles.x1, tiles.y1) == (100, 200, 102, 202)


@pytest.mark.parametrize("box", [(-180.0, -90.0, 180.0, 90.0), (179.0, 80.0, 180.0, 90.0)])
def test_poles_and_antimeridian_stay_on_the_grid(box: Box) -> None:
    """No row or column lies outside the world."""
    tiles = TileRange.covering(box, 5)
    assert 0 <= tiles.x0 < tiles.x1 <= 32
    assert 0 <= tiles.y0 < tiles.y1 <= 32
    assert tiles.x1 == 32
    assert tiles.y0 == 0


@given(x=st.integers(0, 2**17 - 3), y=st.integers(0, 2**17 - 3))
def test_mosaic_lies_where_its_tiles_lie(x: int, y: int) -> None:
    """Corners of the first and last tile are the corners of the mosaic."""
    tiles = TileRange(17, x, y, x + 2, y + 3)
    ground = tiles.georeference
    first, last = mercantile.xy_bounds(x, y, 17), mercantile.xy_bounds(x + 1, y + 2, 17)
    assert (ground.height, ground.width) == (3 * TILE, 2 * TILE)
    expected = (first.left, last.bottom, last.right, first.top)
    np.testing.assert_allclose(ground.bounds, expected, rtol=1e-12, atol=1e-6)


def test_tiles_fill_their_own_pixels() -> None:
    """Neighbouring tiles meet and do not overlap."""
    assert tile_window(1, 2).slices == (slice(256, 512), slice(512, 768))


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((10.0, 0.0, 5.0, 1.0), "west 10.0 must be less than east 5.0"),
        ((0.0, 1.0, 5.0, 1.0), "south 1.0 must be less than north 1.0"),
        ((0.0, 0.0, 181.0, 1.0), "longitudes"),
        ((0.0, -91.0, 1.0, 1.0), "latitudes"),
        ((float("nan"), 0.0, 1.0, 1.0), "longitudes"),
    ],
)
def test_boxes_that_are_none_are_refused(box: Box, said: str) -> None:
    """The message names the value and what was expected."""
    with pytest.raises(BoundsError, match=said):
        check_box(box)


@pytest.mark.parametrize("zoom", [8, 19])
def test_zoom_outside_the_service_is_refused(zoom: int) -> None:
    """The message names the zoom and the range."""
    with pytest.raises(BoundsError, match=f"zoom {zoom} is out of range: choose 9 to 18"):
        check_zoom(zoom, 9, 18)
