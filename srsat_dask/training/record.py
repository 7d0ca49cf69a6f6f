"""What a model's file and history say of how it was made: no folder, no secret, only names."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np

import srsat_dask
from srsat_dask.mosaic.inputs import MosaicScene
from srsat_dask.mosaic.split import HeldOut, has_pixels
from srsat_dask.training.patches import PatchShape
from srsat_dask.training.presets import Preset


def training_data(scenes: Sequence[tuple[MosaicScene, HeldOut]]) -> list[dict[str, Any]]:
    """Return which scenes were trained on and how each was split.

    Evaluation compares ``fingerprint``, and chooses the same tiles again from ``split``.

    Parameters
    ----------
    scenes : sequence of (MosaicScene, HeldOut)
        The scenes and what was held out of them.

    Returns
    -------
    list of dict
        ``scene``, ``fingerprint`` (SHA-256), ``lineage`` without folders, and ``split`` with
        ``seed``, ``fraction``, ``tiles`` with pixels and how many were ``held_out``.
    """
    entries = []
    for scene, held in scenes:
        present = has_pixels(np.asarray(scene.array("tile_state")[:]))
        entries.append(
            {
                "scene": scene.name,
                "fingerprint": scene.fingerprint(),
                "lineage": public(scene.lineage),
                "split": {
                    "seed": held.seed,
                    "fraction": held.fraction,
                    "tiles": int(present.sum()),
                    "held_out": int((present & held.tiles).sum()),
                },
            }
        )
    return entries


def degradation(shape: PatchShape) -> dict[str, Any]:
    """Return how inputs were made from targets."""
    return {
        **shape.degradation.record(),
        "scale": shape.scale,
        "contrast_stretch": shape.contrast_stretch,
    }


def recipe(name: str, preset: Preset, shape: PatchShape, seed: int, steps: int) -> dict[str, Any]:
    """Return the settings of a training run and how many steps it did."""
    return {
        "preset": name,
        **asdict(preset),
        "size": shape.size,
        "loss": "mean squared error",
        "optimizer": "Adam",
        "seed": seed,
        "steps": steps,
    }


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
