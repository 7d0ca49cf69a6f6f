"""Where the input of a super-resolved scene was, and whether it is still the same.

The path decides no pixel, so it is no part of the lineage: an exported raster carries none. It is
kept as seen from the store, so that both may move together.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from srsat_dask.errors import StoreError
from srsat_dask.mosaic.inputs import MosaicScene, RasterScene, ReadableScene
from srsat_dask.mosaic.opening import open_raster
from srsat_dask.mosaic.store import StoreScene

INPUT = "srsat_input"
"""Attribute of a scene with the path of its input, as seen from the store."""

_CARRIED = ("title", "datetime", "cloud_cover", "attribution")
"""Attributes of a scene that hold for what is made of it, too."""

_CREDITS = ("attribution", "credit", "TIFFTAG_COPYRIGHT")
"""Tags of a raster that say whom to credit, the first before the others."""


def input_seen_from(store: "str | Path", scene: ReadableScene) -> str:
    """Return the path of a scene's input relative to a store, or a remote one as it is."""
    if isinstance(scene, MosaicScene):
        path = scene.store
    elif isinstance(scene, RasterScene):
        path = scene.path
    else:
        path = scene.name
    return path if "://" in path else os.path.relpath(path, store)


def kept_input(finer: StoreScene) -> Path:
    """Return where a super-resolved scene's input was, seen from where the store is now.

    Raises
    ------
    StoreError
        Nothing is there.
    """
    kept = finer.group().attrs.get(INPUT)
    place = Path(os.path.normpath(Path(finer.store, str(kept))))
    if kept is None or not place.exists():
        raise StoreError(f"the input of {finer.store} is not at {place}: say where with --input")
    return place


def input_identity(scene: ReadableScene) -> str:
    """Return the SHA-256 (hex) of what a scene is, but for a mosaic's pixels.

    Those have a digest for each shard, so that an update costs no more than it changes.
    """
    if isinstance(scene, MosaicScene):
        return hashlib.sha256(json.dumps(scene.lineage, sort_keys=True).encode()).hexdigest()
    return scene.fingerprint()


def carried_attributes(scene: ReadableScene) -> dict[str, Any]:
    """Return what is known of a scene that holds for what is made of it, too.

    Of a mosaic's scene its title, date, cloud cover and attribution, of a raster its attribution.
    """
    if isinstance(scene, MosaicScene):
        attributes = scene.group().attrs.asdict()
        return {name: attributes[name] for name in _CARRIED if name in attributes}
    if isinstance(scene, RasterScene):
        with open_raster(scene.path) as raster:
            tags = raster.tags()
        credit = next((tags[name] for name in _CREDITS if tags.get(name)), None)
        return {"attribution": credit} if credit else {}
    return {}
