"""Searching scenes the way the Traveler API does: by box, by property, page by page.

Property names and operators as in https://www.tellusxdp.com/en-us/howtouse/dev/
Parameters_SceneSearch.html; a geometry stands for its bounding box.
"""

import base64
import hashlib
import json
import operator
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from srsat_dask.sandbox.scenes import Bounds, SceneProvider

DATASET = str(uuid.uuid5(uuid.NAMESPACE_URL, "srsat-sandbox:asnaro1"))
"""Id of the one dataset."""

SIZES = range(10, 1001)
"""Scenes a page may have."""

Feature = dict[str, Any]
"""A scene as GeoJSON."""


class SearchError(ValueError):
    """A search that cannot be run; the message says what would be right."""


@dataclass(frozen=True)
class Page:
    """Some of the scenes found."""

    features: list[Feature]

    total: int
    """How many were found on all pages."""

    cursor: str | None
    """What asks for the next page; None on the last."""


def scene_id(scene: SceneProvider) -> str:
    """Id of a scene, a UUID that is the same in every run."""
    return str(uuid.uuid5(uuid.UUID(DATASET), scene.entity_id))


def feature(scene: SceneProvider) -> Feature:
    """Describe a scene."""
    west, south, east, north = scene.bounds
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    moment = scene.acquired.astimezone(UTC).isoformat()
    return {
        "type": "Feature",
        "id": scene_id(scene),
        "dataset_id": DATASET,
        "bbox": [west, south, east, north],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "tellus:name": scene.entity_id,
            "start_datetime": moment,
            "end_datetime": moment,
            "tellus:published_datetime": moment,
            "tellus:can_ordered": False,
            "eo:cloud_cover": scene.cloud_cover,
        },
    }


def search(features: Sequence[Feature], asked: object) -> Page:
    """Answer the body of a ``data-search/`` request.

    Parameters
    ----------
    features : sequence of Feature
        All there is.
    asked : object
        The body, any JSON: ``datasets``, ``intersects``, ``query``, ``sortby``, ``paginate``.

    Returns
    -------
    Page
        The scenes found, in the order asked for or that of the catalogue.

    Raises
    ------
    SearchError
        The body is not such a search.
    """
    if not isinstance(asked, Mapping):
        raise SearchError("the body must be a JSON object")
    size, cursor = _paginate(asked.get("paginate"))
    found = list(features)
    datasets = asked.get("datasets")
    if datasets is not None:
        if not isinstance(datasets, list):
            raise SearchError("datasets must be a list of ids")
        found = [each for each in found if each["dataset_id"] in datasets]
    if asked.get("intersects") is not None:
        box = _bounding_box(asked["intersects"])
        found = [each for each in found if _meet(each["bbox"], box)]
    for name, tests in _object(asked.get("query"), "query").items():
        for sign, value in _object(tests, f"query {name}").items():
            passes = _test(sign, value)
            found = [each for each in found if passes(each["properties"].get(name))]
    found = _sorted(found, asked.get("sortby"))

    conditions = {key: asked.get(key) for key in ("datasets", "intersects", "query", "sortby")}
    digest = hashlib.sha256(json.dumps(conditions, sort_keys=True).encode()).hexdigest()[:16]
    first = 0 if cursor is None else _read_cursor(cursor, digest)
    following = first + size
    more = following < len(found)
    return Page(
        found[first:following], len(found), _make_cursor(following, digest) if more else None
    )


def _paginate(value: object) -> tuple[int, str | None]:
    if value is None:
        return 100, None
    paginate = _object(value, "paginate")
    size = paginate.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size not in SIZES:
        raise SearchError(f"paginate.size must be {SIZES[0]} to {SIZES[-1]}")
    if "cursor" not in paginate:
        raise SearchError("paginate.cursor is missing: send null for the first page")
    cursor = paginate["cursor"]
    if cursor is not None and not isinstance(cursor, str):
        raise SearchError("paginate.cursor must be null or what the page before told")
    return size, cursor


def _make_cursor(first: int, digest: str) -> str:
    return base64.urlsafe_b64encode(f"{first} {digest}".encode()).decode()


def _read_cursor(cursor: str, digest: str) -> int:
    """First scene of the page that a cursor stands for; it is good for the same search only."""
    try:
        first, made_for = base64.urlsafe_b64decode(cursor).decode().split()
        if made_for == digest:
            return int(first)
    except ValueError:
        pass
    raise SearchError("paginate.cursor is not of this search: start again with null")


def _bounding_box(geometry: object) -> Bounds:
    places = list(_places(_object(geometry, "intersects").get("coordinates")))
    if not places:
        raise SearchError("intersects must be a GeoJSON geometry with coordinates")
    lon, lat = zip(*places, strict=True)
    return min(lon), min(lat), max(lon), max(lat)


def _places(coordinates: object) -> Iterator[tuple[float, float]]:
    """Every position of a GeoJSON geometry, however nested."""
    if not isinstance(coordinates, list):
        raise SearchError("intersects must be a GeoJSON geometry with coordinates")
    if len(coordinates) >= 2 and all(isinstance(each, int | float) for each in coordinates):
        yield coordinates[0], coordinates[1]
        return
    for each in coordinates:
        yield from _places(each)


def _meet(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] <= b[2] and a[2] >= b[0] and a[1] <= b[3] and a[3] >= b[1]


_SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq, "neq": operator.ne, "gt": operator.gt, "gte": operator.ge,
    "lt": operator.lt, "lte": operator.le, "startsWith": lambda a, b: str(a).startswith(str(b)),
}  # fmt: skip


def _test(sign: str, value: object) -> Callable[[object], bool]:
    """Make the test of a property; scenes without the property fail it."""
    if sign not in _SIGNS:
        raise SearchError(f"query operator {sign} is unknown: use {', '.join(_SIGNS)}")

    def passes(found: object) -> bool:
        try:
            return found is not None and _SIGNS[sign](_comparable(found), _comparable(value))
        except TypeError:
            raise SearchError(f"query value {value!r} cannot be compared") from None

    return passes


def _comparable(value: object) -> Any:
    """Dates as moments, other texts without regard to case."""
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return value.casefold()
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _sorted(features: list[Feature], sortby: object) -> list[Feature]:
    """Sort by several properties, the first weighing most."""
    if not isinstance(sortby, list | None):
        raise SearchError("sortby must be a list")
    for each in reversed(sortby or []):
        criterion = _object(each, "sortby")
        name = str(criterion.get("field", "")).removeprefix("properties.")
        direction = criterion.get("direction", "asc")
        if direction not in ("asc", "desc") or any(name not in f["properties"] for f in features):
            raise SearchError(f"sortby {name!r} {direction!r}: give a property and asc or desc")
        features = sorted(
            features,
            key=lambda f, name=name: _comparable(f["properties"][name]),  # type: ignore[misc]
            reverse=direction == "desc",
        )
    return features


def _object(value: object, what: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise SearchError(f"{what} must be an object")
    return value
