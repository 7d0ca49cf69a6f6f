"""The Traveler source against the sandbox and against servers that answer wrongly."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from pickle import dumps
from typing import Any

import mercantile
import numpy as np
import pytest
import rasterio
from affine import Affine

from srsat_dask.errors import InputError, SourceError, TokenError
from srsat_dask.harvesting import http, traveler, traveler_api, warping
from srsat_dask.harvesting.raster import open_rasters
from srsat_dask.harvesting.scene import TileError
from srsat_dask.harvesting.sources import scenes_named
from srsat_dask.harvesting.traveler import TravelerSource, open_traveler
from srsat_dask.sandbox import Sandbox, open_scenes

WORLD = (-180.0, -85.0, 180.0, 85.0)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for little, and know the token."""
    monkeypatch.setenv("SRSAT_TELLUS_TOKEN", "let-me-in")
    monkeypatch.setitem(traveler.GDAL_HTTP, "GDAL_HTTP_RETRY_DELAY", "0.01")
    monkeypatch.setattr(http, "BACKOFF", 0.0)
    monkeypatch.setattr(http, "RETRIES", 1)
    http.pool.cache_clear()


def write(path: Path, side: int = 1024, dtype: str = "uint8") -> Path:
    """Write a noisy GeoTIFF in UTM that does not fit into one request."""
    noise = np.random.default_rng(side).integers(1, 255, (3, side, side)).astype(dtype)
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=side, width=side, dtype=dtype, tiled=True,
        blockxsize=256, blockysize=256, crs="EPSG:32654",
        transform=Affine(1.2, 0, 380_000, 0, -1.2, 3_950_000),
    ) as raster:  # fmt: skip
        raster.write(noise)
    return path


@contextmanager
def sandbox(*paths: Path, **options: Any) -> Iterator[tuple[Sandbox, TravelerSource]]:
    """Serve rasters; yield the server and the source that points at it."""
    with Sandbox(open_scenes(paths), token="let-me-in", **options) as running:
        yield running, TravelerSource(url=running.url)
    warping.pool.close()


def asked(running: Sandbox, part: str) -> int:
    """Return how often addresses with this part were asked for."""
    return sum(log.count for path, log in running.log.paths.items() if part in path)


def test_search_takes_all_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each scene comes once, with footprint, date and clouds; a box leaves out the others."""
    monkeypatch.setattr(traveler_api, "PAGE", 10)
    paths = [write(tmp_path / f"s{number:02}.tif", 16 + number) for number in range(23)]
    with sandbox(*paths) as (running, source):
        found = source.search(WORLD)
        assert asked(running, "/data-search/") == 3
        assert source.search((0, 0, 1, 1)) == []
    assert [scene.id for scene in found] == sorted({scene.id for scene in found})
    served = sorted(scene.bounds for scene in running.scenes)
    assert sorted(scene.bounds for scene in found) == [pytest.approx(box) for box in served]
    assert {scene.acquired for scene in found} == {scene.acquired for scene in running.scenes}
    assert {(scene.source, scene.cloud_cover) for scene in found} == {("traveler", 0.0)}


def test_scene_by_id_searches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service is asked for the scene itself, and an unknown id is said so."""
    with sandbox(write(tmp_path / "a.tif", 64), write(tmp_path / "b.tif", 48)) as (running, source):
        monkeypatch.setenv("SRSAT_TRAVELER_URL", running.url)
        found = source.search(WORLD)
        searches = asked(running, "/data-search/")
        assert scenes_named([found[1].id], "traveler") == [found[1]]
        with pytest.raises(InputError, match="no scene nothing"):
            scenes_named(["nothing"], "traveler")
        assert asked(running, "/data-search/") == searches


