"""The model that a super-resolved store keeps, so that it can be proven.

It decides no pixel beyond what its digest in the lineage says, so it is no part of the lineage.
"""

from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr

from srsat_dask.errors import ModelError
from srsat_dask.model.file import ModelFile
from srsat_dask.mosaic.store import open_store

MODEL = "model"
"""Array at the store's root that holds the bytes of the model's file."""


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
