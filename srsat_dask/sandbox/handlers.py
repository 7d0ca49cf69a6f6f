"""What the sandbox answers, shaped like Tellus v1.

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
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import format_datetime
from typing import Any
from urllib.parse import unquote

from tornado.web import Application, HTTPError, RequestHandler

from srsat_dask.sandbox.log import RequestLog
from srsat_dask.sandbox.render import Renderer
from srsat_dask.sandbox.scenes import SceneProvider, to_degrees, to_pixels


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


def application(service: Service) -> Application:
    """Bind the handlers to their addresses."""
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
