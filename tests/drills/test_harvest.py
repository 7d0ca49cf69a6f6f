"""What goes wrong with a service, a worker, a disk: the harvest ends whole or says what lacks."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import psutil
import pytest
import rasterio
from distributed import Client
from distributed.dashboard.scheduler import applications

from srsat_dask.errors import StoreError
from srsat_dask.mosaic.ledger import done_shards, written_shards
from srsat_dask.mosaic.store import StoreScene, scenes_of
from tests.drills.conftest import Server, srsat, status

pytestmark = [pytest.mark.drill, pytest.mark.timeout(900)]

BOX = ("--bbox", "120", "20", "160", "50")

PAGES = (
    "info/main/workers.html",
    "info/main/logs.html",
    "json/counts.json",
    "metrics",
    "status",
)

FAULTS = {
    "seed": 1,
    "rules": [
        {"match": "^/ASNARO-1/", "probability": 0.10, "status": 503},
        {"match": "^/ASNARO-1/", "probability": 0.05, "status": 429, "retry_after": 1},
        {"match": "^/ASNARO-1/", "probability": 0.03, "truncate": 500},
        {"match": "^/ASNARO-1/", "probability": 0.02, "body": "html"},
        {"match": "^/ASNARO-1/", "probability": 0.02, "reset": True},
        {"match": "^/ASNARO-1/", "probability": 0.01, "stall": 5},
    ],
}


def only_scene(store: Path) -> StoreScene:
    (scene,) = scenes_of(store)
    return scene


def assert_equal_to_raster(store: Path, server: Server) -> None:
    """Compare pixels and mask with the raster's, bit for bit."""
    scene = only_scene(store)
    with rasterio.open(server.raster) as raster:
        np.testing.assert_array_equal(np.asarray(scene.array("image")[:]), raster.read())
    assert np.asarray(scene.array("valid")[:]).all()
    assert done_shards(scene).all()


def harvest(store: Path, *more: str) -> tuple[int, str]:
    """Run ``srsat harvest`` on two worker processes to its end."""
    process = srsat("harvest", str(store), *BOX, "--rate", "0", *more)
    output, _ = process.communicate(timeout=800)
    return process.returncode, output


def test_faulty_service_leaves_no_trace(serve: Callable[..., Server], tmp_path: Path) -> None:
    """Errors, refusals, cut and wrong bodies, resets, stalls: the result is the fault-free one."""
    server = serve(46, FAULTS)
    code, output = harvest(tmp_path / "m.zarr")
    assert code == 0, output
    assert_equal_to_raster(tmp_path / "m.zarr", server)
    fired = server.log()["faults"]
    assert sum(fired.values()) > 2116 * 0.15, fired
    assert "drill-secret" not in output


def test_tiles_that_fail_for_good_are_listed(serve: Callable[..., Server], tmp_path: Path) -> None:
    """Exit status 1, exactly those tiles by name, everything else stored; later they are mended."""
    lost = {(116_000 + 3 * n, 51_000 + 2 * n) for n in range(10)}
    pattern = "|".join(f"/{x}/{y}\\.png" for x, y in sorted(lost))
    server = serve(32, {"rules": [{"match": pattern, "status": 500}]})
    store = tmp_path / "m.zarr"
    code, output = harvest(store)
    assert code == 1
    listed = {
        tuple(int(part) for part in line.split(":")[1].rsplit("/", 2)[1:])
        for line in output.splitlines()
        if line.startswith("failed: ")
    }
    assert listed == lost
    (scene,) = status(store)["scenes"]
    assert scene["tiles"]["stored"] == 32 * 32 - len(lost)
    assert scene["tiles"]["failed"] == scene["to_fetch"] == len(lost)
    assert {tile["reason"] for tile in scene["failed"]} == {"status 500"}
    server.kill()
    mended = serve(32)
    code, output = harvest(store)
    assert code == 0, output
    assert len(mended.tile_counts()) == len(lost)
    assert_equal_to_raster(store, mended)


def wait_for_shards(store: Path, count: int) -> None:
    """Wait until so many shards are written."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            scenes = scenes_of(store)
        except StoreError:
            scenes = []  # the store is being made at this moment
        if scenes and written_shards(scenes[0]).sum() >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"{count} shards were not written in time")


def worker_processes(client: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Return the Dask workers of a running command."""
    return [
        child
        for child in psutil.Process(client.pid).children(recursive=True)
        if "spawn_main" in " ".join(child.cmdline())
    ]


