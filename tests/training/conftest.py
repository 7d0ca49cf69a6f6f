"""Synthetic mosaics, shared by the tests of this package."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from srsat_dask.mosaic import ledger
from srsat_dask.mosaic.grid import TILE, TileRange
from srsat_dask.mosaic.inputs import MosaicScene
from srsat_dask.mosaic.store import create_scene

# numpy 2 tells Keras' TensorFlow backend that tf.Variable.__array__ takes no `copy`.
KERAS_COPY = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"

MakeScene = Callable[..., MosaicScene]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let Keras' own deprecated call pass; every other warning stays an error."""
    for item in items:
        if "tests/training" in item.path.as_posix():
            item.add_marker(pytest.mark.filterwarnings(KERAS_COPY))


def texture(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Return (3, y, x) of sharp-edged rectangles, which bicubic upsampling blurs."""
    rng = np.random.default_rng(seed)
    image = np.full((3, height, width), 96, np.uint8)
    for _ in range(height * width // 300):
        y, x = rng.integers(height), rng.integers(width)
        dy, dx = rng.integers(4, 40, size=2)
        image[:, y : y + dy, x : x + dx] = rng.integers(20, 236, size=(3, 1, 1))
    return image


@pytest.fixture
def make_scene(tmp_path: Path) -> MakeScene:
    """Write a scene of whole tiles into a store, with some pixels missing if asked for."""

    def make(
        name: str = "scene",
        rows: int = 3,
        columns: int = 4,
        *,
        store: str = "mosaic.zarr",
        shard: int = 512,
        image: npt.NDArray[np.uint8] | None = None,
        valid: npt.NDArray[np.bool_] | None = None,
        seed: int = 0,
    ) -> MosaicScene:
        height, width = rows * TILE, columns * TILE
        georeference = TileRange(17, 96670, 55058, 96670 + columns, 55058 + rows).georeference
        image = texture(height, width, seed) if image is None else image
        mask = np.ones((height, width), np.uint8) if valid is None else valid.astype(np.uint8)
        scene = create_scene(
            tmp_path / store,
            name,
            georeference=georeference,
            lineage={"source": "/somewhere/at/home/picture.tif", "seed": seed},
            shard=shard,
        )
        for _, window in scene.shards():
            rows_, columns_ = window.slices
            ledger.write_shard(scene, window, image[:, rows_, columns_], mask[rows_, columns_])
        return MosaicScene(scene.store, scene.name)

    return make


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator that gives every test the same numbers."""
    return np.random.default_rng(7)