@pytest.mark.parametrize(
    "faults", [None, {"match": "^/traveler-files/", "every": 3, "status": 503}]
)
def test_tiles_are_those_of_the_file(tmp_path: Path, faults: dict[str, object] | None) -> None:
    """Read over the network, window by window, a tile is bit for bit that of the local file.

    The sandbox refuses a presigned address that is asked for with the Bearer token.
    """
    path = write(tmp_path / "a.tif")
    here = open_rasters(path)
    with sandbox(path, faults={"rules": [faults]} if faults else None) as (running, source):
        (scene,) = source.search(WORLD)
        tiles = list(mercantile.tiles(*scene.bounds, [17]))
        with ThreadPoolExecutor(8) as threads:
            fetched = list(threads.map(lambda at: source.fetch(scene.id, 17, at.x, at.y), tiles))
        assert asked(running, "/download-url/") == 1, "one address for all threads"
        assert source.fetch(scene.id, 17, 0, 0) is None
    assert len(tiles) > 30
    for at, tile in zip(tiles, fetched, strict=True):
        np.testing.assert_array_equal(tile, here.fetch("a", 17, at.x, at.y))


def test_few_bytes_are_read_for_a_tile(tmp_path: Path) -> None:
    """The file is not downloaded: a tile takes its header and the blocks under it."""
    path = write(tmp_path / "a.tif", 2048)
    taken: list[int] = []
    with file_server(path, taken) as source:
        tile = source.fetch("scene", 17, *centre(path))
    assert tile is not None
    assert 0 < sum(taken) < path.stat().st_size / 4


def test_expired_address_is_renewed(tmp_path: Path) -> None:
    """In the middle of a scene, without a failed tile."""
    path = write(tmp_path / "a.tif")
    here = open_rasters(path)
    with sandbox(path, url_lifetime=0.4) as (running, source):
        (scene,) = source.search(WORLD)
        tiles = list(mercantile.tiles(*scene.bounds, [18]))
        for at in (tiles[0], tiles[-1]):
            tile = source.fetch(scene.id, 18, at.x, at.y)
            np.testing.assert_array_equal(tile, here.fetch("a", 18, at.x, at.y))
            time.sleep(0.5)
        assert asked(running, "/download-url/") == 2


def test_address_that_is_refused_twice_fails_the_tile_and_stays_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One renewal, then a recorded failure; no signature in error, log, lineage or graph."""
    caplog.set_level(logging.DEBUG)
    path = write(tmp_path / "a.tif", 64)
    with sandbox(path, url_lifetime=1e-9) as (running, source):
        (scene,) = source.search(WORLD)
        with pytest.raises(TileError, match=r"_webcog\.tif cannot be read") as caught:
            source.fetch(scene.id, 17, *centre(path))
        assert asked(running, "/download-url/") == 2
        lineage = source.lineage(scene.id)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert "403" in caplog.text, "GDAL did tell of the refusal"
    for told in (caplog.text, caught.value, lineage, scene, dumps(source)):
        assert "Signature" not in str(told)
        assert "let-me-in" not in str(told)
    assert lineage["file_bytes"] == path.stat().st_size


def test_addresses_in_gdals_messages_are_redacted(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever rasterio logs passes the filter."""
    from srsat_dask.harvesting.redaction import guard_logs

    guard_logs()
    logging.getLogger("rasterio._env").warning("no %s!", "/vsicurl/http://h/a.tif?Signature=s3&b=1")
    assert "no /vsicurl/http://h/a.tif?***" in caplog.text
    assert "s3" not in caplog.text


def test_lineage_names_the_file_and_not_the_server(tmp_path: Path) -> None:
    """The same file from another address is the same source."""
    path = write(tmp_path / "a.tif", 64)
    lineages = []
    for _ in range(2):
        with sandbox(path) as (running, source):
            (scene,) = source.search(WORLD)
            lineages.append(source.lineage(scene.id))
            assert running.url not in str(lineages)
    assert lineages[0] == lineages[1]
    assert lineages[0]["file_name"] == "a_webcog.tif"


