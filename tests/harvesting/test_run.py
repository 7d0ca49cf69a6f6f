"""Harvests against a real server: every tile arrives, once, and ends in a recorded state."""

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from distributed import Client

from srsat_dask.errors import InputError, StoreError, TokenError
from srsat_dask.harvesting import run
from srsat_dask.harvesting.run import harvest, scenes_named, search
from srsat_dask.harvesting.scene import Scene, TileError
from srsat_dask.harvesting.tellus import TellusSource
from srsat_dask.mosaic.ledger import done_shards, state_counts
from srsat_dask.mosaic.store import open_mosaic, scenes_of
from srsat_dask.runtime.clusters import connect
from srsat_dask.sandbox import Sandbox, open_scenes

JAPAN = (138.0, 35.2, 140.5, 37.1)


@pytest.fixture
def scene(landscape: Sandbox) -> Scene:
    """Return the first scene of the landscape."""
    return search(JAPAN)[0]


def whole(sandbox: Sandbox, scene: Scene, zoom: int) -> npt.NDArray[np.uint8]:
    """Return the mosaic by a plain loop over the tiles, RGBA (y, x, 4)."""
    import mercantile

    provider = next(p for p in sandbox.scenes if p.entity_id == scene.id)
    tiles = list(mercantile.tiles(*scene.bounds, [zoom]))
    x0, y0 = min(t.x for t in tiles), min(t.y for t in tiles)
    rows, columns = max(t.y for t in tiles) - y0 + 1, max(t.x for t in tiles) - x0 + 1
    image = np.zeros((rows * 256, columns * 256, 4), np.uint8)
    for tile in tiles:
        drawn = provider.tile(zoom, tile.x, tile.y)
        if drawn is not None:
            y, x = (tile.y - y0) * 256, (tile.x - x0) * 256
            image[y : y + 256, x : x + 256] = drawn
    return image


def test_mosaic_equals_a_plain_loop_over_the_tiles(
    landscape: Sandbox, scene: Scene, client: Client, tmp_path: Path
) -> None:
    """Pixels and mask are those of fetching the tiles one by one."""
    report = harvest([scene], tmp_path / "m.zarr", zoom=17, progress=False)
    expected = whole(landscape, scene, 17)
    mosaic = open_mosaic(tmp_path / "m.zarr")[scene.id]
    alpha = expected[..., 3] != 0
    np.testing.assert_array_equal(mosaic["valid"].values != 0, alpha)
    np.testing.assert_array_equal(
        mosaic["image"].values, np.where(alpha, expected[..., :3].transpose(2, 0, 1), 0)
    )
    counts = state_counts(scenes_of(tmp_path / "m.zarr")[0])
    assert counts["pending"] == counts["failed"] == 0
    assert sum(counts.values()) == report.fetched == expected.size // (256 * 256 * 4)
    assert counts["absent"] > 0, "the footprint is rotated: the corners have no tiles"


def test_second_run_over_a_complete_store_fetches_nothing(
    landscape: Sandbox, scene: Scene, client: Client, tmp_path: Path
) -> None:
    """The server's log counts the requests."""
    harvest([scene], tmp_path / "m.zarr", zoom=16, progress=False)
    before = landscape.log.total
    report = harvest([scene], tmp_path / "m.zarr", zoom=16, progress=False)
    assert landscape.log.total == before
    assert report.fetched == 0


def test_processes_make_the_same_mosaic_as_threads(
    landscape: Sandbox, scene: Scene, tmp_path: Path
) -> None:
    """Workers of their own processes take the token from the environment."""
    with connect("threads"):
        harvest([scene], tmp_path / "t.zarr", zoom=17, max_tiles=9, progress=False)
    with connect("local"):
        harvest([scene], tmp_path / "p.zarr", zoom=17, max_tiles=9, progress=False)
    one, two = (open_mosaic(tmp_path / f"{name}.zarr")[scene.id] for name in "tp")
    assert one["image"].sizes["y"] == 3 * 256
    np.testing.assert_array_equal(one["image"].values, two["image"].values)


