"""What the sandbox answers as Tellus' Traveler API.

::

    GET   /api/traveler/v1/datasets/                                   token   datasets
    POST  /api/traveler/v1/data-search/                                token   scenes, by page
    GET   /api/traveler/v1/datasets/{d}/data/{s}/                      token   one scene
    GET   /api/traveler/v1/datasets/{d}/data/{s}/files/                token   files of a scene
    POST  /api/traveler/v1/datasets/{d}/data/{s}/files/{f}/download-url/
                                                                       token   presigned address
    GET   /traveler-files/{f}/{name}?Expires&Signature                         the file

The file is served the way S3 does: whoever has the address may have it until it expires, ranges
are answered, and a request that also carries a Bearer token is refused.
"""

import json
from urllib.parse import quote

from tornado.web import HTTPError

from srsat_dask.sandbox.catalogue import DATASET, SearchError, feature, scene_id, search
from srsat_dask.sandbox.door import Door
from srsat_dask.sandbox.downloads import byte_range, pieces
from srsat_dask.sandbox.scenes import SceneProvider


class TravelerHandler(Door):
    """Base of the API's handlers: they find scenes by the API's own ids."""

    def scene_of(self, dataset: str, data: str) -> tuple[int, SceneProvider]:
        """Find the file id and the scene of a data id, or 404."""
        for number, scene in enumerate(self.service.scenes.values(), start=1):
            if dataset == DATASET and data == scene_id(scene):
                return number, scene
        raise HTTPError(404, reason="no such scene in this dataset")


class DatasetsHandler(TravelerHandler):
    """The datasets: one."""

    async def get(self) -> None:
        """Answer a list with one entry."""
        dataset = {"id": DATASET, "name": "ASNARO-1 (sandbox)", "permission": {"allow": ["read"]}}
        await self.send_json({"results": [dataset], "next": None, "previous": None})


class DataSearchHandler(TravelerHandler):
    """The catalogue."""

    async def post(self) -> None:
        """Answer a page of scenes as a GeoJSON FeatureCollection."""
        features = [feature(scene) for scene in self.service.scenes.values()]
        try:
            page = search(features, json.loads(self.request.body))
        except ValueError as error:
            # Not by HTTPError: what the client sent has no place in a status line.
            message = str(error) if isinstance(error, SearchError) else "the body must be JSON"
            self.set_status(422)
            return await self.send_json({"status": 422, "message": message})
        meta = {"total": page.total, "search-condition": page.cursor}
        await self.send_json({"type": "FeatureCollection", "features": page.features, "meta": meta})


class DataHandler(TravelerHandler):
    """One scene."""

    async def get(self, dataset: str, data: str) -> None:
        """Answer it as the catalogue does."""
        await self.send_json(feature(self.scene_of(dataset, data)[1]))


class FilesHandler(TravelerHandler):
    """The files of a scene: one GeoTIFF."""

    async def get(self, dataset: str, data: str) -> None:
        """Answer its name and its size."""
        number, scene = self.scene_of(dataset, data)
        path = await self.service.files.path(scene)
        file = {
            "id": number,
            "name": f"{scene.entity_id}_webcog.tif",
            "size_bytes": path.stat().st_size,
            "is_downloadable": True,
        }
        await self.send_json({"results": [file]})


class DownloadUrlHandler(TravelerHandler):
    """Addresses of files."""

    async def post(self, dataset: str, data: str, file: str) -> None:
        """Answer an address that works for a while."""
        number, scene = self.scene_of(dataset, data)
        if int(file) != number:
            raise HTTPError(404, reason="no such file of this scene")
        path = f"/traveler-files/{number}/{quote(scene.entity_id)}_webcog.tif"
        url = f"http://{self.request.host}{path}?{self.service.signer.query(path)}"
        await self.send_json({"download_url": url})


class FileHandler(Door):
    """The bytes of a file."""

    needs_token = False

    async def get(self, file: str, _name: str) -> None:
        """Answer the whole file or the range asked for."""
        if "Authorization" in self.request.headers:
            raise HTTPError(400, reason="two ways to authorise: send no Authorization header")
        given = (self.get_query_argument(name, "") for name in ("Expires", "Signature"))
        refusal = self.service.signer.refusal(self.request.path, *given)
        if refusal is not None:
            raise HTTPError(403, reason=refusal)
        scene = list(self.service.scenes.values())[int(file) - 1]  # signed, so there is one
        path = await self.service.files.path(scene)
        size = path.stat().st_size
        self.set_header("Accept-Ranges", "bytes")
        self.set_header("Content-Type", "image/tiff")
        part = byte_range(self.request.headers.get("Range", ""), size)
        if part is None:
            part = range(size)
        elif not part:
            self.set_status(416)
            self.set_header("Content-Range", f"bytes */{size}")
        else:
            self.set_status(206)
            self.set_header("Content-Range", f"bytes {part.start}-{part.stop - 1}/{size}")
        await self.send(pieces(path, part), len(part))

    head = get


def routes(given: dict[str, object]) -> list[tuple[str, type[Door], dict[str, object]]]:
    """Bind the handlers to their addresses."""
    api = r"/api/traveler/v1"
    data = rf"{api}/datasets/([^/]+)/data/([^/]+)/"
    files = rf"{data}files/"
    return [
        (rf"{api}/datasets/", DatasetsHandler, given),
        (rf"{api}/data-search/", DataSearchHandler, given),
        (data, DataHandler, given),
        (files, FilesHandler, given),
        (rf"{files}(\d{{1,9}})/download-url/", DownloadUrlHandler, given),
        (r"/traveler-files/(\d{1,9})/([^/]+)", FileHandler, given),
    ]
