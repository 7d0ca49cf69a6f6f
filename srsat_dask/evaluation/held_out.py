"""Which pixels of a scene a model may be judged on: those that it was not trained on."""

from typing import Any

import numpy as np

from srsat_dask.errors import InputError
from srsat_dask.evaluation.measure import Mask
from srsat_dask.model.file import ModelFile
from srsat_dask.mosaic.inputs import MosaicScene, ReadableScene
from srsat_dask.mosaic.split import HeldOut, held_out_tiles


def held_out_mask(scene: ReadableScene, file: ModelFile) -> Mask | None:
    """Return the mask of the blocks held out of training; None if the model never saw the scene.

    Raises
    ------
    InputError
        The scene has changed since the model was trained on it.
    """
    trained_on = file.spec.metadata.get("training_data", [])
    if not trained_on or not isinstance(scene, MosaicScene):
        return None
    fingerprint = scene.fingerprint()
    for entry in trained_on:
        if entry["fingerprint"] == fingerprint:
            states = np.asarray(scene.array("tile_state")[:])
            seed, fraction = entry["split"]["seed"], entry["split"]["fraction"]
            # By the name it was trained under, on which the choice hangs.
            tiles = held_out_tiles(entry["scene"], states, seed, fraction)
            return HeldOut(tiles, seed, fraction).mask
    # The choice hangs on the ledger too: of another state of the scene it would be a guess, and
    # blocks that were trained on would pass for held-out ones.
    lineage = _without_folders(scene.lineage)
    if any(_without_folders(entry["lineage"]) == lineage for entry in trained_on):
        raise InputError(
            f"{scene.name} has changed since the model was trained on it, so it is not known which"
            " of its blocks were held out: train again, or give other scenes"
        )
    return None


def _without_folders(lineage: dict[str, Any]) -> dict[str, Any]:
    # A model's file keeps the last part of a path only, and no query of an address.
    return {
        name: value.partition("?")[0].replace("\\", "/").rstrip("/").rpartition("/")[2]
        if isinstance(value, str)
        else value
        for name, value in lineage.items()
    }
