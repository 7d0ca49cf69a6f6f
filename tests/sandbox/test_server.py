"""The sandbox over real HTTP: search, tokens, tiles, thumbnails, the log, a clean stop."""

import io
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection

import numpy as np
import pytest
import requests
from PIL import Image

from srsat_dask.errors import BoundsError, InputError
from srsat_dask.sandbox import Sandbox
from srsat_dask.sandbox.scenes import Bounds, Rgba, to_degrees

SEARCH = "/api/v1/asnaro1/scene"
TOKEN = "-".join(["some", "token"])
KEYS = {
    "entityId", "productId", "acquisitionDate", "cloudCover", "thumbs_url", "clat", "clon",
    "min_lat", "max_lat", "min_lon", "max_lon",
}  # fmt: skip


@dataclass(frozen=True)
class TwoTiles:
    """A fake scene: tiles (4, 6) and (5, 6) of zoom 9, each of one colour."""

    entity_id: str = "20181224060959386_AS1"
    acquired: datetime = datetime(2018, 12, 24, 6, 9, 59, tzinfo=UTC)
    cloud_cover: float = 12.5
    min_zoom: int = 9
    max_zoom: int = 10

    @property
    def bounds(self) -> Bounds:
        """The two tiles' own."""
        west, north = to_degrees(4 * 256, 6 * 256, 9)
        east, south = to_degrees(6 * 256, 7 * 256, 9)
        return west, south, east, north

    def tile(self, z: int, x: int, y: int) -> Rgba | None:
        """Red is the column, green the row."""
        if z != 9 or x not in (4, 5) or y != 6:
            return None
        return np.full((256, 256, 4), (x, y, 0, 255), np.uint8)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Run a sandbox that asks for a token."""
    with Sandbox([TwoTiles()], token=TOKEN) as running:
        yield running


@pytest.fixture
def session() -> Iterator[requests.Session]:
    """Open a session that carries the token."""
    with requests.Session() as opened:
        opened.headers["Authorization"] = f"Bearer {TOKEN}"
        yield opened


def around(bounds: Bounds, margin: float = 0.1) -> dict[str, float]:
    west, south, east, north = bounds
    return {
        "min_lat": south - margin,
        "min_lon": west - margin,
        "max_lat": north + margin,
        "max_lon": east + margin,
    }


def tile_url(sandbox: Sandbox, path: str) -> str:
    return f"{sandbox.url}/ASNARO-1/{path}.png"


def test_search_answers_a_bare_list_with_every_key(
    sandbox: Sandbox, session: requests.Session
) -> None:
    """A box around the scene finds it, described with the keys public clients read."""
    scene = TwoTiles()
    answer = session.get(sandbox.url + SEARCH, params=around(scene.bounds))
    [found] = answer.json()
    assert set(found) == KEYS
    assert found["entityId"] == scene.entity_id
    assert found["acquisitionDate"] == "Mon, 24 Dec 2018 06:09:59 GMT"
    assert parsedate_to_datetime(found["acquisitionDate"]) == scene.acquired
    west, south, east, north = scene.bounds
    assert (found["min_lon"], found["max_lon"]) == (west, east)
    assert (found["min_lat"], found["max_lat"]) == (south, north)
    assert west < found["clon"] < east
    assert south < found["clat"] < north


def test_search_leaves_out_scenes_elsewhere(sandbox: Sandbox, session: requests.Session) -> None:
    """A box beside the scene finds nothing, and the list is still a list."""
    west, south, _, _ = TwoTiles().bounds
    beside = around((west - 3, south - 3, west - 2, south - 2))
    assert session.get(sandbox.url + SEARCH, params=beside).json() == []


@pytest.mark.parametrize("change", [{"min_lat": None}, {"max_lon": "east"}, {"min_lat": "nan"},
                                    {"min_lon": 170.0}])  # fmt: skip
def test_search_refuses_a_bad_box(
    sandbox: Sandbox, session: requests.Session, change: dict[str, object]
) -> None:
    """A missing, textual, non-finite or reversed bound is a 400 that names a parameter."""
    answer = session.get(sandbox.url + SEARCH, params=around(TwoTiles().bounds) | change)
    assert answer.status_code == 400
    assert next(iter(change)) in answer.json()["message"]


@pytest.mark.parametrize("path", [SEARCH, "/ASNARO-1/20181224060959386_AS1/9/4/6.png"])
@pytest.mark.parametrize("header", [None, "Bearer wrong", TOKEN, f"Basic {TOKEN}"])
def test_the_token_is_asked_for(sandbox: Sandbox, path: str, header: str | None) -> None:
    """Searches and tiles without the right Bearer token are a JSON 401."""
    headers = {} if header is None else {"Authorization": header}
    answer = requests.get(sandbox.url + path, headers=headers, timeout=9)
    assert answer.status_code == 401
    assert "token" in answer.json()["message"]


def test_a_tile_is_the_scene_s_own(sandbox: Sandbox, session: requests.Session) -> None:
    """The PNG decodes to the RGBA array the scene gave, and again from the cache."""
    for _ in range(2):
        answer = session.get(tile_url(sandbox, "20181224060959386_AS1/9/5/6"))
        assert answer.headers["Content-Type"] == "image/png"
        with Image.open(io.BytesIO(answer.content)) as image:
            assert image.mode == "RGBA"
            np.testing.assert_array_equal(np.asarray(image), TwoTiles().tile(9, 5, 6))


@pytest.mark.parametrize("path", [
    "unknown/9/4/6", "20181224060959386_AS1/8/2/3", "20181224060959386_AS1/11/16/24",
    "20181224060959386_AS1/9/6/6", "20181224060959386_AS1/9/512/6",
    "20181224060959386_AS1/9/x/6", "thumbs/unknown",
])  # fmt: skip
def test_what_is_not_there_is_a_404(sandbox: Sandbox, session: requests.Session, path: str) -> None:
    """Unknown scenes, zooms out of range and tiles off the footprint are a JSON 404."""
    answer = session.get(tile_url(sandbox, path))
    assert answer.status_code == 404
    assert answer.json()["status"] == 404


def test_the_thumbnail_shows_the_whole_scene_without_a_token(
    sandbox: Sandbox, session: requests.Session
) -> None:
    """The address in the search answer gives a small picture of both tiles, in proportion."""
    [found] = session.get(sandbox.url + SEARCH, params=around(TwoTiles().bounds)).json()
    answer = requests.get(found["thumbs_url"], timeout=9)
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.size == (256, 128)
        assert image.getpixel((10, 64)) == (4, 6, 0, 255)
        assert image.getpixel((245, 64)) == (5, 6, 0, 255)


def test_the_log_counts_paths_and_statuses() -> None:
    """Python and HTTP show the same counts, without queries, and DELETE forgets them."""
    with Sandbox([TwoTiles()], token=TOKEN) as sandbox, requests.Session() as session:
        session.get(sandbox.url + SEARCH, params={"secret": "hush"})
        session.headers["Authorization"] = f"Bearer {TOKEN}"
        session.get(sandbox.url + SEARCH, params=around(TwoTiles().bounds))
        session.get(sandbox.url + "/nowhere")
        shown = session.get(sandbox.url + "/_sandbox/log")
        assert shown.json() == sandbox.log.as_json()
        assert shown.json() == {
            "total": 3,
            "peak_concurrency": 1,
            "paths": {
                SEARCH: {"count": 2, "statuses": {"200": 1, "401": 1}},
                "/nowhere": {"count": 1, "statuses": {"404": 1}},
            },
            "faults": {},
        }
        assert "hush" not in shown.text
        assert TOKEN not in shown.text
        assert session.delete(sandbox.url + "/_sandbox/log").status_code == 204
        assert sandbox.log.total == 0


def test_latency_delays_every_answer_but_not_the_others() -> None:
    """Four requests at once take one latency, not four, and count as four at the peak."""
    with Sandbox([TwoTiles()], latency=0.4) as sandbox:
        urls = [tile_url(sandbox, f"20181224060959386_AS1/9/{x}/6") for x in (4, 5, 6, 7)]
        began = time.monotonic()
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda url: requests.get(url, timeout=9), urls))
        took = time.monotonic() - began
        assert [answer.status_code for answer in answers] == [200, 200, 404, 404]
        assert 0.4 <= took < 1.2
        assert sandbox.log.peak_concurrency == 4


def test_connections_are_kept_alive(sandbox: Sandbox) -> None:
    """Requests, refused ones included, all travel over one connection."""
    with closing(HTTPConnection("127.0.0.1", sandbox.port, timeout=9)) as connection:
        connection.connect()
        opened = connection.sock
        for path in (SEARCH, "/ASNARO-1/nowhere/9/4/6.png", "/nowhere"):
            connection.request("GET", path)
            connection.getresponse().read()
            assert connection.sock is opened


def test_stopping_leaves_nothing_behind() -> None:
    """After the with block the port is free and no thread of ours is left, even mid-request."""
    before = set(threading.enumerate())
    with Sandbox([TwoTiles()], latency=30) as sandbox:
        port = sandbox.port
        waiting = socket.create_connection(("127.0.0.1", port))
        waiting.sendall(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
        deadline = time.monotonic() + 9
        while sandbox._log.snapshot().peak_concurrency == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
    waiting.close()
    assert set(threading.enumerate()) <= before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    with pytest.raises(InputError, match="not running"):
        _ = sandbox.url


def test_a_taken_port_is_an_input_error(sandbox: Sandbox) -> None:
    """The message names the port and the remedy."""
    with pytest.raises(InputError, match=rf"{sandbox.port}.*choose another"):
        Sandbox([TwoTiles()], port=sandbox.port).__enter__()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"port": 70000}, BoundsError, "70000"),
        ({"latency": -1.0}, BoundsError, "-1.0"),
        ({"latency": float("nan")}, BoundsError, "nan"),
        ({"token": ""}, InputError, "empty"),
        ({"scenes": [TwoTiles(), TwoTiles()]}, InputError, "share an entity id"),
    ],
)
def test_unusable_arguments_are_refused(
    options: dict[str, object], error: type[Exception], message: str
) -> None:
    """Each is one line that names the value."""
    with pytest.raises(error, match=message):
        Sandbox(**{"scenes": [TwoTiles()], **options})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_forever_ends_on_a_signal(number: signal.Signals) -> None:
    """A process that serves until told to stop exits with status 0, quietly."""
    program = (
        "from srsat_dask.sandbox import Sandbox\n"
        "with Sandbox() as sandbox:\n"
        "    print(sandbox.url, flush=True)\n"
        "    sandbox.serve_forever()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert requests.get(url + "/_sandbox/log", timeout=9).json()["total"] == 0
    time.sleep(0.2)  # the handler is set after the address is printed
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
