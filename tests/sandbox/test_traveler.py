"""The Traveler API over real HTTP: search by page, files, presigned downloads read by GDAL."""

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import rasterio
import requests
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from srsat_dask.errors import BoundsError
from srsat_dask.sandbox import Sandbox, landscape_scenes, open_scenes
from srsat_dask.sandbox.downloads import Signer, byte_range, pieces

API = "/api/traveler/v1"
TOKEN = "-".join(["some", "token"])
BEARER = {"Authorization": f"Bearer {TOKEN}"}
WORLD = {
    "type": "Polygon",
    "coordinates": [[[-180, -85], [180, -85], [180, 85], [-180, 85], [-180, -85]]],
}


@pytest.fixture(scope="module")
def raster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a tiled GeoTIFF of noise, about a megabyte."""
    path = tmp_path_factory.mktemp("raster") / "town.tif"
    pixels = np.random.default_rng(0).integers(0, 256, (3, 700, 500), np.uint8)
    profile = {"driver": "GTiff", "width": 500, "height": 700, "count": 3, "dtype": "uint8",
               "crs": "EPSG:3857", "transform": rasterio.Affine(2, 0, 15.5e6, 0, -2, 4.2e6),
               "tiled": True, "blockxsize": 128, "blockysize": 128}  # fmt: skip
    with rasterio.open(path, "w", **profile) as target:
        target.write(pixels)
    return path


@pytest.fixture(scope="module")
def sandbox(raster: Path) -> Iterator[Sandbox]:
    """Run a sandbox of one raster and 24 small landscape scenes that asks for a token."""
    scenes = [*open_scenes([raster]), *landscape_scenes(24, size_m=300)]
    with Sandbox(scenes, token=TOKEN) as running:
        yield running


def post(running: Sandbox, path: str, body: object = None) -> requests.Response:
    return requests.post(running.url + API + path, json=body, headers=BEARER, timeout=30)


def search(running: Sandbox, cursor: str | None = None, **conditions: Any) -> requests.Response:
    paginate = {"size": 10, "cursor": cursor}
    return post(running, "/data-search/", {"intersects": WORLD, "paginate": paginate} | conditions)


def named(running: Sandbox, name: str) -> dict[str, Any]:
    """Find the one scene of a name."""
    [found] = search(running, query={"tellus:name": {"eq": name}}).json()["features"]
    return dict(found)


def files_path(found: dict[str, Any]) -> str:
    return f"/datasets/{found['dataset_id']}/data/{found['id']}/files/"


def download(running: Sandbox, name: str) -> tuple[dict[str, Any], str]:
    """Return what the files list says of a scene's GeoTIFF, and an address of it."""
    path = files_path(named(running, name))
    listed = requests.get(running.url + API + path, headers=BEARER, timeout=60)
    [file] = listed.json()["results"]
    return file, post(running, f"{path}{file['id']}/download-url/").json()["download_url"]


def test_there_is_one_dataset(sandbox: Sandbox) -> None:
    """The list has the id that every scene of a search names."""
    answer = requests.get(f"{sandbox.url}{API}/datasets/", headers=BEARER, timeout=9).json()
    [dataset] = answer["results"]
    assert answer["next"] is None
    found = search(sandbox, datasets=[dataset["id"]]).json()
    assert found["meta"]["total"] == 25
    assert {each["dataset_id"] for each in found["features"]} == {dataset["id"]}
    assert search(sandbox, datasets=["another"]).json()["meta"]["total"] == 0


@pytest.mark.parametrize(("method", "path"), [
    ("GET", "/datasets/"), ("POST", "/data-search/"), ("GET", "/datasets/d/data/s/files/"),
    ("POST", "/datasets/d/data/s/files/1/download-url/"),
])  # fmt: skip
@pytest.mark.parametrize("header", [None, "Bearer wrong"])
def test_the_api_asks_for_the_token(
    sandbox: Sandbox, method: str, path: str, header: str | None
) -> None:
    """Without the right Bearer token every address of the API is a 401."""
    headers = {} if header is None else {"Authorization": header}
    answer = requests.request(method, sandbox.url + API + path, headers=headers, timeout=9)
    assert answer.status_code == 401


def test_pages_hold_every_scene_once(sandbox: Sandbox) -> None:
    """Following the search condition visits all scenes and ends."""
    ids, sizes, cursor = [], [], None
    for _ in range(4):
        page = search(sandbox, cursor).json()
        assert page["type"] == "FeatureCollection"
        assert page["meta"]["total"] == 25
        sizes.append(len(page["features"]))
        ids += [each["properties"]["tellus:name"] for each in page["features"]]
        cursor = page["meta"]["search-condition"]
        if cursor is None:
            break
    assert sizes == [10, 10, 5]
    assert ids == [scene.entity_id for scene in sandbox.scenes]


