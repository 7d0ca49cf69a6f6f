"""Random models, shared by the tests of this package."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from srsat_dask.model import ModelFile

# numpy 2 tells Keras' TensorFlow backend that tf.Variable.__array__ takes no `copy`.
KERAS_COPY = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let Keras' own deprecated call pass; every other warning stays an error."""
    for item in items:
        if "tests/model" in item.path.as_posix():
            item.add_marker(pytest.mark.filterwarnings(KERAS_COPY))


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Any]:
    """Build an SRCNN whose weights are random and whose output is of the order of 1."""
    import keras

    from srsat_dask.model import SRCNN

    def make(scale: int = 4, seed: int = 0, **arguments: Any) -> keras.Model:
        model = SRCNN(scale, **arguments)
        rng = np.random.default_rng(seed)
        model.set_weights(
            [
                rng.normal(0, np.sqrt(2 / np.prod(array.shape[:-1])), array.shape)
                if array.ndim > 1
                else rng.normal(0, 0.1, array.shape)
                for array in model.get_weights()
            ]
        )
        return model

    return make


@pytest.fixture(scope="session")
def model_file(make_model: Callable[..., Any]) -> ModelFile:
    """Return a ×4 model of the paper's layers."""
    return ModelFile.open(make_model(4, metadata={"trained_on": "nothing", "mean": [0.5, 0.25]}))


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator that gives every test the same numbers."""
    return np.random.default_rng(7)
