"""What a model's file and history say of how it was made: no folder, no secret, only names."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import srsat_dask
from srsat_dask.errors import InputError
from srsat_dask.model.file import ModelFile
from srsat_dask.mosaic.inputs import MosaicScene, ReadableScene
from srsat_dask.mosaic.split import Part, Split, short
from srsat_dask.training.patches import PatchShape
from srsat_dask.training.presets import Preset


@dataclass(frozen=True, eq=False)
class TrainingInput:
    """What one input of the command line comes to."""

    scenes: tuple[tuple[ReadableScene, Split], ...]
    """Its scenes and their splits."""
    folder: str | None = None
    """Name of the folder that was given, if it was one."""


def training_data(inputs: Sequence[TrainingInput]) -> list[dict[str, Any]]:
    """Return which scenes were trained on and how each was split.

    Evaluation compares ``fingerprint``, and chooses the same tiles again from ``split``. Images
    of a folder that belong to one part whole have one entry together.

    Parameters
    ----------
    inputs : sequence of TrainingInput
        Everything that was given.

    Returns
    -------
    list of dict
        For a scene ``scene``, ``fingerprint`` (SHA-256), ``lineage`` without folders, and
        ``split`` with ``seed``, the shares ``validation`` and ``test``, and the number of
        ``tiles`` with pixels of each part. For a folder ``folder``, ``fingerprint`` of all names
        and contents, ``split`` with the number of ``images`` of each part, and ``images``: for
        each part the `short` fingerprints of its images, put together.

    Raises
    ------
    InputError
        Two scenes are the same image: what is trained on in one might be held out in the other.
    """
    known: dict[str, str] = {}
    entries = []
    for given in inputs:
        together = []
        for scene, split in given.scenes:
            fingerprint = scene.fingerprint()
            if fingerprint in known:
                raise InputError(
                    f"{known[fingerprint]} and {scene.name} are the same image: give it once, or"
                    " what is trained on in one might be held out in the other"
                )
            known[fingerprint] = scene.name
            if given.folder is not None and split.parts.size == 1:
                together.append((scene.name, fingerprint, split))
            else:
                entries.append(_scene_entry(scene, fingerprint, split))
        if given.folder is not None and together:
            entries.append(_folder_entry(given.folder, together))
    return entries


def _scene_entry(scene: ReadableScene, fingerprint: str, split: Split) -> dict[str, Any]:
    return {
        "scene": scene.name,
        "fingerprint": fingerprint,
        "lineage": public(scene.lineage) if isinstance(scene, MosaicScene) else {"kind": "raster"},
        "split": {
            **asdict(split.shares),
            "tiles": {part.name.lower(): split.tiles(part) for part in Part},
        },
    }


def _folder_entry(folder: str, images: Sequence[tuple[str, str, Split]]) -> dict[str, Any]:
    whole = hashlib.sha256()
    found: dict[str, list[str]] = {part.name.lower(): [] for part in Part}
    for name, fingerprint, split in images:
        whole.update(f"{name}\n{fingerprint}\n".encode())
        found[Part(int(split.parts.flat[0])).name.lower()].append(short(fingerprint))
    return {
        "folder": folder,
        "fingerprint": whole.hexdigest(),
        "split": {
            **asdict(images[0][2].shares),
            "images": {part: len(digests) for part, digests in found.items()},
        },
        "images": {part: "".join(sorted(digests)) for part, digests in found.items()},
    }


def degradation(shape: PatchShape) -> dict[str, Any]:
    """Return how inputs were made from targets."""
    return {
        **shape.degradation.record(),
        "scale": shape.scale,
        "contrast_stretch": shape.contrast_stretch,
    }


def recipe(
    name: str,
    preset: Preset,
    shape: PatchShape,
    seed: int,
    steps: int,
    file: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the settings of a training run, how many steps it did and what its file said."""
    settings = {
        "preset": name,
        **asdict(preset),
        "size": shape.size,
        "loss": "mean squared error",
        "seed": seed,
        "steps": steps,
    }
    return settings if file is None else {**settings, "file": public(dict(file))}


def initial(file: ModelFile) -> dict[str, Any]:
    """Return which model a training started from."""
    return {"sha256": file.sha256, "scale": file.spec.scale}


def provenance() -> dict[str, str]:
    """Return the versions of what trained, and the day (UTC)."""
    import keras

    backend = keras.backend.backend()
    return {
        "srsat_dask": srsat_dask.__version__,
        "keras": keras.__version__,
        "backend": backend,
        "backend_version": metadata.version(backend),
        "date": datetime.now(UTC).date().isoformat(),
    }


def public(value: Any) -> Any:
    """Return a JSON value with folders, user names and queries taken out of its texts.

    A path keeps its last name, an address loses user, password and query.
    """
    if isinstance(value, dict):
        return {key: public(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [public(item) for item in value]
    if not isinstance(value, str):
        return value
    if "://" in value and not value.startswith("file://"):
        parts = urlsplit(value)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    if value.startswith(("/", "~", "file://")):
        return PurePosixPath(value).name
    if PureWindowsPath(value).is_absolute():
        return PureWindowsPath(value).name
    return value
