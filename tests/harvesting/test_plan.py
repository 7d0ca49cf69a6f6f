"""A plan takes in every tile of a scene, and only what the store lacks."""

from pathlib import Path

import mercantile
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srsat_dask.errors import BoundsError, InputError, SourceError
from srsat_dask.harvesting.plan import ScenePlan, central, plan_harvest
from srsat_dask.harvesting.scene import Scene, draw
from srsat_dask.harvesting.tellus import TellusSource
from srsat_dask.mosaic.grid import TileRange
from srsat_dask.mosaic.ledger import tile_slices

SOURCE = TellusSource("http://127.0.0.1:9")
SCENE = Scene("20181224060959386_AS1", (139.0, 35.6, 139.05, 35.64))


def test_every_tile_of_the_scene_is_in_exactly_one_shard() -> None:
    """Last row and column included, and none twice."""
    plan = ScenePlan.of(SCENE, 17, SOURCE)
    seen: list[mercantile.Tile] = []
    for _, window in plan.shards():
        rows, columns = tile_slices(window)
        seen += [
            plan.tiles.tile(row, column)
            for row in range(rows.start, rows.stop)
            for column in range(columns.start, columns.stop)
        ]
    assert len(seen) == len(set(seen))
    assert set(seen) == set(mercantile.tiles(*SCENE.bounds, [17]))


@given(
    rows=st.integers(1, 60),
    columns=st.integers(1, 60),
    most=st.integers(1, 500),
)
def test_central_rectangle_is_inside_and_small_enough(rows: int, columns: int, most: int) -> None:
    """At most so many tiles, inside the scene, around its centre."""
    whole = TileRange(12, 100, 200, 100 + columns, 200 + rows)
    part = central(whole, most)
    assert part.rows * part.columns <= max(most, 0)
    assert whole.x0 <= part.x0 < part.x1 <= whole.x1
    assert whole.y0 <= part.y0 < part.y1 <= whole.y1
    assert abs((part.x0 - whole.x0) - (whole.x1 - part.x1)) <= 1
    assert abs((part.y0 - whole.y0) - (whole.y1 - part.y1)) <= 1


def test_new_store_has_everything_pending_and_is_not_made(tmp_path: Path) -> None:
    """Planning writes nothing."""
    plan = plan_harvest([SCENE], tmp_path / "m.zarr", zoom=17, source=SOURCE)
    assert plan.pending_shards == plan.shards > 1
    assert plan.tiles == len(list(mercantile.tiles(*SCENE.bounds, [17])))
    assert list(tmp_path.iterdir()) == []


def test_bad_requests_are_refused(tmp_path: Path) -> None:
    """Zoom, emptiness, doubles and a cap of nothing each get their own words."""

    def plan(scenes: list[Scene], zoom: int = 17, most: int | None = None) -> None:
        plan_harvest(scenes, tmp_path / "m.zarr", zoom=zoom, source=SOURCE, max_tiles=most)

    with pytest.raises(BoundsError, match="zoom 19 is out of range"):
        plan([SCENE], zoom=19)
    with pytest.raises(InputError, match="no scenes to harvest"):
        plan([])
    with pytest.raises(InputError, match="given more than once: 20181224060959386_AS1"):
        plan([SCENE, SCENE])
    with pytest.raises(InputError, match="max_tiles 0"):
        plan([SCENE], most=0)


def test_draw_depends_on_the_seed_and_not_on_the_order() -> None:
    """The same scenes for the same seed, whatever order the service answers in."""
    scenes = [Scene(f"s{number}", (0, 0, 1, 1)) for number in range(40)]
    drawn = draw(scenes, 30, seed=5)
    assert drawn == draw(scenes[::-1], 30, seed=5)
    assert len({scene.id for scene in drawn}) == 30
    assert drawn != draw(scenes, 30, seed=6)
    with pytest.raises(InputError, match="cannot draw 41 of 40"):
        draw(scenes, 41)


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a b", "a\\b"])
def test_scene_ids_that_could_leave_the_store_are_refused(name: str) -> None:
    """An id names a folder, so it may not be a path."""
    with pytest.raises(SourceError, match="scene id"):
        Scene(name, (0, 0, 1, 1))