def fail_the_fifth(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Let the fifth tile asked for fail; return the list of all that are, as it grows."""
    fetch = TellusSource.fetch
    asked: list[tuple[int, int]] = []

    def failing(self: TellusSource, name: str, zoom: int, x: int, y: int) -> object:
        asked.append((x, y))
        if len(asked) == 5:
            raise TileError("status 500")
        return fetch(self, name, zoom, x, y)

    monkeypatch.setattr(TellusSource, "fetch", failing)
    return asked


def test_failed_tiles_are_recorded_and_alone_fetched_again(
    landscape: Sandbox,
    scene: Scene,
    client: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A tile that fails leaves no silent hole, and a re-run mends just that one."""
    store, asked = tmp_path / "m.zarr", fail_the_fifth(monkeypatch)
    report = harvest([scene], store, zoom=17, progress=False)
    (failure,) = report.failures
    assert (failure.x, failure.y) == asked[4]
    assert failure.reason == "status 500"
    assert state_counts(scenes_of(store)[0])["failed"] == 1
    assert not done_shards(scenes_of(store)[0]).all()
    asked.clear()
    asked.extend([(0, 0)] * 5)
    again = harvest([scene], store, zoom=17, progress=False)
    assert asked[5:] == [(failure.x, failure.y)]
    assert again.failures == []
    expected = whole(landscape, scene, 17)
    np.testing.assert_array_equal(
        open_mosaic(store)[scene.id]["valid"].values != 0, expected[..., 3] != 0
    )


def test_refused_token_ends_the_run_and_leaves_the_store_resumable(
    landscape: Sandbox,
    scene: Scene,
    client: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is recorded as absent or failed because of a token."""
    store = tmp_path / "m.zarr"
    with monkeypatch.context() as wrong:
        wrong.setenv("SRSAT_TELLUS_TOKEN", "wrong")
        with pytest.raises(TokenError):
            harvest([scene], store, zoom=16, progress=False)
    counts = state_counts(scenes_of(store)[0])
    assert counts["pending"] == sum(counts.values())
    assert harvest([scene], store, zoom=16, progress=False).failures == []


def test_other_settings_on_the_same_store_are_refused(
    scene: Scene, client: Client, tmp_path: Path
) -> None:
    """Another zoom of the same scene is never mixed in."""
    harvest([scene], tmp_path / "m.zarr", zoom=16, progress=False)
    for zoom in (15, 18):
        with pytest.raises(StoreError, match=f"zoom was 16, is now {zoom}"):
            harvest([scene], tmp_path / "m.zarr", zoom=zoom, progress=False)


def test_damaged_shard_is_fetched_whole_when_a_tile_of_it_failed(
    landscape: Sandbox,
    scene: Scene,
    client: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Mending one tile must not sign pixels that were lost meanwhile."""
    store, asked = tmp_path / "m.zarr", fail_the_fifth(monkeypatch)
    harvest([scene], store, zoom=17, progress=False)
    tiles = len(asked)
    shutil.rmtree(store / scene.id / "image" / "c")
    harvest([scene], store, zoom=17, progress=False)
    assert len(asked) == 2 * tiles
    expected = whole(landscape, scene, 17)
    np.testing.assert_array_equal(
        open_mosaic(store)[scene.id]["image"].values,
        np.where(expected[..., 3] != 0, expected[..., :3].transpose(2, 0, 1), 0),
    )


def test_scenes_by_id(scene: Scene) -> None:
    """Known ids lead to their scenes, unknown ones to an error that names them."""
    assert scenes_named([scene.id]) == [scene]
    with pytest.raises(InputError, match="no scene nothing_AS1"):
        scenes_named(["nothing_AS1"])


def test_token_is_in_no_graph(scene: Scene, client: Client, tmp_path: Path) -> None:
    """What is sent to workers holds no token."""
    from distributed.protocol import serialize
    from distributed.protocol.pickle import dumps

    plan = run.plan_harvest([scene], tmp_path / "m.zarr", zoom=16, source=TellusSource())
    for thing in (TellusSource(), *run._shards(plan, tmp_path / "m.zarr")):
        assert b"let-me-in" not in dumps(thing)
    assert "let-me-in" not in repr(serialize(TellusSource()))


@pytest.mark.imagery
def test_grid_aligned_raster_is_harvested_exactly(
    imagery: Path, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside its footprint the mosaic holds the GeoTIFF's very pixels."""
    path = imagery / "banepa_z17.tif"
    with Sandbox(open_scenes([path])) as sandbox:
        monkeypatch.setenv("SRSAT_TELLUS_URL", sandbox.url)
        monkeypatch.setenv("SRSAT_TELLUS_TOKEN", "any")
        found = search((85.0, 27.0, 86.0, 28.0))
        harvest(found, tmp_path / "m.zarr", zoom=17, progress=False)
    mosaic = open_mosaic(tmp_path / "m.zarr")["banepa_z17"]
    with rasterio.open(path) as raster:
        pixels, corner = raster.read(), raster.transform @ (0, 0)
    column, row = (round(v) for v in ~mosaic["image"].rio.transform() @ corner)
    height, width = pixels.shape[1:]
    part = {"y": slice(row, row + height), "x": slice(column, column + width)}
    np.testing.assert_array_equal(mosaic["image"].isel(part).values, pixels)
    assert mosaic["valid"].isel(part).values.all()
    assert int(mosaic["valid"].sum()) == height * width
