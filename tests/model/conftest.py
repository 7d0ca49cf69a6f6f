"""A model, shared by the tests of this package."""

from collections.abc import Callable
from typing import Any

import pytest

from srsat_dask.model import ModelFile


@pytest.fixture(scope="session")
def model_file(make_model: Callable[..., Any]) -> ModelFile:
    """Return a ×4 model of the paper's layers."""
    return ModelFile.open(make_model(4, metadata={"trained_on": "nothing", "mean": [0.5, 0.25]}))
