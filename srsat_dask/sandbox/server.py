"""A loopback HTTP server shaped like Tellus v1.

::

    GET    /api/v1/asnaro1/scene?min_lat&min_lon&max_lat&max_lon   token   JSON list of scenes
    GET    /ASNARO-1/{entityId}/{z}/{x}/{y}.png                    token   256 px RGBA tile
    GET    /ASNARO-1/thumbs/{entityId}.png                                 thumbnail
    GET    /_sandbox/log                                                   what was asked so far
    DELETE /_sandbox/log                                                   forget it

Every request but those to the log passes through :meth:`Door.prepare` on its way in and
:meth:`Door.on_finish` on its way out: latency, the token and the log live there and nowhere else.
"""

import asyncio
import hmac
import json
import math
import signal
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import format_datetime
from types import FrameType, TracebackType
from typing import Any, Self
from urllib.parse import unquote

from tornado.httpserver import HTTPServer
from tornado.web import Application, HTTPError, RequestHandler

from srsat_dask.errors import BoundsError, InputError
from srsat_dask.sandbox.log import LogSnapshot, RequestLog
from srsat_dask.sandbox.render import Renderer
from srsat_dask.sandbox.scenes import SceneProvider, to_degrees, to_pixels

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Service:
    """What every handler needs to know."""

    scenes: dict[str, SceneProvider]
    """Entity id -> scene, in catalogue order."""

    token: str | None
    """The Bearer token asked for, if any."""

    latency: float
    """Seconds added to every answer."""

    renderer: Renderer = field(default_factory=Renderer)
    log: RequestLog = field(default_factory=RequestLog)


