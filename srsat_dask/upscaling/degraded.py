"""The degradation that a model's training recorded, without its noise."""

from dataclasses import replace
from typing import Any

import numpy as np

from srsat_dask.errors import InputError
from srsat_dask.model.degradation import Degradation
from srsat_dask.model.file import ModelFile


def degradation_of(model: ModelFile) -> Degradation:
    """Return how the model's training images were made coarse, apart from noise."""
    return replace(Degradation.recorded(model.spec.metadata), noise=0.0)


def degradation_reach(model: ModelFile) -> int:
    """Return how many input pixels beyond its own a degraded pixel depends on."""
    return -(-degradation_of(model).margin(model.spec.scale) // model.spec.scale)


def check_degradation(model: ModelFile, dtype: np.dtype[Any]) -> None:
    """Refuse an image that cannot be degraded again.

    Raises
    ------
    InputError
        Not 8 bits.
    ModelError
        The model records a degradation that is not known here.
    """
    if dtype != np.uint8:
        raise InputError(f"a consistency layer is made of uint8, not of {dtype}: leave it out")
    degradation_of(model)