def test_a_scene_is_described_as_geojson(sandbox: Sandbox) -> None:
    """Geometry, name, date and clouds are the scene's; its id is not its name."""
    scene = sandbox.scenes[3]
    found = named(sandbox, scene.entity_id)
    west, south, east, north = scene.bounds
    [ring] = found["geometry"]["coordinates"]
    assert {tuple(place) for place in ring} == {
        (x, y) for x in (west, east) for y in (south, north)
    }
    assert ring[0] == ring[-1]
    assert found["id"] != scene.entity_id
    assert found["properties"]["start_datetime"] == scene.acquired.isoformat()
    assert found["properties"]["eo:cloud_cover"] == scene.cloud_cover


def test_a_search_narrows_and_sorts(sandbox: Sandbox) -> None:
    """Box, property and order hold together, dates compared as moments."""
    scenes = [scene for scene in sandbox.scenes if scene.entity_id != "town"]
    middle = sorted(scene.acquired for scene in scenes)[12]
    since = middle.isoformat().replace("+00:00", "Z")
    query = {"start_datetime": {"gte": since}, "eo:cloud_cover": {"gt": 0}}
    sortby = [{"field": "properties.eo:cloud_cover", "direction": "desc"}]
    paginate = {"size": 1000, "cursor": None}
    japan = {"type": "Point", "coordinates": [scenes[0].bounds[0], scenes[0].bounds[1]]}
    answer = search(sandbox, query=query, sortby=sortby, paginate=paginate).json()["features"]
    expected = [s for s in sandbox.scenes if s.acquired >= middle and s.cloud_cover > 0]
    expected.sort(key=lambda scene: scene.cloud_cover, reverse=True)
    assert [each["properties"]["tellus:name"] for each in answer] == [s.entity_id for s in expected]
    assert len(expected) >= 5
    [there] = search(sandbox, intersects=japan).json()["features"]
    assert there["properties"]["tellus:name"] == scenes[0].entity_id


@pytest.mark.parametrize(("change", "message"), [
    ({"paginate": {"size": 9, "cursor": None}}, "10 to 1000"),
    ({"paginate": {"size": 1001, "cursor": None}}, "10 to 1000"),
    ({"paginate": {"cursor": None}}, "10 to 1000"),
    ({"paginate": {"size": 10}}, "send null for the first page"),
    ({"paginate": {"size": 10, "cursor": "bm9uc2Vuc2U="}}, "not of this search"),
    ({"paginate": {"size": 10, "cursor": 7}}, "must be null"),
    ({"intersects": {"type": "Polygon"}}, "GeoJSON"),
    ({"intersects": {"type": "Polygon", "coordinates": [[]]}}, "GeoJSON"),
    ({"query": {"tellus:name": {"like": "東京\r\n"}}}, "like is unknown"),
    ({"query": {"eo:cloud_cover": {"lt": "much"}}}, "cannot be compared"),
    ({"query": 7}, "query must be an object"),
    ({"sortby": [{"field": "properties.colour"}]}, "colour"),
    ({"sortby": 7}, "sortby must be a list"),
    ({"datasets": "all"}, "datasets must be a list"),
])  # fmt: skip
def test_an_unusable_search_is_a_422(
    sandbox: Sandbox, change: dict[str, Any], message: str
) -> None:
    """The JSON says what would be right."""
    answer = search(sandbox, **change)
    assert answer.status_code == 422
    assert message in answer.json()["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
def test_a_body_that_is_no_search_is_a_422(sandbox: Sandbox, body: bytes) -> None:
    """Neither nothing nor broken JSON nor a list can be run."""
    url = f"{sandbox.url}{API}/data-search/"
    answer = requests.post(url, data=body, headers=BEARER, timeout=9)
    assert answer.status_code == 422


def test_a_cursor_is_of_one_search(sandbox: Sandbox) -> None:
    """With other conditions it is refused."""
    cursor = search(sandbox).json()["meta"]["search-condition"]
    other = search(sandbox, cursor, query={"eo:cloud_cover": {"gte": 0}})
    assert other.status_code == 422
    assert "not of this search" in other.json()["message"]


def test_a_raster_is_served_byte_for_byte(sandbox: Sandbox, raster: Path) -> None:
    """The file is the raster's own, its size as listed, without the token."""
    file, url = download(sandbox, "town")
    assert file["name"] == "town_webcog.tif"
    assert file["is_downloadable"] is True
    answer = requests.get(url, timeout=9)
    assert answer.content == raster.read_bytes()
    assert len(answer.content) == file["size_bytes"] > 3 * (1 << 17)
    head = requests.head(url, timeout=9)
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["Content-Length"]) == file["size_bytes"]
    assert head.headers["Accept-Ranges"] == "bytes"


