"""Workers die every few seconds during an upscaling, and nothing shows in the result."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import srsat_dask as srsat
from srsat_dask.mosaic.inputs import MosaicScene
from srsat_dask.runtime.clusters import connect
from tests.cluster.conftest import assert_equal_stores

pytestmark = [pytest.mark.drill, pytest.mark.timeout(600)]


def test_upscale_outlives_its_workers(
    make_scene: Callable[..., MosaicScene], make_model: Any, tmp_path: Path
) -> None:
    """Two workers under a nanny, one killed every four seconds: it ends, equal."""
    from srsat_dask.model.file import save_model

    scene = make_scene(rows=8, columns=12)
    model = tmp_path / "m.keras"
    save_model(make_model(4, filters=(64, 32), kernels=(9, 1, 5)), model)
    profile = tmp_path / "two.yaml"
    profile.write_text(
        "cluster: local\noptions: {n_workers: 2, threads_per_worker: 1}\n"
        "config: {distributed.scheduler.allowed-failures: 50}\n"
    )
    over = threading.Event()
    killed = 0
    with connect(profile):

        def kill() -> None:
            nonlocal killed
            while not over.wait(4):
                workers = [
                    process
                    for process in psutil.Process().children(recursive=True)
                    if "spawn_main" in " ".join(process.cmdline())
                ]
                if workers:
                    workers[killed % len(workers)].kill()
                    killed += 1

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            srsat.upscale_store(scene.store, tmp_path / "sr.zarr", model, progress=False)
        finally:
            over.set()
            killer.join()
    assert killed >= 2
    with connect("threads"):
        srsat.upscale_store(scene.store, tmp_path / "sr2.zarr", model, progress=False)
    assert_equal_stores(tmp_path / "sr.zarr", tmp_path / "sr2.zarr")
