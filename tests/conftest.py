"""Fixtures that every package's tests may use."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from distributed import Client
from hypothesis import settings

from srsat_dask.mosaic.grid import TILE, TileRange
from srsat_dask.mosaic.inputs import MosaicScene
from srsat_dask.mosaic.ledger import write_shard
from srsat_dask.mosaic.store import create_scene
from srsat_dask.runtime.clusters import connect
from srsat_dask.sandbox import Sandbox, landscape_scenes

# These machines are shared: a slow moment is no failure.
settings.register_profile("default", deadline=None)

MakeScene = Callable[..., MosaicScene]
MakeModel = Callable[..., Any]


def texture(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Return (3, y, x) of sharp-edged rectangles, which bicubic upsampling blurs."""
    rng = np.random.default_rng(seed)
    image = np.full((3, height, width), 96, np.uint8)
    for _ in range(height * width // 300):
        y, x = rng.integers(height), rng.integers(width)
        dy, dx = rng.integers(4, 40, size=2)
        image[:, y : y + dy, x : x + dx] = rng.integers(20, 236, size=(3, 1, 1))
    return image


@pytest.fixture(scope="session")
def imagery() -> Path:
    """Return the folder of real imagery; skip without it, but fail in CI."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "imagery"
    if not folder.is_dir():
        reason = "the real imagery is not beside this checkout"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator that gives every test the same numbers."""
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def make_model() -> MakeModel:
    """Build an SRCNN whose weights are random and whose output is of the order of 1."""
    from srsat_dask.model import SRCNN

    def make(scale: int = 4, seed: int = 0, **arguments: Any) -> Any:
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
            lineage={"kind": "harvest", "source": "/at/home/picture.tif", "seed": seed},
            shard=shard,
        )
        for _, window in scene.shards():
            part = window.slices
            write_shard(scene, window, image[:, *part] * mask[part], mask[part])
        return MosaicScene(scene.store, scene.name)

    return make


@pytest.fixture
def landscape(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Serve two small scenes of the landscape, and point the environment at them."""
    with Sandbox(landscape_scenes(2, size_m=600), token="let-me-in") as sandbox:
        monkeypatch.setenv("SRSAT_TELLUS_URL", sandbox.url)
        monkeypatch.setenv("SRSAT_TELLUS_TOKEN", "let-me-in")
        yield sandbox


@pytest.fixture
def client() -> Iterator[Client]:
    """Run Dask tasks on threads of this process."""
    with connect("threads") as client:
        yield client
