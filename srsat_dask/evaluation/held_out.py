"""Which pixels of a scene a model may be judged on: those that it was not trained on."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from srsat_dask.errors import InputError, ModelError
from srsat_dask.evaluation.measure import Mask
from srsat_dask.model.file import ModelFile
from srsat_dask.mosaic.inputs import MosaicScene, ReadableScene
from srsat_dask.mosaic.split import SHORT, Part, Shares, Split, short, split_scene
from srsat_dask.mosaic.windows import Window


def held_out_mask(scene: ReadableScene, file: ModelFile) -> Mask | None:
    """Return the mask of the pixels held out of training; None if the model never saw the scene.

    They are those of the test blocks, which training did not look at; of a scene too small for
    one, those of the validation block. Of an image that was trained on whole there are none.

    Raises
    ------
    InputError
        The scene has changed since the model was trained on it.
    ModelError
        The model's file does not say readably what it was trained on.
    """
    trained_on = file.spec.metadata.get("training_data", [])
    if not trained_on:
        return None
    fingerprint = scene.fingerprint()
    with _reading():
        seen = _seen(fingerprint, trained_on)
    if isinstance(seen, Part):
        return _everything if seen == Part.TEST else _nothing
    if seen is not None:
        split = split_scene(scene, *seen)
        return partial(_of_part, split, split.judged)
    if not isinstance(scene, MosaicScene):
        return None
    # The choice hangs on the ledger too: of another state of the scene it would be a guess, and
    # blocks that were trained on would pass for held-out ones.
    with _reading():
        lineages = [_without_folders(entry.get("lineage", {})) for entry in trained_on]
    if _without_folders(scene.lineage) in lineages:
        raise InputError(
            f"{scene.name} has changed since the model was trained on it, so it is not known which"
            " of its blocks were held out: train again, or give other scenes"
        )
    return None


@contextmanager
def _reading() -> Iterator[None]:
    """Say of a record that lacks what is looked for that it cannot be read."""
    try:
        yield
    except (AttributeError, KeyError, TypeError) as error:
        raise ModelError(
            f"the model's record of its training data cannot be read ({type(error).__name__}:"
            f" {error}), so it is not known what it may be judged on: train it again"
        ) from error


def _seen(fingerprint: str, trained_on: Any) -> Part | tuple[Shares, str] | None:
    """Return how a scene was trained on, None if it was not.

    An image of a folder has one part. Another scene has shares, and the name that it was trained
    under: the choice of its blocks hangs on both.
    """
    for entry in trained_on:
        if "folder" in entry:
            part = _part_of(fingerprint, entry)
            if part is not None:
                return part
        elif entry["fingerprint"] == fingerprint:
            chosen = entry["split"]
            shares = Shares(chosen["validation"], chosen["test"], chosen["seed"])
            return shares, entry["scene"]
    return None


def _part_of(fingerprint: str, entry: dict[str, Any]) -> Part | None:
    """Return the part that an image of a folder was given to, None if it was not there."""
    wanted = short(fingerprint)
    for part in Part:
        digests = entry["images"][part.name.lower()]
        if wanted in (digests[n : n + SHORT] for n in range(0, len(digests), SHORT)):
            return part
    return None


def _of_part(split: Split, part: Part, window: Window) -> npt.NDArray[np.bool_]:
    return split.mask(window, part)


def _everything(window: Window) -> npt.NDArray[np.bool_]:
    return np.ones(window.shape, np.bool_)


def _nothing(window: Window) -> npt.NDArray[np.bool_]:
    return np.zeros(window.shape, np.bool_)


def _without_folders(lineage: dict[str, Any]) -> dict[str, Any]:
    # A model's file keeps the last part of a path only, and no query of an address.
    return {
        name: value.partition("?")[0].replace("\\", "/").rstrip("/").rpartition("/")[2]
        if isinstance(value, str)
        else value
        for name, value in lineage.items()
    }