def test_killed_worker_client_and_server_lose_nothing(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    """SIGKILL each in turn; no stored shard is fetched again and the result is whole."""
    server = serve(48, {"rules": [{"match": "^/ASNARO-1/", "latency": 0.05}]})
    store = tmp_path / "m.zarr"

    running = srsat("harvest", str(store), *BOX, "--rate", "0", "--concurrency", "8")
    wait_for_shards(store, 3)
    worker_processes(running)[0].kill()
    wait_for_shards(store, 8)
    children = psutil.Process(running.pid).children(recursive=True)
    running.kill()
    running.communicate()
    for child in children:
        if child.is_running():
            child.kill()
    psutil.wait_procs(children, timeout=20)

    done = written_shards(only_scene(store))
    before = server.tile_counts()
    running = srsat("harvest", str(store), *BOX, "--rate", "0", "--concurrency", "8")
    wait_for_shards(store, int(done.sum()) + 4)
    again = server.tile_counts()
    for path, count in again.items():
        x, y = (int(part) for part in path.removesuffix(".png").rsplit("/", 2)[1:])
        if done[(y - 51_000) // 8, (x - 116_000) // 8]:
            assert count == before[path], f"{path} of a stored shard was fetched again"
    server.kill()
    output, _ = running.communicate(timeout=400)
    assert running.returncode == 2, output
    assert "run it again when the service is back" in output

    done = written_shards(only_scene(store))
    server.start()
    code, output = harvest(store)
    assert code == 0, output
    assert_equal_to_raster(store, server)
    fetched = server.tile_counts()
    assert len(fetched) == int((~done).sum()) * 64


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_full_disk_is_said_and_survived(serve: Callable[..., Server], tmp_path: Path) -> None:
    """A disk that fills up ends in one clear line; with room again the harvest completes."""
    server = serve(24)
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], check=True)
    try:
        code, output = harvest(disk / "m.zarr")
        assert code == 1, output
        assert "No space left on device" in output
        assert "Traceback" not in output.rpartition("srsat: error")[2]
        subprocess.run(["mount", "-o", "remount,size=200m", disk], check=True)
        code, output = harvest(disk / "m.zarr")
        assert code == 0, output
        shutil.copytree(disk / "m.zarr", tmp_path / "m.zarr")
    finally:
        subprocess.run(["umount", disk], check=True)
    assert_equal_to_raster(tmp_path / "m.zarr", server)


def test_interrupted_harvest_says_how_to_go_on(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    """Ctrl-C ends it within seconds; the same command completes it."""
    server = serve(32, {"rules": [{"match": "^/ASNARO-1/", "latency": 0.05}]})
    store = tmp_path / "m.zarr"
    running = srsat("harvest", str(store), *BOX, "--concurrency", "8", "--rate", "0")
    wait_for_shards(store, 2)
    running.send_signal(signal.SIGINT)
    output, _ = running.communicate(timeout=60)
    assert running.returncode == 130, output
    assert "the same command again goes on from here" in output
    assert harvest(store)[0] == 0
    assert_equal_to_raster(store, server)


def told_by_cluster(dashboard: str, folder: Path) -> str:
    """Return all that a running cluster tells: pages, state, graph, logs and events."""
    import requests

    def get(page: str) -> str:
        return requests.get(f"{dashboard}/{page.lstrip('/')}", timeout=30).text

    def graph(dask_scheduler: Any) -> list[str]:
        from distributed.protocol.pickle import dumps

        return [str(dumps(task.run_spec)) for task in dask_scheduler.tasks.values()]

    identity = json.loads(get("json/identity.json"))
    told = [get(page) for page in (*PAGES, "srsat", *applications)]
    told += [get(f"info/worker/{quote(worker)}.html") for worker in identity["workers"]]
    told += [get(f"info/logs/{quote(worker)}.html") for worker in identity["workers"]]
    with Client(identity["address"], set_as_default=False) as watcher:
        watcher.dump_cluster_state(str(folder / "state"), format="yaml", write_from_scheduler=False)
        specs = watcher.run_on_scheduler(graph)
        assert any("ShardPlan" in spec for spec in specs), "the tasks were seen"
        told += specs
        told += [str(watcher.get_scheduler_logs()), str(watcher.get_worker_logs())]
        told.append(str(watcher.get_events()))
    told.append((folder / "state.yaml").read_text())
    return "".join(told)


def test_token_shows_nowhere(serve: Callable[..., Server], tmp_path: Path) -> None:
    """Not in the graph, the scheduler's state, logs, pages, store or errors."""
    rules = [
        {"match": "^/ASNARO-1/", "latency": 0.2},
        {"match": "/116003/51002\\.png", "status": 500},
        {"match": "^/ASNARO-1/", "every": 50, "reset": True},
    ]
    serve(24, {"rules": rules})
    store = tmp_path / "m.zarr"
    running = srsat("harvest", str(store), *BOX, "--concurrency", "4", "--rate", "0")
    wait_for_shards(store, 1)
    assert running.stdout is not None
    lines = []
    while not lines or "dashboard" not in lines[-1]:
        lines.append(running.stdout.readline())
    told = told_by_cluster(lines[-1].split()[-1].rsplit("/", 1)[0], tmp_path)
    rest, _ = running.communicate(timeout=300)
    assert running.returncode == 1, rest
    assert "status 500" in rest
    kept = b"".join(path.read_bytes() for path in store.rglob("*") if path.is_file())
    assert "drill-secret" not in "".join(lines) + rest + told
    assert b"drill-secret" not in kept
    assert json.dumps(status(store)).count("drill-secret") == 0


def test_token_that_expires_ends_the_run_unnamed(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    """A refusal half way stops at once, tells no token, and leaves the store to be taken up."""
    server = serve(24, {"expire_token_after": 150, "rules": []})
    code, output = harvest(tmp_path / "m.zarr")
    assert code == 2, output
    assert "refused the token" in output
    assert "drill-secret" not in output
    assert not done_shards(only_scene(tmp_path / "m.zarr")).all()
    server.kill()
    again = serve(24)
    assert harvest(tmp_path / "m.zarr")[0] == 0
    assert_equal_to_raster(tmp_path / "m.zarr", again)
