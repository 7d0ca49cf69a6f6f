"""The Tellus source against a real server: search, tiles, tokens and what may go wrong."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from srsat_dask.errors import BoundsError, SourceError, TokenError, UnreachableError
from srsat_dask.harvesting import http
from srsat_dask.harvesting.decoding import decode_tile
from srsat_dask.harvesting.http import get_tile
from srsat_dask.harvesting.scene import TileError
from srsat_dask.harvesting.tellus import TellusSource
from srsat_dask.sandbox import Sandbox, landscape_scenes

JAPAN = (138.0, 35.2, 140.5, 37.1)
Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def serving(*answers: Answer) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Serve the answers in turn, the last one for ever; yield address and the headers received."""
    left = list(answers)
    received: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            received.append(dict(self.headers))
            status, headers, body = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = "Content-Length" in headers

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        http.pool().clear()


def png(mode: str = "RGBA", size: tuple[int, int] = (256, 256)) -> bytes:
    buffer = BytesIO()
    Image.new(mode, size, 200 if mode in {"L", "P"} else None).save(buffer, "PNG")
    return buffer.getvalue()


def test_search_finds_the_scenes_in_a_box(landscape: Sandbox) -> None:
    """Ids, footprints, dates and clouds come as they are served."""
    found = TellusSource().search(JAPAN)
    served = {scene.entity_id: scene for scene in landscape.scenes}
    assert {scene.id for scene in found} == set(served)
    for scene in found:
        assert scene.bounds == pytest.approx(served[scene.id].bounds)
        assert scene.acquired == served[scene.id].acquired
        assert scene.cloud_cover == pytest.approx(served[scene.id].cloud_cover)