def test_missing_and_refused_tokens_are_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the search, and for each tile."""
    with sandbox(write(tmp_path / "a.tif", 64)) as (_, source):
        (scene,) = source.search(WORLD)
        monkeypatch.setenv("SRSAT_TELLUS_TOKEN", "wrong")
        with pytest.raises(TokenError, match="refused"):
            source.search(WORLD)
        with pytest.raises(TokenError, match="refused"):
            source.fetch(scene.id, 17, *centre(tmp_path / "a.tif"))
        monkeypatch.delenv("SRSAT_TELLUS_TOKEN")
        with pytest.raises(TokenError, match="SRSAT_TELLUS_TOKEN"):
            source.search(WORLD)


def test_service_that_stops_answering_fails_tiles(tmp_path: Path) -> None:
    """What is to blame is the network: a re-run may find it back."""
    with sandbox(write(tmp_path / "a.tif", 64)) as (_, source):
        (scene,) = source.search(WORLD)
    with pytest.raises(TileError, match="no answer"):
        source.fetch(scene.id, 17, *centre(tmp_path / "a.tif"))


def test_unknown_scene_and_missing_box_are_refused(tmp_path: Path) -> None:
    """Both end the run before anything is written."""
    with sandbox(write(tmp_path / "a.tif", 64)) as (_, source):
        with pytest.raises(InputError, match="no scene nothing"):
            source.fetch("nothing", 17, 0, 0)
        with pytest.raises(InputError, match="--bbox"):
            source.search(None)


def test_source_text_names_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text makes the same source again; the address comes from the environment."""
    monkeypatch.setenv("SRSAT_TRAVELER_URL", "https://example.org/")
    assert open_traveler("traveler") == TravelerSource((), "https://example.org")
    some = open_traveler("traveler:a, b")
    assert some == TravelerSource(("a", "b"), "https://example.org")
    assert open_traveler(some.name) == some
    assert open_traveler("travellers") is None
    with pytest.raises(InputError, match="names no dataset"):
        open_traveler("traveler:")


Answers = dict[str, Any]


def feature(id_: str = "scene") -> dict[str, object]:
    """Return a scene as the API describes it."""
    ring = [[139, 35], [140, 35], [140, 36], [139, 35]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"id": id_, "dataset_id": "d", "geometry": geometry, "properties": {}}


def answers(**changed: Any) -> Answers:
    """Return what a service with one scene answers, by the end of the path, with changes."""
    file = {"id": 1, "name": "a.tif", "size_bytes": 9, "is_downloadable": True}
    return {
        "datasets": {"results": [{"id": "d"}], "next": None},
        "data-search": {"features": [feature()], "meta": {"total": 1}},
        "files": {"results": [file]},
        "download-url": {"download_url": "http://127.0.0.1:9/a.tif?Signature=s3cret"},
        **changed,
    }


