"""SIGKILL of workers and of the whole command, at random times: not one bit of the result moves."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import rasterio
from rasterio.transform import from_origin

from srsat_dask.model.file import save_model
from srsat_dask.mosaic.ledger import torn_shards
from srsat_dask.mosaic.store import StoreScene, scenes_of
from tests.drills.conftest import srsat
from tests.drills.test_harvest import wait_for_shards, worker_processes

pytestmark = [pytest.mark.drill, pytest.mark.timeout(900)]

ROUNDS = 10


def upscale(folder: Path, output: str, **options: Any) -> "subprocess.Popen[str]":
    """Start ``srsat upscale`` with small shards on the worker processes of this machine."""
    return srsat(
        "upscale",
        str(folder / "in.tif"),
        str(folder / output),
        "--model",
        str(folder / "m.keras"),
        "--shard",
        "512",
        **options,
    )


def finish(running: "subprocess.Popen[str]") -> None:
    """Wait for its end, which must be a good one."""
    said, _ = running.communicate(timeout=300)
    assert running.returncode == 0, said


def kill_all(running: "subprocess.Popen[str]") -> None:
    """End the command and its workers at once."""
    children = psutil.Process(running.pid).children(recursive=True)
    running.kill()
    said, _ = running.communicate()
    sys.stderr.write(said)  # what a failed round shows
    for child in children:
        if child.is_running():
            child.kill()
    psutil.wait_procs(children, timeout=20)


def contents(scene: StoreScene) -> dict[str, np.ndarray]:
    """Return pixels, mask and ledger."""
    names = ("image", "valid", "tile_state", "shard_digest", "input_digest")
    return {name: np.asarray(scene.array(name)[:]) for name in names}


def test_killed_at_random_times_it_ends_as_if_undisturbed(
    make_model: Callable[..., Any], tmp_path: Path
) -> None:
    """Ten rounds: a worker dies, then all of it, twice; taken up again, every bit is the same."""
    rng = np.random.default_rng(0)
    with rasterio.open(
        tmp_path / "in.tif", "w", driver="GTiff", count=3, height=1200, width=1300, dtype="uint8",
        crs="EPSG:32654", transform=from_origin(4e5, 4e6, 1, 1), tiled=True,
    ) as raster:  # fmt: skip
        raster.write(rng.integers(0, 256, (3, 1200, 1300), dtype=np.uint8))
    save_model(make_model(2, filters=(16, 8)), tmp_path / "m.keras")
    finish(upscale(tmp_path, "whole.zarr"))
    (whole,) = scenes_of(tmp_path / "whole.zarr")
    expected = contents(whole)
    count = expected["shard_digest"].shape[0] * expected["shard_digest"].shape[1]
    dice = np.random.default_rng(1)
    for _ in range(ROUNDS):
        store = tmp_path / "sr.zarr"
        for kills in range(2):
            running = upscale(tmp_path, "sr.zarr")
            try:
                wait_for_shards(store, 1 + kills * (count // 2))
                time.sleep(dice.uniform(0, 0.3))
                for worker in worker_processes(running)[:1]:
                    worker.kill()
                time.sleep(dice.uniform(0, 0.5))
            finally:
                kill_all(running)
        finish(upscale(tmp_path, "sr.zarr"))
        (scene,) = scenes_of(store)
        for name, values in contents(scene).items():
            np.testing.assert_array_equal(values, expected[name], err_msg=name)
        assert torn_shards(scene) == []
        shutil.rmtree(store)


def test_other_weights_after_a_kill_are_refused(
    make_model: Callable[..., Any], tmp_path: Path
) -> None:
    """What one model left half done, another does not go on with."""
    with rasterio.open(
        tmp_path / "in.tif", "w", driver="GTiff", count=3, height=1200, width=1300, dtype="uint8",
        crs="EPSG:32654", transform=from_origin(4e5, 4e6, 1, 1),
    ) as raster:  # fmt: skip
        raster.write(np.random.default_rng(0).integers(0, 256, (3, 1200, 1300), dtype=np.uint8))
    save_model(make_model(2, filters=(16, 8)), tmp_path / "m.keras")
    running = upscale(tmp_path, "sr.zarr")
    wait_for_shards(tmp_path / "sr.zarr", 2)
    kill_all(running)
    before = contents(scenes_of(tmp_path / "sr.zarr")[0])
    save_model(make_model(2, seed=1, filters=(16, 8)), tmp_path / "m.keras")
    running = upscale(tmp_path, "sr.zarr")
    said, _ = running.communicate(timeout=100)
    assert running.returncode == 2
    assert "model was" in said
    for name, values in contents(scenes_of(tmp_path / "sr.zarr")[0]).items():
        np.testing.assert_array_equal(values, before[name], err_msg=name)