def test_ranges_are_answered(sandbox: Sandbox, raster: Path) -> None:
    """Status 206 with the bytes asked for; 416 beyond the end."""
    _, url = download(sandbox, "town")
    whole = raster.read_bytes()
    for header, first, last in (
        ("bytes=0-9", 0, 9), ("bytes=1000-", 1000, len(whole) - 1),
        ("bytes=-7", len(whole) - 7, len(whole) - 1),
    ):  # fmt: skip
        answer = requests.get(url, headers={"Range": header}, timeout=9)
        assert answer.status_code == 206
        assert answer.content == whole[first : last + 1]
        assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(whole)}"
    beyond = requests.get(url, headers={"Range": f"bytes={len(whole)}-"}, timeout=9)
    assert (beyond.status_code, beyond.content) == (416, b"")
    assert beyond.headers["Content-Range"] == f"bytes */{len(whole)}"


def test_gdal_reads_a_window_of_the_raster(raster: Path) -> None:
    """Through /vsicurl GDAL reads the pixels with ranges, far fewer bytes than the file has."""
    with Sandbox(open_scenes([raster]), token=TOKEN) as sandbox:
        _, url = download(sandbox, "town")
        window = Window(130, 400, 100, 90)
        with (
            rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"),
            rasterio.open(f"/vsicurl/{url}") as remote,
            rasterio.open(raster) as local,
        ):
            assert remote.transform == local.transform
            np.testing.assert_array_equal(remote.read(window=window), local.read(window=window))
        statuses = sandbox.log.paths["/traveler-files/1/town_webcog.tif"].statuses
        assert 206 in statuses
        assert set(statuses) <= {200, 206}


