"""What a super-resolved store keeps, so that it can be proven: its model, and where its input was.

Neither decides a pixel, so neither is part of the lineage: an exported raster carries no path. The
path is kept as seen from the store, so that both may move together.
"""

import os
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr

from srsat_dask.errors import ModelError, StoreError
from srsat_dask.model.file import ModelFile
from srsat_dask.mosaic.inputs import MosaicScene, RasterScene, ReadableScene
from srsat_dask.mosaic.store import StoreScene, open_store

MODEL = "model"
"""Array at the store's root that holds the bytes of the model's file."""

INPUT = "srsat_input"
"""Attribute of a scene with the path of its input, as seen from the store."""


def keep_model(store: "str | Path", model: ModelFile) -> None:
    """Write a model into a store, unless it is there."""
    root = zarr.open_group(str(store), mode="r+", use_consolidated=False)
    data = np.frombuffer(model.data, dtype=np.uint8)
    if MODEL in root and np.array_equal(np.asarray(cast("Any", root[MODEL])[:]), data):
        return
    array = root.create_array(
        MODEL,
        shape=data.shape,
        chunks=data.shape,
        dtype="uint8",
        compressors=None,
        dimension_names=("byte",),
        attributes={"long_name": "the .keras file that made the scenes", "sha256": model.sha256},
        overwrite=True,
    )
    array[:] = data


def kept_model(store: "str | Path") -> ModelFile:
    """Return the model that a super-resolved store keeps.

    Raises
    ------
    ModelError
        It keeps none, or a damaged one.
    """
    root = open_store(store)
    if MODEL not in root:
        raise ModelError(f"{store} keeps no model: give the one that made it with --model")
    return ModelFile(np.asarray(cast("Any", root[MODEL])[:]).tobytes())


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
