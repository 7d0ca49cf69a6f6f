"""Checkpoints: whole, safe, of one training only, and good to go on from after a kill."""

import csv
import json
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from srsat_dask.errors import InputError, TrainingError
from srsat_dask.training import feed, train
from srsat_dask.training.checkpoint import checkpoint_path, read_checkpoint, write_checkpoint
from srsat_dask.training.fit import Epoch, Mean, Run, State
from srsat_dask.training.patches import Place
from srsat_dask.training.presets import PRESETS

SETTINGS = {"scale": 4, "recipe": {"batch": 4, "size": 64}, "data": [{"scene": "a"}]}
QUICK = replace(
    PRESETS["default"],
    size=32,
    validation_size=64,
    steps_per_epoch=40,
    filters=(4,),
    kernels=(3, 3),
)


def a_run(rng):
    state = State(
        [rng.random((3, 4), np.float32), rng.random(2, np.float32)], [np.array(7), np.array(1e-3)]
    )
    epochs = [Epoch(5, 0.1, 20.0, 0.2, 21.5, 1e-3, 4.25)]
    run = Run(7, 6.5, 0.5, 9e-4, Place(3, 2), Mean(0.1, 40.0, 8, 2), epochs, [state.weights[0]])
    return run, state


def test_a_checkpoint_comes_back_as_it_was(tmp_path, rng):
    """Every number, its dtype and its place; another one takes the place of the first."""
    path = checkpoint_path(tmp_path / "out.keras")
    run, state = a_run(rng)
    assert read_checkpoint(path, SETTINGS) is None
    write_checkpoint(path, SETTINGS, replace(run, step=6), state)
    write_checkpoint(path, SETTINGS, run, state)
    found, learned = read_checkpoint(path, SETTINGS)
    np.testing.assert_array_equal(found.best[0], run.best[0])
    assert replace(found, best=[]) == replace(run, best=[])
    arrays = [(*each.weights, *each.optimizer) for each in (learned, state)]
    for one, two in zip(*arrays, strict=True):
        np.testing.assert_array_equal(one, two)
        assert one.dtype == two.dtype
    assert [file.name for file in tmp_path.iterdir()] == ["out.checkpoint"]


def test_weights_that_are_no_numbers_are_not_kept(tmp_path, rng):
    """The last good state stays where it is."""
    path = tmp_path / "out.checkpoint"
    run, state = a_run(rng)
    write_checkpoint(path, SETTINGS, run, state)
    before = path.read_bytes()
    state.weights[0][1, 2] = np.nan
    write_checkpoint(path, SETTINGS, replace(run, step=8), state)
    assert path.read_bytes() == before


def test_other_settings_are_named(tmp_path, rng):
    """What differs is told with both values and the remedy."""
    path = tmp_path / "out.checkpoint"
    write_checkpoint(path, SETTINGS, *a_run(rng))
    other = {**SETTINGS, "recipe": {"batch": 8, "size": 64}, "data": [{"scene": "b"}]}
    said = 'recipe.batch 4 there, 8 here; data.0.scene "a" there, "b" here: give'
    with pytest.raises(InputError, match=re.escape(said) + ".*--fresh"):
        read_checkpoint(path, other)


