"""What the Traveler API answers, checked: datasets, scenes by page, files, addresses of files.

Nothing here keeps an address of a file: whoever has it may have the file, so it is a secret.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from srsat_dask.errors import SourceError
from srsat_dask.harvesting import http
from srsat_dask.harvesting.scene import Scene
from srsat_dask.harvesting.tellus import tellus_token
from srsat_dask.mosaic.grid import Box

PAGE = 100
"""Scenes asked for at once; the API allows 10 to 1000."""

MOST_PAGES = 10_000
"""Pages after which a search is taken for one that goes round in circles."""

_AT_ONCE = 8
"""Lists of files asked for at once during a search."""

_ROOT = "/api/traveler/v1"

T = TypeVar("T")


@dataclass(frozen=True)
class RemoteFile:
    """A GeoTIFF of a scene, as the API names it."""

    dataset: str
    """Id of the dataset."""
    scene: str
    """Id of the scene in it."""
    id: str
    """Id of the file."""
    name: str
    """Name of the file."""
    size: int
    """Bytes."""


def datasets(url: str) -> list[str]:
    """Return the ids of all datasets."""
    found: list[str] = []
    at: object = f"{url}{_ROOT}/datasets/"
    for _ in range(MOST_PAGES):
        page = _ask(str(at), lambda body: (body["results"], body.get("next")))
        found += [str(each["id"]) for each in page[0]]
        at = page[1]
        if not at:
            return found
        if not str(at).startswith(f"{url}/"):  # it would be asked with the token
            break
    raise SourceError(f"the list of datasets at {url} does not end there")


def search(url: str, wanted: list[str], box: Box, source: str) -> list[Scene]:
    """Return the scenes of datasets in a box that have a GeoTIFF, by id."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="files") as threads:
        found = list(
            threads.map(
                lambda each: (each[1], geotiff(url, each[0], each[1].id)),
                _features(url, wanted, box, source),
            )
        )
    return sorted((scene for scene, file in found if file), key=lambda scene: scene.id)


def scene(url: str, dataset: str, id_: str, source: str) -> Scene | None:
    """Return a scene of a dataset by its id, or None if the dataset has none of that id."""
    parts = quote(dataset, safe=""), quote(id_, safe="")
    at = f"{url}{_ROOT}/datasets/{parts[0]}/data/{parts[1]}/"
    found: Scene | None = _ask(at, lambda body: _scene(body, source), None)
    return found


def geotiff(url: str, dataset: str, scene: str) -> RemoteFile | None:
    """Return a scene's file that is fit for windowed reading, else any GeoTIFF, else None."""
    at = f"{url}{_ROOT}/datasets/{quote(dataset, safe='')}/data/{quote(scene, safe='')}/files/"
    files: list[RemoteFile] = _ask(
        at,
        lambda body: [
            RemoteFile(dataset, scene, str(each["id"]), each["name"], int(each["size_bytes"]))
            for each in body["results"]
            if each.get("is_downloadable") and re.search(r"\.tiff?$", each["name"], re.I)
        ],
        [],
    )
    cut = [file for file in files if re.search(r"_webcog\.tiff?$", file.name, re.I)]
    return min(cut or files, key=lambda file: file.name, default=None)


def download_url(url: str, file: RemoteFile) -> str:
    """Return an address of a file that works for a while, and is a secret for that while."""
    parts = (file.dataset, file.scene, file.id)
    dataset, scene, id_ = (quote(part, safe="") for part in parts)
    at = f"{url}{_ROOT}/datasets/{dataset}/data/{scene}/files/{id_}/download-url/"
    address = _ask(at, lambda body: str(body["download_url"]), question={})
    if urlsplit(address).scheme not in ("https", "http"):
        raise SourceError(f"{at} did not answer a web address")
    return address


def _features(url: str, wanted: list[str], box: Box, source: str) -> Iterator[tuple[str, Scene]]:
    """Yield dataset and scene of everything in a box, page by page."""
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    cursor: object = None
    for _ in range(MOST_PAGES):
        question = {
            "datasets": wanted,
            "intersects": {"type": "Polygon", "coordinates": [ring]},
            "query": {},
            "paginate": {"size": PAGE, "cursor": cursor},
        }
        features, following = _ask(
            f"{url}{_ROOT}/data-search/",
            lambda body: (
                [(str(each["dataset_id"]), _scene(each, source)) for each in body["features"]],
                body["meta"].get("search-condition"),
            ),
            question=question,
        )
        yield from features
        if not following:
            return
        if following == cursor:
            break
        cursor = following
    raise SourceError(f"the scene search at {url} does not end")


def _ask(
    at: str,
    read: Callable[[Any], T],
    missing: T | type[Exception] = SourceError,
    *,
    question: object = None,
) -> T:
    """Ask for JSON and read it; status 404 gives ``missing`` if that is no exception."""
    answer = http.get(at, tellus_token(), question=question)
    if answer.status == 404 and not isinstance(missing, type):
        return missing
    if answer.status != 200:
        raise SourceError(f"{at} answered status {answer.status}")
    try:
        return read(answer.json())
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        # The body may hold an address that is a secret: say what is wrong, not what came.
        said = f"no {error}" if isinstance(error, KeyError) else type(error).__name__
    raise SourceError(f"{at} did not answer as the Traveler API does ({said})")


def _scene(feature: Mapping[str, Any], source: str) -> Scene:
    properties = feature.get("properties") or {}
    clouds = properties.get("eo:cloud_cover")
    moment = properties.get("start_datetime")
    return Scene(
        str(feature["id"]),
        _bounds(feature),
        acquired=datetime.fromisoformat(moment) if moment else None,
        cloud_cover=None if clouds is None else float(clouds),
        source=source,
    )


def _bounds(feature: Mapping[str, Any]) -> Box:
    """Return west, south, east, north of a feature's geometry, whatever its type."""
    places = list(_places(feature["geometry"]["coordinates"]))
    longitudes, latitudes = [place[0] for place in places], [place[1] for place in places]
    return min(longitudes), min(latitudes), max(longitudes), max(latitudes)


def _places(coordinates: Any) -> Iterator[tuple[float, float]]:
    if isinstance(coordinates[0], list):
        for part in coordinates:
            yield from _places(part)
    else:
        yield float(coordinates[0]), float(coordinates[1])
