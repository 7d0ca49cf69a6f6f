"""Sources by their text, and harvests from each kind, search to store."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import mercantile
import numpy as np
import pytest
import rasterio
from affine import Affine
from distributed import Client
from PIL import Image

from srsat_dask import cli
from srsat_dask.errors import InputError, StoreError
from srsat_dask.harvesting import http, warping
from srsat_dask.harvesting.raster import RasterSource
from srsat_dask.harvesting.run import harvest
from srsat_dask.harvesting.scene import TileSource, draw
from srsat_dask.harvesting.sources import open_source, scenes_named, search
from srsat_dask.harvesting.tellus import TellusSource
from srsat_dask.harvesting.traveler import TravelerSource
from srsat_dask.harvesting.xyz import XyzSource
from srsat_dask.mosaic.store import open_mosaic, scenes_of
from srsat_dask.sandbox import Sandbox, open_scenes

BOX = (139.0, 35.6, 139.01, 35.61)


def write(path: Path, seed: int = 0, side: int = 400) -> Path:
    """Write a GeoTIFF on the grid of zoom 17, its corner inside a tile."""
    corner = mercantile.xy_bounds(116_000 + 10 * seed, 51_600, 17)
    pixel = (corner.right - corner.left) / 256
    transform = Affine(pixel, 0, corner.left + 30 * pixel, 0, -pixel, corner.top - 70 * pixel)
    noise = np.random.default_rng(seed).integers(0, 256, (3, side, side), dtype=np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=side, width=side, dtype="uint8",
        crs="EPSG:3857", transform=transform,
    ) as raster:  # fmt: skip
        raster.write(noise)
    return path


def assert_holds(store: Path, scene: str, path: Path) -> None:
    """Check that a mosaic holds a file on its grid, pixel by pixel, and nothing else."""
    mosaic = open_mosaic(store)[scene]
    with rasterio.open(path) as raster:
        pixels, corner = raster.read(), raster.transform @ (0, 0)
    column, row = (round(v) for v in ~mosaic["image"].rio.transform() @ corner)
    height, width = pixels.shape[1:]
    part = {"y": slice(row, row + height), "x": slice(column, column + width)}
    np.testing.assert_array_equal(mosaic["image"].isel(part).values, pixels)
    assert mosaic["valid"].isel(part).values.all()
    assert int(mosaic["valid"].sum()) == height * width


@contextmanager
def painted_tiles() -> Iterator[str]:
    """Serve tiles of 512 px whose colour is their column, row and zoom; yield a template."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            zoom, x, y = (int(part) for part in self.path.split("/")[-3:])
            body = BytesIO()
            Image.new("RGB", (512, 512), (x % 256, y % 256, zoom)).save(body, "PNG")
            self.send_response(200)
            self.send_header("Content-Length", str(len(body.getvalue())))
            self.end_headers()
            self.wfile.write(body.getvalue())

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{{z}}/{{x}}/{{y}}#size=512&attribution=Me"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        http.pool().clear()