class Door(RequestHandler):
    """Base of the handlers: counts, delays and checks every request; errors are JSON."""

    needs_token = True

    def initialize(self, service: Service) -> None:
        """Keep the service at hand."""
        self.service = service

    async def prepare(self) -> None:
        """Receive a request: log it, hold it back for the latency, ask for the token."""
        self.service.log.begin()
        await asyncio.sleep(self.service.latency)
        token = self.service.token
        if self.needs_token and token is not None:
            given = self.request.headers.get("Authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
                raise HTTPError(401, reason="a valid Bearer token is needed")

    def on_finish(self) -> None:
        """Log the answer."""
        self.service.log.end(self.request.path, self.get_status())

    def write_error(self, status_code: int, **_: Any) -> None:
        """Answer an error as ``{"status": ..., "message": ...}``."""
        self.write_json({"status": status_code, "message": self._reason})

    def write_json(self, value: object) -> None:
        """Answer with a JSON document."""
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.write(json.dumps(value))

    def write_png(self, png: bytes | None) -> None:
        """Answer with a picture, or 404 where there is none."""
        if png is None:
            raise HTTPError(404, reason="outside the footprint of the scene")
        self.set_header("Content-Type", "image/png")
        self.write(png)

    def scene(self, entity_id: str) -> SceneProvider:
        """Find a scene, or 404."""
        try:
            return self.service.scenes[unquote(entity_id)]
        except KeyError:
            raise HTTPError(404, reason="no such scene") from None


class SearchHandler(Door):
    """The catalogue: scenes whose bounds meet a box."""

    def get(self) -> None:
        """Answer a bare JSON list, without paging."""
        south, west = self._degrees("min_lat"), self._degrees("min_lon")
        north, east = self._degrees("max_lat"), self._degrees("max_lon")
        if south > north or west > east:
            raise HTTPError(400, reason="min_lat and min_lon must not exceed max_lat and max_lon")
        found = []
        for scene in self.service.scenes.values():
            w, s, e, n = scene.bounds
            if w <= east and e >= west and s <= north and n >= south:
                found.append(self._describe(scene))
        self.write_json(found)

    def _degrees(self, name: str) -> float:
        try:
            value = float(self.get_query_argument(name, ""))
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise HTTPError(400, reason=f"{name} must be a number of degrees")
        return value

    def _describe(self, scene: SceneProvider) -> dict[str, object]:
        west, south, east, north = scene.bounds
        left, top = to_pixels(west, north, 0)
        right, bottom = to_pixels(east, south, 0)
        lon, lat = to_degrees((left + right) / 2, (top + bottom) / 2, 0)
        return {
            "entityId": scene.entity_id,
            "productId": f"{scene.entity_id}_L1B",
            "acquisitionDate": format_datetime(scene.acquired.astimezone(UTC), usegmt=True),
            "cloudCover": scene.cloud_cover,
            "thumbs_url": f"http://{self.request.host}/ASNARO-1/thumbs/{scene.entity_id}.png",
            "clat": lat,
            "clon": lon,
            "min_lat": south,
            "max_lat": north,
            "min_lon": west,
            "max_lon": east,
        }


class TileHandler(Door):
    """The pixels of a scene."""

    async def get(self, entity_id: str, zoom: str, column: str, row: str) -> None:
        """Answer a 256 px RGBA PNG."""
        scene, z, x, y = self.scene(entity_id), int(zoom), int(column), int(row)
        if not scene.min_zoom <= z <= scene.max_zoom:
            raise HTTPError(404, reason=f"zoom {scene.min_zoom} to {scene.max_zoom} only")
        if not (x < 1 << z and y < 1 << z):
            raise HTTPError(404, reason="no such tile at this zoom")
        self.write_png(await self.service.renderer.tile(scene, z, x, y))


class ThumbnailHandler(Door):
    """A scene at a glance; browsers load it without a token."""

    needs_token = False

    async def get(self, entity_id: str) -> None:
        """Answer a PNG of at most 256 px either way."""
        self.write_png(await self.service.renderer.thumbnail(self.scene(entity_id)))


class NothingHandler(Door):
    """Every other address."""

    needs_token = False

    async def prepare(self) -> None:
        """Answer 404, counted and delayed like any other request."""
        await super().prepare()
        raise HTTPError(404, reason="no such address")


class LogHandler(RequestHandler):
    """The request log. Not a :class:`Door`: watching must not change what is seen."""

    def initialize(self, service: Service) -> None:
        """Keep the service at hand."""
        self.service = service

    def get(self) -> None:
        """Answer the log so far."""
        self.write(self.service.log.snapshot().as_json())

    def delete(self) -> None:
        """Forget the log."""
        self.service.log.reset()
        self.set_status(204)


class Sandbox:
    """A Tellus-shaped server on 127.0.0.1, running while the ``with`` block lasts.

    Parameters
    ----------
    scenes : sequence of SceneProvider, optional
        What to serve; without it, scenes of the procedural landscape.
    port : int
        Port to listen on; 0 takes any free one, see :attr:`port`.
    token : str, optional
        Bearer token that searches and tiles then ask for.
    latency : float
        Seconds added to every answer.

    Raises
    ------
    BoundsError
        The port or the latency is out of its range.
    InputError
        Two scenes share an entity id, the token is empty, or (on entering) the port is taken.

    Examples
    --------
    >>> import requests
    >>> with Sandbox() as sandbox:
    ...     requests.get(sandbox.url + "/_sandbox/log", timeout=9).json()["total"]
    0
    """

    def __init__(
        self,
        scenes: Sequence[SceneProvider] | None = None,
        *,
        port: int = 0,
        token: str | None = None,
        latency: float = 0.0,
    ) -> None:
        if not 0 <= port <= 65535:
            raise BoundsError(f"port {port} is out of range: choose 1 to 65535, or 0 for any")
        if not (math.isfinite(latency) and latency >= 0):
            raise BoundsError(f"latency {latency} is out of range: give seconds, 0 or more")
        if token is not None and not token.strip():
            raise InputError("the token is empty: give one, or None to serve without")
        if scenes is None:
            from srsat_dask.sandbox.landscape import landscape_scenes

            scenes = landscape_scenes()
        self._catalogue = {scene.entity_id: scene for scene in scenes}
        if len(self._catalogue) < len(scenes):
            raise InputError("two scenes share an entity id: each must have its own")
        self._asked_port, self._token, self._latency = port, token, latency
        self._log = RequestLog()
        self._stop: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._thread: threading.Thread | None = None
        self._port: int | None = None

    def __enter__(self) -> Self:
        if self._thread is not None:
            raise InputError("this sandbox already runs: make another")
        # Bound here, not in the thread: a taken port is the caller's error, and requests sent
        # before the loop turns wait in the socket's queue.
        listener = self._bind()
        self._port = listener.getsockname()[1]
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listener, started)), name="sandbox", daemon=True
        )
        self._thread.start()
        started.result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._thread is None or self._stop is None:
            return
        loop, stop = self._stop
        loop.call_soon_threadsafe(stop.set)
        self._thread.join()
        self._thread = self._stop = self._port = None

    @property
    def port(self) -> int:
        """The port listened on."""
        if self._port is None:
            raise InputError("the sandbox is not running: enter its with block first")
        return self._port

    @property
    def url(self) -> str:
        """The address to give to clients, without a slash at its end."""
        return f"http://{HOST}:{self.port}"

    @property
    def log(self) -> LogSnapshot:
        """What was asked so far; a snapshot that later requests do not change."""
        return self._log.snapshot()

    @property
    def scenes(self) -> list[SceneProvider]:
        """What is served."""
        return list(self._catalogue.values())

    def serve_forever(self) -> None:
        """Block until Ctrl-C or SIGTERM; call it in the main thread, inside the ``with`` block."""
        asked = threading.Event()

        def ask(_number: int, _frame: FrameType | None) -> None:
            asked.set()

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            asked.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _bind(self) -> socket.socket:
        try:
            listener = socket.create_server((HOST, self._asked_port))
        except OSError as error:
            raise InputError(
                f"cannot listen on port {self._asked_port} ({error.strerror}): "
                "choose another, or 0 for any free one"
            ) from error
        listener.setblocking(False)
        return listener

    async def _serve(self, listener: socket.socket, started: Future[None]) -> None:
        """Serve until asked to stop, then leave no socket and no thread behind."""
        service = Service(self._catalogue, self._token, self._latency, log=self._log)
        server = HTTPServer(_application(service))
        server.add_socket(listener)
        stop = asyncio.Event()
        self._stop = asyncio.get_running_loop(), stop
        started.set_result(None)
        await stop.wait()
        server.stop()
        await server.close_all_connections()
        service.renderer.close()


def _application(service: Service) -> Application:
    given = {"service": service}
    return Application(
        [
            (r"/api/v1/asnaro1/scene", SearchHandler, given),
            (r"/ASNARO-1/thumbs/([^/]+)\.png", ThumbnailHandler, given),
            (r"/ASNARO-1/([^/]+)/(\d{1,2})/(\d{1,9})/(\d{1,9})\.png", TileHandler, given),
            (r"/_sandbox/log", LogHandler, given),
        ],
        default_handler_class=NothingHandler,
        default_handler_args=given,
        log_function=lambda handler: None,  # the request log tells more
    )
