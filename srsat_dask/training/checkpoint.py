"""The checkpoint beside a model that is being trained: one file, whole or not there.

``OUT.checkpoint`` is a NumPy archive of plain arrays and one JSON text; nothing in it is run. It
holds the weights, the optimizer's variables, the best weights so far, and how far the run has
come, so that a killed training goes on to the very losses that it would have had.
"""

import io
import json
import math
import zipfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from srsat_dask.errors import InputError
from srsat_dask.training.fit import Arrays, Epoch, Mean, Run, State
from srsat_dask.training.history import write_whole
from srsat_dask.training.patches import Place

FORMAT = 1
"""Number of this layout."""


def checkpoint_path(model_path: str | Path) -> Path:
    """Return where the checkpoint of a model lies: ``OUT.checkpoint`` for ``OUT.keras``."""
    return Path(model_path).with_suffix(".checkpoint")


def write_checkpoint(path: Path, settings: dict[str, Any], run: Run, state: State) -> None:
    """Write a checkpoint in place of the one before, unless there is a number that is none.

    Parameters
    ----------
    path : Path
        From `checkpoint_path`.
    settings : dict
        JSON values; a run of other settings may not go on from here.
    run : Run
        How far the run has come.
    state : State
        What the trainer has learned.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    if not all(np.isfinite(array).all() for array in (*state.weights, *state.optimizer)):
        return  # the loss of the next step will say so; the last good state stays
    progress = {**asdict(run), "best": None}
    document = json.dumps({"format": FORMAT, "settings": settings, "run": progress})
    groups = {"weights": state.weights, "optimizer": state.optimizer, "best": run.best}
    arrays = {
        f"{name}_{n}": array for name, group in groups.items() for n, array in enumerate(group)
    }
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, document=np.array(document), **arrays)
    write_whole(path, buffer.getvalue())


def read_checkpoint(path: Path, settings: dict[str, Any]) -> tuple[Run, State] | None:
    """Read a checkpoint to go on from; none if there is no file.

    Parameters
    ----------
    path : Path
        From `checkpoint_path`.
    settings : dict
        Those of the training that would go on.

    Raises
    ------
    InputError
        The file is damaged, or of a training with other settings; the message names them.
    """
    if not path.exists():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            document = json.loads(str(archive["document"]))
            if document["format"] != FORMAT:
                raise ValueError(f"format {document['format']}")
            groups = {
                name: [archive[f"{name}_{n}"] for n in range(_count(archive.files, name))]
                for name in ("weights", "optimizer", "best")
            }
        before, run = document["settings"], _run(document["run"], groups["best"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"checkpoint {path} cannot be read ({error}): start over with --fresh"
        ) from error
    other = list(differences(before, settings))
    if other:
        raise InputError(
            f"checkpoint {path} is of a training with other settings: {'; '.join(other[:3])}:"
            " give the same to go on, or start over with --fresh"
        )
    return run, State(groups["weights"], groups["optimizer"])


def differences(before: Any, now: Any, name: str = "") -> Iterator[str]:
    """Name what differs between two JSON values, and both values of it."""
    if isinstance(before, list) and isinstance(now, list | tuple):
        before, now = dict(enumerate(before)), dict(enumerate(now))
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*now, *(key for key in before if key not in now)]:
            yield from differences(before.get(key), now.get(key), f"{name}.{key}".lstrip("."))
    elif before != now:
        yield f"{name} {_short(before)} there, {_short(now)} here"


def _count(names: list[str], group: str) -> int:
    return sum(name.startswith(f"{group}_") for name in names)


def _run(document: dict[str, Any], best: Arrays) -> Run:
    run = Run(
        **{
            **document,
            "place": Place(**document["place"]),
            "learned": Mean(**document["learned"]),
            "epochs": [Epoch(**epoch) for epoch in document["epochs"]],
            "best": best,
        }
    )
    if not (run.step > 0 and math.isfinite(run.seconds)):
        raise ValueError(f"step {run.step}")
    return run


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
