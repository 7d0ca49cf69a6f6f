"""What the sandbox answers as Tellus v1; :mod:`.traveler` has the other API.

::

    GET    /api/v1/asnaro1/scene?min_lat&min_lon&max_lat&max_lon   token   JSON list of scenes
    GET    /ASNARO-1/{entityId}/{z}/{x}/{y}.png                    token   256 px RGBA tile
    GET    /ASNARO-1/thumbs/{entityId}.png                                 thumbnail
    GET    /_sandbox/log                                                   what was asked so far
    DELETE /_sandbox/log                                                   forget it
"""

import math
from datetime import UTC
from email.utils import format_datetime

from tornado.web import Application, HTTPError, RequestHandler

from srsat_dask.sandbox.door import Door, Service
from srsat_dask.sandbox.scenes import SceneProvider, to_degrees, to_pixels
from srsat_dask.sandbox.traveler import routes


class SearchHandler(Door):
    """The catalogue: scenes whose bounds meet a box."""

    async def get(self) -> None:
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
        await self.send_json(found)

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
        await self.send_png(await self.service.renderer.tile(scene, z, x, y))


class ThumbnailHandler(Door):
    """A scene at a glance; browsers load it without a token."""

    needs_token = False

    async def get(self, entity_id: str) -> None:
        """Answer a PNG of at most 256 px either way."""
        await self.send_png(await self.service.renderer.thumbnail(self.scene(entity_id)))


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
    given: dict[str, object] = {"service": service}
    return Application(
        [
            (r"/api/v1/asnaro1/scene", SearchHandler, given),
            (r"/ASNARO-1/thumbs/([^/]+)\.png", ThumbnailHandler, given),
            (r"/ASNARO-1/([^/]+)/(\d{1,2})/(\d{1,9})/(\d{1,9})\.png", TileHandler, given),
            (r"/_sandbox/log", LogHandler, given),
            *routes(given),
        ],
        default_handler_class=NothingHandler,
        default_handler_args=given,
        log_function=lambda handler: None,  # the request log tells more
    )