def test_a_landscape_scene_is_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for by several at once it is one COG of the scene's own tiles, removed in the end."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    [scene] = landscape_scenes(1, size_m=300)
    with Sandbox([scene], token=TOKEN) as sandbox:
        with ThreadPoolExecutor(3) as pool:
            urls = [url for _, url in pool.map(lambda _: download(sandbox, scene.entity_id), "abc")]
        [drawn] = tmp_path.rglob("*.tif")
        for url in urls:
            assert requests.get(url, timeout=9).content == drawn.read_bytes()
        with (
            rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"),
            rasterio.open(f"/vsicurl/{urls[0]}") as remote,
        ):
            assert remote.crs == "EPSG:3857"
            assert remote.profile["tiled"]
            assert remote.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert remote.colorinterp[3] == ColorInterp.alpha
            left = round((remote.bounds.left + 20037508.342789244) / remote.res[0]) // 256
            top = round((20037508.342789244 - remote.bounds.top) / remote.res[1]) // 256
            pixels = np.moveaxis(remote.read(), 0, -1)
        assert 0 < (pixels[..., 3] == 255).mean() < 1
        for row in range(pixels.shape[0] // 256):
            for column in range(pixels.shape[1] // 256):
                part = pixels[row * 256 : row * 256 + 256, column * 256 : column * 256 + 256]
                tile = scene.tile(16, left + column, top + row)
                np.testing.assert_array_equal(part, np.zeros_like(part) if tile is None else tile)
        right, bottom = left + pixels.shape[1] // 256, top + pixels.shape[0] // 256
        for x in range(left - 1, right + 1):
            for y in range(top - 1, bottom + 1):
                inside = left <= x < right and top <= y < bottom
                assert inside or scene.tile(16, x, y) is None
    assert list(tmp_path.iterdir()) == []


def test_stopping_does_not_wait_for_a_drawing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Leaving mid-drawing is quick, quiet and leaves no file."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    [scene] = landscape_scenes(1, size_m=5000)
    with ThreadPoolExecutor(1) as pool:
        with Sandbox([scene], token=TOKEN) as sandbox:
            waiting = pool.submit(download, sandbox, scene.entity_id)
            while not list(tmp_path.rglob("*.tif")) and not waiting.done():
                time.sleep(0.01)
            began = time.monotonic()
        assert time.monotonic() - began < 10
        with pytest.raises(requests.RequestException):
            waiting.result()
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


def test_a_presigned_address_refuses_the_token(sandbox: Sandbox) -> None:
    """Authorising twice is a 400, as with S3."""
    _, url = download(sandbox, "town")
    assert requests.get(url, headers=BEARER, timeout=9).status_code == 400


def test_a_presigned_address_opens_one_file(sandbox: Sandbox) -> None:
    """Another file, another time or no signature at all is a 403."""
    _, url = download(sandbox, "town")
    parts = urlsplit(url)
    expires = parse_qs(parts.query)["Expires"][0]
    for wrong in (
        url.replace("/1/", "/2/"), url.replace(expires, f"{float(expires) + 60:.3f}"),
        url[:-1] + ("0" if url[-1] != "0" else "1"), url.split("?")[0], url.split("&")[0],
    ):  # fmt: skip
        assert wrong != url
        assert requests.get(wrong, timeout=9).status_code == 403


def test_a_presigned_address_expires(raster: Path) -> None:
    """It works at first, is a 403 after its life, and another one can be had."""
    with Sandbox(open_scenes([raster]), token=TOKEN, url_lifetime=1.0) as sandbox:
        _, url = download(sandbox, "town")
        expires = float(parse_qs(urlsplit(url).query)["Expires"][0])
        assert 0 < expires - time.time() <= 1
        time.sleep(max(0, expires - time.time()) + 0.01)
        late = requests.get(url, timeout=9)
        assert late.status_code == 403
        assert "expired" in late.json()["message"]
        _, again = download(sandbox, "town")
        assert again != url


def test_a_query_is_good_until_it_expires() -> None:
    """By the signer's own clock, to the millisecond."""
    now = 1000.0
    signer = Signer(60.0, clock=lambda: now)
    expires, signature = (part.split("=")[1] for part in signer.query("/a").split("&"))
    now = 1060.0
    assert signer.refusal("/a", expires, signature) is None
    assert "match" in (signer.refusal("/b", expires, signature) or "")
    now = 1060.001
    assert "expired" in (signer.refusal("/a", expires, signature) or "")
    assert Signer(60.0).query("/a") != Signer(60.0).query("/a")


def test_the_log_does_not_tell_the_signature(sandbox: Sandbox) -> None:
    """Only paths are kept: whoever reads the log cannot download."""
    _, url = download(sandbox, "town")
    requests.get(url, timeout=9)
    shown = requests.get(sandbox.url + "/_sandbox/log", timeout=9).text
    assert "/traveler-files/1/town_webcog.tif" in shown
    assert "Signature" not in shown
    assert urlsplit(url).query.split("Signature=")[1] not in shown


@pytest.mark.parametrize("path", [
    "/datasets/another/data/{id}/files/", "/datasets/{dataset_id}/data/another/files/",
])  # fmt: skip
def test_what_is_not_there_is_a_404(sandbox: Sandbox, path: str) -> None:
    """Unknown datasets and scenes have no files, and a scene has but its own."""
    found = named(sandbox, "town")
    url = sandbox.url + API + path.format(**found)
    assert requests.get(url, headers=BEARER, timeout=9).status_code == 404
    assert post(sandbox, files_path(found) + "2/download-url/").status_code == 404


def test_faults_strike_downloads(raster: Path) -> None:
    """A file is cut like any other body: the rules know no difference."""
    rule = {"match": "^/traveler-files/", "truncate": 200_000, "nth": [1]}
    with Sandbox(open_scenes([raster]), token=TOKEN, faults={"rules": [rule]}) as sandbox:
        _, url = download(sandbox, "town")
        with requests.get(url, stream=True, timeout=9) as answer:
            assert answer.raw.read(200_000) == raster.read_bytes()[:200_000]
            with pytest.raises(requests.exceptions.ChunkedEncodingError):
                answer.content  # noqa: B018
        assert requests.get(url, timeout=9).content == raster.read_bytes()


@pytest.mark.parametrize("lifetime", [0.0, -1.0, float("inf"), float("nan")])
def test_a_lifetime_out_of_range_is_refused(raster: Path, lifetime: float) -> None:
    """The message names the value."""
    with pytest.raises(BoundsError, match=f"url_lifetime {lifetime}"):
        Sandbox(open_scenes([raster]), url_lifetime=lifetime)


@given(st.integers(0, 400_000), st.integers(0, 500_000), st.integers(0, 500_000))
def test_ranges_follow_slices(
    tmp_path_factory: pytest.TempPathFactory, size: int, first: int, last: int
) -> None:
    """Every form of range is the slice it stands for."""
    content = (bytes(range(251)) * (size // 251 + 1))[:size]
    whole = range(size)
    assert byte_range("", size) is byte_range("bytes=0-1,3-4", size) is byte_range("rows=1-2", size)
    closed = byte_range(f"bytes={first}-{last}", size)
    assert closed is None if last < first else list(closed or []) == list(whole[first : last + 1])
    assert list(byte_range(f"bytes={first}-", size) or []) == list(whole[first:])
    assert list(byte_range(f"bytes=-{last}", size) or []) == (list(whole[-last:]) if last else [])
    part = byte_range(f"bytes={first}-", size)
    assert part is not None
    path = tmp_path_factory.getbasetemp() / "content"
    path.write_bytes(content)
    assert b"".join(pieces(path, part)) == content[first:]