@pytest.mark.parametrize("date", ["Mon, 24 Dec 2018 06:09:59 GMT", "2018-12-24T06:09:59+00:00"])
def test_dates_of_either_form_are_read(date: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 1123 and ISO 8601 both occur in the service's history."""
    monkeypatch.setenv("SRSAT_TELLUS_TOKEN", "t")
    record = {
        "entityId": "a",
        "acquisitionDate": date,
        "min_lon": 138,
        "min_lat": 35,
        "max_lon": 139,
        "max_lat": 36,
    }
    with serving((200, {}, json.dumps([record]).encode())) as (url, _):
        (scene,) = TellusSource(url).search(JAPAN)
    assert scene.acquired == datetime(2018, 12, 24, 6, 9, 59, tzinfo=UTC)
    assert scene.cloud_cover is None


def test_tile_is_what_the_server_drew(landscape: Sandbox) -> None:
    """A tile arrives bit for bit; outside the footprint there is none."""
    provider = landscape.scenes[0]
    west, south, east, north = provider.bounds
    import mercantile

    at = mercantile.tile((west + east) / 2, (south + north) / 2, 17)
    tile = TellusSource().fetch(provider.entity_id, 17, at.x, at.y)
    np.testing.assert_array_equal(tile, provider.tile(17, at.x, at.y))
    assert TellusSource().fetch(provider.entity_id, 17, 0, 0) is None


def test_bad_boxes_are_refused_before_anything_is_asked(landscape: Sandbox) -> None:
    """West beyond east never reaches the server."""
    with pytest.raises(BoundsError, match="west"):
        TellusSource().search((140.5, 35.2, 138.0, 37.1))
    assert landscape.log.total == 0


def test_unknown_and_missing_tokens_are_said_so(
    landscape: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the variable to set, and never the token."""
    monkeypatch.setenv("SRSAT_TELLUS_TOKEN", "wrong-secret")
    with pytest.raises(TokenError, match="refused the token") as caught:
        TellusSource().search(JAPAN)
    assert "SRSAT_TELLUS_TOKEN" in str(caught.value)
    assert "wrong-secret" not in str(caught.value)
    monkeypatch.delenv("SRSAT_TELLUS_TOKEN")
    with pytest.raises(TokenError, match="set the environment variable SRSAT_TELLUS_TOKEN"):
        TellusSource().search(JAPAN)


def test_service_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection ends in one line with the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("SRSAT_TELLUS_TOKEN", "t")
    monkeypatch.setattr("urllib3.util.Retry.DEFAULT_BACKOFF_MAX", 0.01)
    http.pool.cache_clear()
    with pytest.raises(UnreachableError, match=f"no answer from {url}.*refused"):
        TellusSource(url).search(JAPAN)


@pytest.mark.parametrize("body", [b"<html>maintenance</html>", b'{"a": 1}', b"[1, 2]", b"[{}]"])
def test_answers_that_are_no_scenes_are_refused(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTML with status 200 is not an empty search."""
    monkeypatch.setenv("SRSAT_TELLUS_TOKEN", "t")
    with (
        serving((200, {}, body)) as (url, _),
        pytest.raises(SourceError, match="did not answer a list of scenes"),
    ):
        TellusSource(url).search(JAPAN)


def test_passing_503_and_429_are_waited_for() -> None:
    """Two failures and a Retry-After lead to the tile in the end."""
    with serving((503, {}, b""), (429, {"Retry-After": "0"}, b""), (200, {}, png())) as (url, seen):
        tile = get_tile(f"{url}/t.png", None)
    assert tile is not None
    assert tile.shape == (256, 256, 4)
    assert len(seen) == 3


@pytest.mark.parametrize(
    "bad", [b"", b"<html>", png()[:200], png(size=(128, 128)), png(size=(256, 257))]
)
def test_body_that_is_no_tile_is_asked_for_again(
    bad: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken body is as passing a fault as a 503; a lasting one fails the tile."""
    monkeypatch.setattr(http, "BACKOFF", 0.001)
    with serving((200, {}, bad), (200, {}, png())) as (url, seen):
        assert get_tile(f"{url}/t.png", None) is not None
    assert len(seen) == 2
    with serving((200, {}, bad)) as (url, seen), pytest.raises(TileError):
        get_tile(f"{url}/t.png", None)
    assert len(seen) == 6


def test_body_cut_short_is_asked_for_again() -> None:
    """Fewer bytes than announced are not taken for the tile."""
    body = png()
    cut = (200, {"Content-Length": str(len(body) + 100)}, body)
    with serving(cut, (200, {}, body)) as (url, seen):
        assert get_tile(f"{url}/t.png", None) is not None
    assert len(seen) == 2


def test_endless_body_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body over the limit is refused, however it goes on."""
    monkeypatch.setattr(http, "MAX_BODY", 1000)
    with (
        serving((200, {}, b"x" * 5000)) as (url, _),
        pytest.raises(TileError, match="more than 1000 bytes"),
    ):
        get_tile(f"{url}/t.png", None)


@pytest.mark.parametrize("status", [400, 301, 302, 418])
def test_other_statuses_fail_at_once(status: int) -> None:
    """What will not get better is asked once only."""
    with (
        serving((status, {}, b"")) as (url, seen),
        pytest.raises(TileError, match=f"status {status}"),
    ):
        get_tile(f"{url}/t.png", "secret")
    assert len(seen) == 1


def test_redirect_does_not_take_the_token_along() -> None:
    """Another host that a redirect names is never asked."""
    with (
        serving((200, {}, png())) as (elsewhere, received),
        serving((302, {"Location": f"{elsewhere}/x.png"}, b"")) as (url, _),
        pytest.raises(TileError, match="status 302"),
    ):
        get_tile(f"{url}/t.png", "secret")
    assert received == []


def test_connections_are_reused() -> None:
    """Several tiles of one host come over one connection."""
    http.pool.cache_clear()
    with serving((200, {}, png())) as (url, _):
        for _ in range(4):
            get_tile(f"{url}/t.png", None)
        pools = http.pool().pools
        assert [pools[key].num_connections for key in pools.keys()] == [1]  # noqa: SIM118  no mapping


@pytest.mark.parametrize("mode", ["RGBA", "RGB", "L", "P", "LA", "I;16"])
def test_any_mode_becomes_rgba(mode: str) -> None:
    """Gray, palette, RGB, RGBA and 16 bits all come as uint8 RGBA."""
    tile = decode_tile(png(mode))
    assert tile.shape == (256, 256, 4)
    assert tile.dtype == np.uint8
    assert (tile[..., 3] == 255).all() or mode in {"RGBA", "LA"}


def test_body_that_drips_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte at a time never times out a single read, so the whole has a deadline."""
    monkeypatch.setattr(http, "DEADLINE", 0.3)
    monkeypatch.setattr(http, "_BODY_TRIES", 1)
    with (
        Sandbox(
            landscape_scenes(1, size_m=100),
            faults={"rules": [{"drip": 200}]},
        ) as sandbox,
        pytest.raises(TileError, match=r"bytes in 0\.3 s"),
    ):
        get_tile(f"{sandbox.url}/ASNARO-1/thumbs/{sandbox.scenes[0].entity_id}.png", None)


def test_errors_do_not_carry_the_token_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Dask would pickle of a failure holds no header."""
    from distributed.core import error_message

    monkeypatch.setattr(http, "_BODY_TRIES", 1)
    monkeypatch.setattr(http, "BACKOFF", 0)
    http.pool.cache_clear()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(TileError) as caught:
        get_tile(f"{url}/t.png", "very-secret-token")
    http.pool.cache_clear()
    assert "very-secret-token" not in repr(error_message(caught.value))
