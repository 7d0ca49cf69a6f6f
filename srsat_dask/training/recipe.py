"""Recipes: YAML files that hold what ``srsat train`` is told, to be committed beside a model.

A key is an option's name without its dashes, so everything that the command takes can be
written::

    inputs: [imagery/ucmerced, imagery/town.tif]
    model: town-x4.keras
    scale: 4
    epochs: 60
    steps-per-epoch: 200
    filters: [64, 32]
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from srsat_dask.errors import InputError
from srsat_dask.training.presets import near

PATHS = ("inputs", "model", "init", "tensorboard")
"""Keys whose values are paths, relative to the recipe."""


def read_recipe(path: str | Path, known: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a recipe.

    Parameters
    ----------
    path : str or Path
        A YAML file.
    known : sequence of str
        The keys that it may hold, with underscores; dashes are the same.

    Returns
    -------
    document : dict
        What stands in it.
    values : dict
        Values by key with underscores; paths are made relative to the working directory.

    Raises
    ------
    InputError
        Not readable, no mapping, or an unknown key; the message says the nearest one.
    """
    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"recipe {path} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise InputError(f"recipe {path} must be a mapping of options, such as 'scale: 4'")
    values: dict[str, Any] = {}
    for key, value in document.items():
        name = str(key).replace("-", "_")
        if name not in known:
            raise InputError(f"recipe {path}: {key!r} is unknown{near(name, list(known))}")
        values[name] = _beside(path, value) if name in PATHS else value
    return document, values


def _beside(path: str | Path, value: Any) -> Any:
    if isinstance(value, list):
        return [_beside(path, item) for item in value]
    if not isinstance(value, str):
        raise InputError(f"recipe {path}: {value!r} is no path")
    place = Path(path).parent / value
    # A bundled model's name is no path.
    return str(place) if place.exists() or len(Path(value).parts) > 1 or place.suffix else value
