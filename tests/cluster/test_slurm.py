"""Harvest, train and upscale through real SLURM jobs, one of which is cancelled under way."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import srsat_dask as srsat
from srsat_dask.mosaic.inputs import MosaicScene
from srsat_dask.runtime.clusters import connect
from tests.cluster.conftest import assert_equal_stores, jobs

pytestmark = [pytest.mark.drill, pytest.mark.timeout(600)]

MakeScene = Callable[..., MosaicScene]


@pytest.fixture
def profile(slurm: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write a profile like ``cluster/slurm.yaml``, of jobs with one worker on one core."""

    def write(scale: int = 2, extra: list[str] | None = None, **options: Any) -> Path:
        path = tmp_path / "slurm.yaml"
        path.write_text(
            yaml.safe_dump(
                {
                    "cluster": "slurm",
                    "options": {
                        "cores": 1,
                        "memory": "2GiB",
                        "walltime": "00:10:00",
                        "interface": "lo",
                        "python": sys.executable,
                        "local_directory": str(tmp_path / "scratch"),
                        "log_directory": str(tmp_path / "logs"),
                        "worker_extra_args": extra or [],
                        "scheduler_options": {"dashboard_address": "127.0.0.1:0"},
                        **options,
                    },
                    "scale": scale,
                    "config": {"distributed.scheduler.allowed-failures": 10},
                }
            )
        )
        return path

    return write


def test_pipeline_through_jobs_equals_the_local_one(
    profile: Callable[..., Path], landscape: Any, tmp_path: Path
) -> None:
    """Tiles, weights' training and pixels: the same from jobs as from threads, bit for bit."""
    scenes = srsat.search(bbox=(138.0, 35.2, 140.5, 37.1))
    with connect("threads"):
        srsat.harvest(scenes, tmp_path / "local.zarr", zoom=17, progress=False)
    with connect(profile(scale=1)):
        assert jobs()
        srsat.harvest(scenes, tmp_path / "slurm.zarr", zoom=17, progress=False)
        assert_equal_stores(tmp_path / "local.zarr", tmp_path / "slurm.zarr")
        model = tmp_path / "m.keras"
        srsat.train(
            tmp_path / "slurm.zarr", scale=2, minutes=0.05, filters=(4,), kernels=(5, 3),
            model_path=model, progress=False,
        )  # fmt: skip
        srsat.upscale_store(tmp_path / "slurm.zarr", tmp_path / "sr.zarr", model, progress=False)
    with connect("threads"):
        srsat.upscale_store(tmp_path / "local.zarr", tmp_path / "sr2.zarr", model, progress=False)
    assert_equal_stores(tmp_path / "sr.zarr", tmp_path / "sr2.zarr")


def test_cancelled_job_and_lifetime_lose_nothing(
    profile: Callable[..., Path], make_scene: MakeScene, make_model: Any, tmp_path: Path
) -> None:
    """One job is cancelled and workers leave at their lifetime; the result is the local one."""
    from srsat_dask.model.file import save_model

    scene = make_scene(rows=6, columns=8)
    model = tmp_path / "m.keras"
    save_model(make_model(2, filters=(32, 16), kernels=(9, 1, 5)), model)
    lifetime = ["--lifetime", "25s", "--lifetime-restart"]
    with connect(profile(scale=2, extra=lifetime)) as client:
        client.wait_for_workers(2, timeout=120)
        cancelled: list[str] = []

        def cancel() -> None:
            time.sleep(3)
            cancelled.extend(jobs()[:1])
            subprocess.run(["scancel", *cancelled], check=True)

        cancelling = threading.Thread(target=cancel)
        cancelling.start()
        srsat.upscale_store(scene.store, tmp_path / "sr.zarr", model, shard=512, progress=False)
        cancelling.join()
        assert cancelled
    with connect("threads"):
        srsat.upscale_store(scene.store, tmp_path / "sr2.zarr", model, shard=512, progress=False)
    assert_equal_stores(tmp_path / "sr.zarr", tmp_path / "sr2.zarr")
