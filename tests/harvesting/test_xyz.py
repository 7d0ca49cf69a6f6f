"""XYZ templates: their arithmetic, their options, their secrets, and tiles from a real server."""

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pickle import dumps, loads

import mercantile
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from srsat_dask.errors import InputError, SourceError, TokenError
from srsat_dask.harvesting import http
from srsat_dask.harvesting.once import Once
from srsat_dask.harvesting.providers import open_provider
from srsat_dask.harvesting.scene import TileError
from srsat_dask.harvesting.xyz import XyzSource, open_template

TEMPLATE = "https://tiles.example.org/{z}/{x}/{y}.png"
BOX = (139.0, 35.6, 139.05, 35.64)
SECRET = "s3cret/+key"


def world(zoom: int, size: int) -> npt.NDArray[np.uint8]:
    """Return the whole world at a zoom, RGB: every pixel tells where it lies."""
    side = size * 2**zoom
    place = np.arange(side) * (256 // size) if size < 256 else np.arange(side)
    y, x = np.meshgrid(place, place, indexing="ij")
    return np.stack([x % 251, y % 241, (x + y) % 239], axis=-1).astype(np.uint8)


@contextmanager
def serving(
    size: int = 256, kind: str = "PNG", status: int = 200, fails: int = 0
) -> Iterator[tuple[str, list[str]]]:
    """Serve the world's tiles at /z/x/y; yield the address and the paths asked for.

    The first ``fails`` connections end without an answer.
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if len(asked) <= fails:
                self.connection.close()
                return
            zoom, x, y = (int(part) for part in self.path.split("?")[0].split("/")[-3:])
            part = world(zoom, size)[y * size : (y + 1) * size, x * size : (x + 1) * size]
            body = BytesIO()
            Image.fromarray(part).save(body, kind, **({"lossless": True} if kind == "WEBP" else {}))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body.getvalue())))
            self.end_headers()
            self.wfile.write(body.getvalue())

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        http.pool().clear()


def whole_world(source: XyzSource, zoom: int) -> npt.NDArray[np.uint8]:
    """Return all tiles of a zoom side by side, RGBA."""
    tiles = [(x, y) for y in range(2**zoom) for x in range(2**zoom)]
    with ThreadPoolExecutor(8) as threads:
        fetched = list(threads.map(lambda at: source.fetch(source.id, zoom, *at), tiles))
    side = 256 * 2**zoom
    image = np.zeros((side, side, 4), np.uint8)
    for (x, y), tile in zip(tiles, fetched, strict=True):
        assert tile is not None
        image[y * 256 : (y + 1) * 256, x * 256 : (x + 1) * 256] = tile
    return image


@given(zoom=st.integers(0, 22), data=st.data())
def test_placeholders_in_any_order_name_the_tile(zoom: int, data: st.DataObject) -> None:
    """TMS rows mirror XYZ rows, and quadkeys are those that the tile's definition gives."""
    x, y = (data.draw(st.integers(0, 2**zoom - 1)) for _ in "xy")
    source = open_template("https://h.org/{y}/{-y}/{x}/{z}/k{q}")
    row, tms, column, level, key = source.address(zoom, x, y).split("/")[-5:]
    assert (int(row), int(column), int(level)) == (y, x, zoom)
    # In TMS the row counts from the south: the tile mirrored on the equator has this XYZ row.
    here, mirrored = mercantile.bounds(x, y, zoom), mercantile.bounds(x, int(tms), zoom)
    assert mirrored.north == pytest.approx(-here.south, abs=1e-9)
    # A quadkey's digits say, level by level, which quarter holds the tile.
    west = south = 0
    for digit in key[1:]:
        west, south = 2 * west + int(digit) % 2, 2 * south + int(digit) // 2
    assert (west, south, len(key) - 1) == (x, y, zoom)


def test_subdomains_share_the_load_and_a_tile_keeps_its_own() -> None:
    """Caches along the way see one address a tile."""
    source = open_template("https://{s}.example.org/{z}/{x}/{y}.png")
    hosts = {source.address(3, x, 5).split("/")[2] for x in range(8)}
    assert hosts == {f"{s}.example.org" for s in "abc"}
    assert source.address(3, 1, 5) == source.address(3, 1, 5)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_tiles_come_bit_for_bit(kind: str) -> None:
    """The mosaic of all tiles is the picture that the server cut up."""
    with serving(kind=kind) as (url, _):
        image = whole_world(open_template(f"{url}/{{z}}/{{x}}/{{y}}"), 2)
    np.testing.assert_array_equal(image[..., :3], world(2, 256))
    assert (image[..., 3] == 255).all()


def test_jpeg_tiles_are_opaque() -> None:
    """JPEG knows no transparency: every pixel is a pixel."""
    with serving(kind="JPEG") as (url, _):
        tile = open_template(f"{url}/{{z}}/{{x}}/{{y}}").fetch("any", 0, 0, 0)
    assert tile is not None
    assert (tile[..., 3] == 255).all()
    assert np.abs(tile[..., :3].astype(int) - world(0, 256)).mean() < 30


def test_tile_of_512_px_is_fetched_once_for_its_four() -> None:
    """One request for four tiles of the next finer zoom, rows counted from either side."""
    with serving(size=512) as (url, asked):
        image = whole_world(open_template(f"{url}/{{z}}/{{x}}/{{y}}#size=512"), 2)
    np.testing.assert_array_equal(image[..., :3], world(1, 512))
    assert sorted(asked) == ["/1/0/0", "/1/0/1", "/1/1/0", "/1/1/1"]


def test_zooms_of_512_px_tiles_are_one_finer() -> None:
    """The service counts its own levels, the mosaic those of the 256 px grid."""
    assert open_template(f"{TEMPLATE}#zooms=3-18").zooms == (3, 18)
    assert open_template(f"{TEMPLATE}#zooms=3-18&size=512").zooms == (4, 19)


@pytest.mark.parametrize(
    ("served", "option", "remedy"),
    [(512, "", "add #size=512"), (256, "#size=512", "leave out #size=512")],
)
def test_other_size_than_announced_names_the_remedy(
    served: int, option: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No tile is scaled behind one's back."""
    monkeypatch.setattr(http, "BACKOFF", 0.0)
    with serving(size=served) as (url, _), pytest.raises(TileError, match=remedy):
        open_template(f"{url}/{{z}}/{{x}}/{{y}}{option}").fetch("any", 1, 0, 0)


def test_missing_tile_is_none() -> None:
    """Status 404 is a tile that does not exist, of either size."""
    with serving(status=404) as (url, _):
        assert open_template(f"{url}/{{z}}/{{x}}/{{y}}").fetch("any", 1, 0, 0) is None
        assert open_template(f"{url}/{{z}}/{{x}}/{{y}}#size=512").fetch("any", 1, 0, 0) is None


def test_one_scene_fills_the_box() -> None:
    """Its id tells templates and boxes apart, and stays the same from run to run."""
    source = open_template(f"{TEMPLATE}#attribution=%28C%29+Someone%20else")
    (scene,) = source.search(BOX)
    assert scene.bounds == BOX
    west, south, east, north = (f"{value:g}" for value in BOX)
    service = f"tiles.example.org-{sha256(TEMPLATE.encode()).hexdigest()[:8]}"
    assert scene.id == f"{service}_{west}_{south}_{east}_{north}"
    assert source.search((BOX[0], BOX[1], BOX[2], BOX[3] + 1e-5))[0].id != scene.id
    assert open_template(scene.source) == source
    assert source.attribution == "(C) Someone else"
    assert open_template(TEMPLATE.replace(".png", ".jpg")).id != source.id
    with pytest.raises(InputError, match="--bbox"):
        source.search(None)


def test_lineage_tells_what_decides_the_pixels() -> None:
    """Attribution and zooms do not, address and size do."""
    plain = open_template(TEMPLATE).lineage("any")
    assert open_template(f"{TEMPLATE}#zooms=3-9&attribution=X").lineage("any") == plain
    assert open_template(f"{TEMPLATE}#size=512").lineage("any") != plain
    assert open_template(TEMPLATE.replace("tiles", "t")).lineage("any") != plain


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://h.org/{z}/{x}.png", "needs {z}, {x} and {y}"),
        ("https://h.org/{z}/{x}/{y}/{layer}", "unknown {layer}"),
        ("ftp://h.org/{z}/{x}/{y}", "begins with https://"),
        ("https://[h.org/{z}/{x}/{y}", "no address"),
        (f"{TEMPLATE}#size=1024", "size must be 256 or 512"),
        (f"{TEMPLATE}#size=big", "size=big"),
        (f"{TEMPLATE}#zooms=9-3", "zooms 9-3"),
        (f"{TEMPLATE}#zooms=3", "zooms=3"),
        (f"{TEMPLATE}#colour=red", "colour=red"),
        (f"{TEMPLATE}?k={{token}}", "set the environment variable SRSAT_XYZ_TOKEN"),
    ],
)
def test_templates_that_cannot_work_are_refused(
    text: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with its own words, before anything is asked for."""
    monkeypatch.delenv("SRSAT_XYZ_TOKEN", raising=False)
    with pytest.raises(InputError) as caught:
        open_template(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        *("key", "apikey", "api_key", "API-Key", "token", "access_token", "accessToken", "sig"),
        *("signature", "X-Amz-Signature", "X-Amz-Credential", "subscription-key", "auth"),
        "client_secret",
    ],
)
def test_literal_secrets_are_refused_and_not_repeated(name: str) -> None:
    """They would end up in the store and in the task graph."""
    with pytest.raises(InputError, match=r"\{token\}.*SRSAT_XYZ_TOKEN") as caught:
        open_template(f"{TEMPLATE}?style=dark&{name}=abc123")
    assert "abc123" not in str(caught.value)
    with pytest.raises(InputError, match="password") as caught:
        open_template("https://me:abc123@h.org/{z}/{x}/{y}")
    assert "abc123" not in str(caught.value)


def test_harmless_parameters_are_accepted() -> None:
    """A parameter is no secret because it is one."""
    assert open_template(f"{TEMPLATE}?style=dark&v=2&keyword=a&size=").zooms == (0, 22)


def test_token_is_sent_and_is_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the source, nor an error and what it comes from, nor a log holds it."""
    monkeypatch.setenv("SRSAT_XYZ_TOKEN", SECRET)
    monkeypatch.setattr(http, "BACKOFF", 0.0)
    http.pool.cache_clear()
    caplog.set_level(logging.DEBUG)
    with serving(fails=2) as (url, asked):
        source = open_template(f"{url}/{{z}}/{{x}}/{{y}}?key={{token}}")
        assert source.fetch("any", 0, 0, 0) is not None
    assert asked[-1] == "/0/0/0?key=s3cret%2F%2Bkey"
    assert len(asked) == 3
    errors: list[BaseException] = []
    monkeypatch.setattr(http, "RETRIES", 1)
    for status in (403, 418, 503):
        http.pool.cache_clear()
        with serving(status=status) as (url, _):
            refused = open_template(f"{url}/{{z}}/{{x}}/{{y}}?key={{token}}")
            with pytest.raises(SourceError) as caught:
                refused.fetch("any", 0, 0, 0)
        errors.append(caught.value)
    assert isinstance(errors[0], TokenError)
    assert "SRSAT_XYZ_TOKEN" in str(errors[0])
    for error in errors:
        assert error.__cause__ is None
        assert error.__context__ is None
    assert "Retrying" in caplog.text, "urllib3 did tell of the lost connections"
    assert "/0/0/0" in caplog.text
    for text in (
        caplog.text,
        repr(errors),
        repr(source),
        str(dumps(source)),
        str(source.lineage("")),
    ):
        assert "s3cret" not in text


def test_worker_without_the_token_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source made where the token is known may be used where it is not."""
    monkeypatch.setenv("SRSAT_XYZ_TOKEN", SECRET)
    sent = dumps(open_template("http://127.0.0.1:9/{z}/{x}/{y}?key={token}"))
    travelled = loads(sent)
    monkeypatch.delenv("SRSAT_XYZ_TOKEN")
    with pytest.raises(TokenError, match="set the environment variable SRSAT_XYZ_TOKEN"):
        travelled.fetch("any", 0, 0, 0)


def test_unreachable_service_does_not_betray_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that fails for good is told without the address that was asked."""
    monkeypatch.setenv("SRSAT_XYZ_TOKEN", SECRET)
    monkeypatch.setattr(http, "CONNECT_RETRIES", 0)
    http.pool.cache_clear()
    source = open_template("http://127.0.0.1:9/{z}/{x}/{y}?key={token}")
    with pytest.raises(TileError, match=r"no answer from http://127\.0\.0\.1:9/0/0/0") as caught:
        source.fetch("any", 0, 0, 0)
    http.pool.cache_clear()
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_known_services_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any case leads to the service's template, levels and attribution."""
    monkeypatch.delenv("SRSAT_XYZ_TOKEN", raising=False)
    source = open_provider("esri.worldimagery")
    assert source is not None
    assert source.name == source.id == "Esri.WorldImagery"
    assert source.address(3, 1, 2).endswith("/World_Imagery/MapServer/tile/3/2/1")
    assert "Esri" in str(source.attribution)
    narrowed = open_provider("Esri.WorldImagery#zooms=1-5")
    assert narrowed is not None
    assert narrowed.zooms == (1, 5)
    assert open_provider(narrowed.name) == narrowed
    assert open_provider("nobody.knows.this") is None


def test_known_service_that_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one it is refused; with one its tiles of 512 px count right."""
    monkeypatch.delenv("SRSAT_XYZ_TOKEN", raising=False)
    with pytest.raises(InputError, match=r"needs a key.*SRSAT_XYZ_TOKEN"):
        open_provider("MapTiler.Satellite")
    monkeypatch.setenv("SRSAT_XYZ_TOKEN", SECRET)
    source = open_provider("MapTiler.Satellite")
    assert source is not None
    assert "{token}" in source.address(3, 1, 2)
    assert SECRET not in repr(source)


def test_known_service_of_another_grid_is_refused() -> None:
    """Tiles of a polar projection would be put in the wrong place."""
    with pytest.raises(InputError, match=r"EPSG:3413.*not those of web mercator"):
        open_provider("NASAGIBS.BlueMarble3413")


def test_once_makes_a_value_once_however_many_wait() -> None:
    """Threads wait for the first; a failure reaches all, and the next call tries again."""
    once: Once[str, int] = Once(2)
    made: list[str] = []
    started, go = threading.Event(), threading.Event()

    def slow() -> int:
        made.append("a")
        started.set()
        assert go.wait(10)
        return len(made)

    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(once.get, "a", slow)]
        assert started.wait(10)
        waiting += [threads.submit(once.get, "a", slow) for _ in range(3)]
        go.set()
        assert {future.result() for future in waiting} == {1}

    def failing() -> int:
        raise TileError("status 500")

    with pytest.raises(TileError):
        once.get("b", failing)
    assert once.get("b", lambda: 7) == 7
    once.get("c", lambda: 8)
    assert once.get("a", lambda: 9) == 9, "the oldest of three went"