@pytest.mark.parametrize("damage", ["cut", "pickle", "empty", "other"])
def test_a_damaged_checkpoint_is_refused_and_nothing_in_it_runs(tmp_path, rng, damage):
    """Cut short, a pickle, nothing, or another archive: one line that says how to start over."""
    path = tmp_path / "out.checkpoint"
    write_checkpoint(path, SETTINGS, *a_run(rng))
    whole = path.read_bytes()
    if damage == "other":
        np.savez(path.with_suffix(".npz"), a=np.zeros(3))
        whole = path.with_suffix(".npz").read_bytes()
    content = {
        "cut": whole[: len(whole) // 2],
        "pickle": pickle.dumps({"document": 1}),
        "empty": b"",
        "other": whole,
    }[damage]
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read.*--fresh"):
        read_checkpoint(path, SETTINGS)


@pytest.fixture
def quick(monkeypatch):
    """Add a preset of short epochs of a tiny network, and draw few patches at a time."""
    monkeypatch.setattr(feed, "POOL_PIXELS", 2**15)
    monkeypatch.setitem(PRESETS, "quick", QUICK)


CHILD = """
import sys
from dataclasses import replace
from srsat_dask.training import feed, train
from srsat_dask.training.presets import PRESETS
from tests.training.test_checkpoint import QUICK
feed.POOL_PIXELS = 2**15
PRESETS["quick"] = QUICK
store, model = sys.argv[1:]
train(store, preset="quick", epochs=4, model_path=model, checkpoint_minutes=0.002)
"""


def killed(scene, path, tmp_path):
    """Train in a process that is killed at a random moment after its first checkpoint."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(scene.store), str(path)],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    checkpoint = checkpoint_path(path)
    deadline = time.monotonic() + 120
    while not checkpoint.exists():
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(random.Random().uniform(0, 0.3))  # noqa: S311
    child.send_signal(signal.SIGKILL)
    child.wait()


def test_a_killed_training_goes_on_to_the_same_losses(make_scene, tmp_path, quick):
    """SIGKILL at a random moment; the same call then gives the uninterrupted run's curve."""
    scene = make_scene()
    options = {"preset": "quick", "epochs": 4, "progress": False}
    path = tmp_path / "killed.keras"
    killed(scene, path, tmp_path)
    if not path.exists():  # else it was quicker than the kill
        with pytest.raises(InputError, match=r"recipe.seed 0 there, 1 here"):
            train(scene.store, model_path=path, seed=1, **options)
        train(scene.store, model_path=path, checkpoint_minutes=0.002, **options)
    assert not checkpoint_path(path).exists()
    train(scene.store, model_path=tmp_path / "whole.keras", **options)
    one, two = (
        json.loads((tmp_path / f"{name}.history.json").read_text()) for name in ("killed", "whole")
    )
    assert len(one["epochs"]) == len(two["epochs"]) == 4
    for epoch, expected in zip(one["epochs"], two["epochs"], strict=True):
        for name in ("steps", "loss", "psnr", "val_loss", "val_psnr", "learning_rate"):
            assert epoch[name] == pytest.approx(expected[name], rel=1e-6)
    with (tmp_path / "killed.history.csv").open() as rows:
        assert [int(row["steps"]) for row in csv.DictReader(rows)] == [40, 80, 120, 160]


def test_an_interrupted_training_starts_over_when_asked(make_scene, tmp_path, quick, monkeypatch):
    """A broken loss leaves a checkpoint; ``fresh`` takes no notice of it and takes it away."""
    from srsat_dask.training.objective import KerasTrainer

    scene = make_scene()
    path = tmp_path / "out.keras"
    options = {"preset": "quick", "epochs": 2, "progress": False, "model_path": path}
    step = KerasTrainer.step

    def broken(self, patches, rate):
        self.count = getattr(self, "count", 0) + 1
        found = step(self, patches, rate)
        return found._replace(loss=np.nan) if self.count == 45 else found

    with monkeypatch.context() as patched:
        patched.setattr(KerasTrainer, "step", broken)
        with pytest.raises(TrainingError, match=r"step 45, batch \d+ of pool \d+ .* of scene:"):
            train(scene.store, **options)
    with pytest.raises(InputError, match=r"recipe\.seed"):
        train(scene.store, seed=2, **options)
    assert checkpoint_path(path).exists()
    train(scene.store, seed=2, fresh=True, patience=5, **options)
    assert not checkpoint_path(path).exists()
    history = json.loads((tmp_path / "out.history.json").read_text())
    assert [epoch["steps"] for epoch in history["epochs"]] == [40, 80]