@contextmanager
def answering(of: Answers | Callable[[str], Answers]) -> Iterator[tuple[str, list[str]]]:
    """Serve JSON by the last part of the path; yield the address and the paths asked for."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append(self.path)
            known = of if isinstance(of, dict) else of(f"http://{self.headers['Host']}")
            answer = known.get(self.path.rstrip("/").rpartition("/")[2])
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        http.pool().clear()


def test_scene_without_a_geotiff_is_none() -> None:
    """Files of other kinds, and those not for download, make no scene to harvest."""
    of = {"id": 1, "size_bytes": 9, "is_downloadable": True}
    for files in (
        [],
        [{**of, "name": "a.zip"}],
        [{**of, "name": "a.tif", "is_downloadable": False}],
    ):
        with answering(answers(files={"results": files})) as (url, _):
            assert TravelerSource(url=url).search(WORLD) == []


def test_file_fit_for_windows_is_preferred() -> None:
    """Of several GeoTIFFs the one for the web is read."""
    of = {"size_bytes": 9, "is_downloadable": True}
    names = ["a.tif", "b_webcog.tif", "c.TIFF", "d_webcog.txt"]
    files = [{**of, "id": number, "name": name} for number, name in enumerate(names)]
    with answering(answers(files={"results": files})) as (url, _):
        assert traveler_api.geotiff(url, "d", "scene") == traveler_api.RemoteFile(
            "d", "scene", "1", "b_webcog.tif", 9
        )


@pytest.mark.parametrize(
    "changed",
    [
        {"datasets": b"<html>maintenance</html>"},
        {"datasets": {"items": []}},
        {"datasets": {"results": [], "next": "http://127.0.0.1:9/elsewhere/"}},
        {"data-search": {"features": [{"id": "a"}], "meta": {}}},
        {"data-search": {"features": [feature("../../up")], "meta": {}}},
        {"data-search": {"features": [], "meta": {"search-condition": "round"}}},
        {"data-search": None},
        {"files": {"results": [{"name": "a.tif", "is_downloadable": True}]}},
    ],
)
def test_answers_that_are_none_end_the_search(changed: Answers) -> None:
    """No scene is left out in silence, no other host asked, no endless round made."""
    with answering(answers(**changed)) as (url, seen), pytest.raises(SourceError):
        TravelerSource(url=url).search(WORLD)
    assert len(seen) < 6


@pytest.mark.parametrize("address", ["file:///etc/passwd", "/vsizip/x", "", None])
def test_address_that_is_no_web_address_is_not_opened(address: str | None) -> None:
    """GDAL would open much more than the web."""
    with (
        answering(answers(**{"download-url": {"download_url": address}})) as (url, _),
        pytest.raises(TileError, match="did not answer a web address"),
    ):
        TravelerSource(url=url).fetch("scene", 17, 0, 0)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"",
        b'<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand/></VRTDataset>',
    ],
)
def test_file_that_is_no_geotiff_fails_the_tile(body: bytes) -> None:
    """Least of all a VRT, which could name files of the machine that reads it."""
    of = lambda url: answers(  # noqa: E731
        **{"download-url": {"download_url": f"{url}/a.tif"}, "a.tif": body}
    )
    with answering(of) as (url, _), pytest.raises(TileError, match=r"a\.tif cannot be read"):
        TravelerSource(url=url).fetch("scene", 17, 0, 0)


def test_raster_of_another_kind_fails_the_tile(tmp_path: Path) -> None:
    """16 bits would have to be scaled, and nobody said how."""
    path = write(tmp_path / "a.tif", 64, "uint16")
    with (
        file_server(path, []) as source,
        pytest.raises(TileError, match=r"a\.tif is no raster of three uint8 bands"),
    ):
        source.fetch("scene", 17, *centre(path))


@contextmanager
def file_server(path: Path, taken: list[int]) -> Iterator[TravelerSource]:
    """Serve one file by ranges behind the API; note the bytes of ranges."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            data = path.read_bytes()
            asked = self.headers.get("Range", f"bytes=0-{len(data) - 1}")
            first, _, last = asked.removeprefix("bytes=").partition("-")
            part = data[int(first) : int(last) + 1]
            self.send_response(206 if "Range" in self.headers else 200)
            self.send_header("Content-Length", str(len(part)))
            if "Range" in self.headers:
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
                taken.append(len(part))
            self.end_headers()
            with suppress(ConnectionError):  # to learn the size GDAL hangs up after the headers
                self.wfile.write(part)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True  # GDAL keeps its connections open
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}/a.tif"
    try:
        with answering(answers(**{"download-url": {"download_url": address}})) as (url, _):
            yield TravelerSource(url=url)
    finally:
        warping.pool.close()
        server.shutdown()
        server.socket.close()
        thread.join()


def centre(path: Path) -> tuple[int, int]:
    """Return column and row of the zoom-17 tile at the centre of a raster."""
    with rasterio.open(path) as raster:
        middle = raster.transform @ (raster.width / 2, raster.height / 2)
        (x,), (y,) = rasterio.warp.transform(raster.crs, "EPSG:4326", *([v] for v in middle))
    at = mercantile.tile(x, y, 17)
    return at.x, at.y