def test_text_names_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind by its own form; its name makes it again, wherever the process runs."""
    write(tmp_path / "a.tif")
    monkeypatch.chdir(tmp_path)
    kinds: dict[str, type] = {
        "tellus": TellusSource,
        "traveler": TravelerSource,
        "traveler:some-dataset": TravelerSource,
        "https://h.org/{z}/{x}/{y}.png": XyzSource,
        "esri.worldimagery": XyzSource,
        "a.tif": RasterSource,
        str(tmp_path): RasterSource,
    }
    for text, kind in kinds.items():
        source: TileSource = open_source(text)
        assert isinstance(source, kind)
        with monkeypatch.context() as elsewhere:
            elsewhere.chdir("/")
            assert open_source(source.name) == source
        low, high = source.zooms
        assert 0 <= low < 17 < high <= 24


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tellus2", "unknown source 'tellus2'"),
        ("missing.tif", "path of a raster"),
        ("https://h.org/tiles", "needs {z}, {x} and {y}"),
        ("{z}/{x}/{y}", "begins with https://"),
    ],
)
def test_text_that_names_none_is_refused(text: str, said: str) -> None:
    """The message says what would do."""
    with pytest.raises(InputError) as caught:
        open_source(text)
    assert said in str(caught.value)


def test_sources_without_scenes_ask_for_a_box() -> None:
    """Ids and emptiness are refused where they mean nothing."""
    for text in ("tellus", "traveler", "https://h.org/{z}/{x}/{y}"):
        with pytest.raises(InputError, match="--bbox W S E N"):
            search(None, text)
    with pytest.raises(InputError, match="no scenes of its own"):
        scenes_named(["a"], "https://h.org/{z}/{x}/{y}")


def test_rasters_pass_from_search_to_store(client: Client, tmp_path: Path) -> None:
    """Drawn from a folder, harvested bit for bit, and recorded by their bytes."""
    folder = tmp_path / "rasters"
    folder.mkdir()
    paths = {f"r{seed}": write(folder / f"r{seed}.tif", seed) for seed in range(4)}
    found = search(source=str(folder))
    assert [scene.id for scene in found] == list(paths)
    drawn = draw(found, 2, seed=1)
    report = harvest(drawn, tmp_path / "m.zarr", zoom=17, progress=False)
    assert report.failures == []
    assert report.states == {"partial": 8}
    for scene in drawn:
        assert_holds(tmp_path / "m.zarr", scene.id, paths[scene.id])
    lineage = scenes_of(tmp_path / "m.zarr")[0].lineage
    assert (lineage["source"], lineage["resampling"]) == ("raster", "bilinear")
    assert scenes_named(["r2"], str(folder)) == [found[2]]
    with pytest.raises(InputError, match="has no scene r9"):
        scenes_named(["r9"], str(folder))


def test_raster_that_changed_is_not_mixed_in(client: Client, tmp_path: Path) -> None:
    """The same name with other pixels is refused; elsewhere with the same pixels it is not."""
    path = write(tmp_path / "a.tif")
    store = tmp_path / "m.zarr"
    harvest(search(source=str(path)), store, zoom=17, progress=False)
    (tmp_path / "moved").mkdir()
    moved = path.rename(tmp_path / "moved" / "a.tif")
    assert harvest(search(source=str(moved)), store, zoom=17, progress=False).fetched == 0
    moved.write_bytes(moved.read_bytes()[:-1] + b"\0")
    with pytest.raises(StoreError, match="sha256 was"):
        harvest(search(source=str(moved)), store, zoom=17, progress=False)


def test_template_passes_from_search_to_store(client: Client, tmp_path: Path) -> None:
    """Tiles of 512 px land where they belong, and the store names whom to credit."""
    with painted_tiles() as template:
        found = search(BOX, template)
        report = harvest(found, tmp_path / "m.zarr", zoom=15, progress=False)
    assert report.failures == []
    mosaic = open_mosaic(tmp_path / "m.zarr")[found[0].id]
    assert mosaic.attrs["attribution"] == "Me"
    assert mosaic["valid"].values.all()
    seen = mosaic["image"].values[:, ::256, ::256]
    tiles = [mercantile.tile(BOX[0], BOX[3], 15), mercantile.tile(BOX[2], BOX[1], 15)]
    xs = np.arange(tiles[0].x, tiles[1].x + 1) // 2 % 256
    ys = np.arange(tiles[0].y, tiles[1].y + 1) // 2 % 256
    assert seen.shape == (3, len(ys), len(xs))
    np.testing.assert_array_equal(seen[0], np.broadcast_to(xs, seen.shape[1:]))
    np.testing.assert_array_equal(seen[1], np.broadcast_to(ys[:, None], seen.shape[1:]))
    assert (seen[2] == 14).all()


def test_traveler_passes_from_search_to_store(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A remote GeoTIFF on the grid is harvested bit for bit; nothing presigned is kept."""
    path = write(tmp_path / "a.tif", side=700)
    store = tmp_path / "m.zarr"
    with Sandbox(open_scenes([path]), token="let-me-in", url_lifetime=5) as sandbox:
        monkeypatch.setenv("SRSAT_TRAVELER_URL", sandbox.url)
        monkeypatch.setenv("SRSAT_TELLUS_TOKEN", "let-me-in")
        found = search((138, 35, 140, 37), "traveler")
        report = harvest(found, store, zoom=17, progress=False)
        again = harvest(scenes_named([found[0].id], "traveler"), store, zoom=17, progress=False)
    warping.pool.close()
    assert report.failures == []
    assert again.fetched == 0
    assert_holds(store, found[0].id, path)
    for kept in store.rglob("zarr.json"):
        assert "Signature" not in kept.read_text()
        assert "let-me-in" not in kept.read_text()


def srsat(*arguments: object) -> int:
    """Run a command and return its exit status."""
    return cli.main([str(argument) for argument in arguments])


def test_command_harvests_a_raster_at_its_own_zoom(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither box nor zoom is needed; what was chosen is said."""
    path, store = write(tmp_path / "a.tif"), tmp_path / "m.zarr"
    assert srsat("harvest", store, "--source", path, "--cluster", "threads") == 0
    assert "zoom 17, nearest to the pixels" in capsys.readouterr().err
    assert_holds(store, "a", path)
    other = tmp_path / "coarse.zarr"
    assert srsat("harvest", other, "--source", path, "--zoom", 15, "--cluster", "threads") == 0
    assert "nearest" not in capsys.readouterr().err
    assert scenes_of(other)[0].lineage["zoom"] == 15


def test_command_takes_one_raster_of_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By id as by box, and 'scenes' lists what there is."""
    folder = tmp_path / "rasters"
    folder.mkdir()
    for seed in range(3):
        write(folder / f"r{seed}.tif", seed)
    assert srsat("scenes", "--source", folder, "--json") == 0
    listed: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert [scene["id"] for scene in listed] == ["r0", "r1", "r2"]
    for number, which in enumerate((["--scene", "r1"], ["--bbox", *listed[1]["bounds"]])):
        store = tmp_path / f"{number}.zarr"
        assert srsat("harvest", store, "--source", folder, *which, "--cluster", "threads") == 0
        assert [scene.name for scene in scenes_of(store)] == ["r1"]


@pytest.mark.parametrize("command", [["scenes"], ["harvest", "m.zarr"]])
def test_command_without_a_box_says_so(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Exit status 2, the option's name, and nothing written."""
    monkeypatch.chdir(tmp_path)
    assert srsat(*command) == 2
    assert "--bbox W S E N" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.imagery
def test_command_harvests_a_real_town_bit_for_bit(imagery: Path, tmp_path: Path) -> None:
    """The file's pixels, straight from the file."""
    path, store = imagery / "banepa_z17.tif", tmp_path / "m.zarr"
    assert srsat("harvest", store, "--source", path, "--cluster", "threads") == 0
    assert_holds(store, "banepa_z17", path)
