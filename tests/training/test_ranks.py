"""Several ranks: the very steps of one, and a clear end when one is lost."""

import io
import json
import threading
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest
from distributed import Client, LocalCluster

from srsat_dask.errors import InputError, TrainingError
from srsat_dask.training import feed, fit, train
from srsat_dask.training.checkpoint import checkpoint_path
from srsat_dask.training.patches import Patches
from srsat_dask.training.presets import PRESETS
from srsat_dask.training.ranks import started_ranks

QUICK = replace(
    PRESETS["default"],
    size=32,
    validation_size=64,
    batch=5,
    steps_per_epoch=40,
    filters=(4,),
    kernels=(3, 3),
)


@pytest.fixture(scope="module")
def workers():
    """Start two worker processes."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def random_batch(rng, patches, side):
    """Return patches of noise, half of whose pixels are missing."""
    return Patches(
        rng.integers(0, 256, (patches, side, side, 3), np.uint8),
        rng.integers(0, 256, (patches, 32, 32, 3), np.uint8),
        rng.integers(0, 2, (patches, 32, 32), np.uint8),
    )


@pytest.mark.parametrize(("optimizer", "pooled"), [("adam", False), ("sgd", True)])
def test_two_ranks_take_the_steps_of_one(workers, rng, optimizer, pooled):
    """Losses, PSNR, weights and optimizer over 20 steps; shares of 3 and 2, pixels missing."""
    from srsat_dask.model.network import SRCNN
    from srsat_dask.training import objective

    preset = replace(QUICK, optimizer=optimizer, pooled_psnr=pooled)
    srcnn = SRCNN(scale=4, filters=(4,), kernels=(3, 3))
    srcnn.set_weights([rng.normal(0, 0.1, array.shape) for array in srcnn.get_weights()])
    batches = [random_batch(rng, 5, 8 + 2 * srcnn.spec.halo) for _ in range(20)]
    alone = objective.KerasTrainer(srcnn, preset, batches[:2])
    first = alone.state()
    expected = [alone.step(batch, 1e-3) for batch in batches]
    with started_ranks(workers, 2) as several:
        several.start(srcnn.spec.config(), preset, batches[:2], first.weights)
        found = [several.step(batch, 1e-3) for batch in batches]
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        np.testing.assert_allclose(several.validate(), alone.validate(), rtol=1e-5)
        one, two = ((*each.weights, *each.optimizer) for each in (alone.state(), several.state()))
        for array, other in zip(one, two, strict=True):
            np.testing.assert_allclose(array, other, rtol=0, atol=1e-5)
        several.restore(first)
        np.testing.assert_allclose(several.step(batches[0], 1e-3), expected[0], rtol=1e-5)
        assert len(set(several.pids)) == 2
        assert len(set(several.workers)) == 2
    assert not any(map(psutil.pid_exists, several.pids))


def processes():
    """Return the ranks below this process."""
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if "srsat_dask.training.rank" in child.cmdline()
    ]


def test_a_killed_rank_ends_the_training_which_goes_on(workers, make_scene, tmp_path, monkeypatch):
    """SIGKILL of one: the error names it within seconds, nothing stays, one rank goes on."""
    monkeypatch.setattr(feed, "POOL_PIXELS", 2**15)
    monkeypatch.setitem(PRESETS, "quick", QUICK)
    path = tmp_path / "out.keras"
    options = {"preset": "quick", "model_path": path, "progress": False}
    options |= {"epochs": 20, "checkpoint_minutes": 0.002}
    scene = make_scene()
    killed = []

    def kill():
        while not checkpoint_path(path).exists():
            time.sleep(0.02)
        found = processes()
        killed.append((found[-1].pid, len(found), time.monotonic()))
        found[-1].kill()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with pytest.raises(TrainingError, match=r"rank \d of 2 .* was killed by signal 9") as raised:
        train(scene.store, ranks=2, **options)
    ended = time.monotonic()
    killer.join()
    pid, number, at = killed[0]
    assert ended - at < 10
    assert number == 2
    assert f"(process {pid} on" in str(raised.value)
    assert raised.value.exit_status == 1
    assert processes() == []
    before = checkpoint_path(path).read_bytes()
    steps = []
    monkeypatch.setattr(fit, "cosine", lambda *_: steps.append(1) or 1e-3)
    with np.load(io.BytesIO(before)) as kept:
        done = json.loads(str(kept["document"]))["run"]["step"]
    train(scene.store, **options)
    assert 0 < done < 800
    assert len(steps) == 800 - done
    assert not checkpoint_path(path).exists()


@pytest.mark.parametrize("ranks", [0, 5, -1])
def test_a_batch_must_reach_all_ranks(tmp_path, ranks):
    """Said before anything is read."""
    with pytest.raises(InputError, match=rf"ranks {ranks} must be from 1 to .* batch, 4"):
        train(tmp_path, ranks=ranks)
