"""Sweeps: what is planned, who goes on, what is told, and going on after a cut."""

import json

import pytest
from PIL import Image

from srsat_dask.errors import InputError, SrsatError
from srsat_dask.runtime.clusters import connect
from srsat_dask.training import sweep as module
from srsat_dask.training.sweep import lengths, plan_trials, sweep
from srsat_dask.training.trial import run_trial

GRID = {"filters": [[8], [4], [16], [2]], "kernels": [[5, 3]]}


class Trials:
    """Trainings that take no time: wider networks gain more, and each is remembered."""

    def __init__(self, broken=()):
        self.arguments = []
        self.broken = broken

    def __call__(self, arguments, threads):
        """Train, in a manner of speaking."""
        width = arguments["filters"][0]
        self.arguments.append(arguments)
        if width in self.broken:
            return {"error": "the loss is nan"}
        gain = width / 100
        timing = {"seconds": 1.0}
        return {"bicubic_val_psnr": 25.0, "best_val_psnr": 25.0 + gain, "timing": timing}


@pytest.fixture
def trials(monkeypatch):
    """Put trainings that take no time in place of the real ones."""
    made = Trials()
    monkeypatch.setattr(module, "run_trial", made)
    monkeypatch.setattr(module, "_speed", lambda _model: 2.5)
    return made


def run(tmp_path, **options):
    with connect("threads"):
        return sweep(GRID, "a.zarr", tmp_path / "out", progress=False, **options)


def test_the_better_half_goes_on(tmp_path, trials):
    """Of four, two reach the second round and one the third, each from its own weights."""
    found = run(tmp_path, epochs=7)
    assert [len(trial.rounds) for trial in found.trials] == [3, 2, 1, 1]
    assert [trial.values["filters"] for trial in found.trials] == [[16], [8], [4], [2]]
    assert [given["epochs"] for given in trials.arguments] == [1] * 4 + [2] * 2 + [4]
    starts = [given.get("init") for given in trials.arguments]
    assert starts[:4] == [None] * 4
    for given in trials.arguments[4:]:
        assert given["init"] in [before["model_path"] for before in trials.arguments]
    document = json.loads((tmp_path / "out/sweep.json").read_text())
    assert [len(trial["rounds"]) for trial in document["trials"]] == [2, 1, 3, 1]
    assert found.trials[0].parameters == 5 * 5 * 3 * 16 + 16 + 3 * 3 * 16 * 3 + 3
    assert found.trials[0].mac_per_pixel == 5 * 5 * 3 * 16 + 3 * 3 * 16 * 3
    with Image.open(tmp_path / "out/sweep.png") as picture:
        assert min(picture.size) > 400
    assert found.table().row_count == 4


def test_what_is_done_is_not_done_again(tmp_path, trials):
    """Cut off in the second round, the same call does only what is left."""
    run(tmp_path, epochs=7)
    path = tmp_path / "out/sweep.json"
    document = json.loads(path.read_text())
    document["trials"][2]["rounds"] = document["trials"][2]["rounds"][:1]
    path.write_text(json.dumps(document))
    trials.arguments.clear()
    found = run(tmp_path, epochs=7)
    assert [given["epochs"] for given in trials.arguments] == [2, 4]
    assert {tuple(given["filters"]) for given in trials.arguments} == {(16,)}
    assert [len(trial.rounds) for trial in found.trials] == [3, 2, 1, 1]
    with pytest.raises(InputError, match="holds a sweep of other settings"):
        run(tmp_path, epochs=8)


def test_a_training_given_up_does_not_go_on(tmp_path, trials):
    """Its reason stands in the table, and the others are compared without it."""
    trials.broken = (16,)
    found = run(tmp_path, rounds=2)
    assert [trial.values["filters"] for trial in found.trials][:2] == [[8], [4]]
    assert found.trials[-1].rounds == [{"error": "the loss is nan"}]


def test_a_real_sweep(make_scene, tmp_path):
    """Two networks are trained in processes of their own, and the table has their figures."""
    grid = tmp_path / "grid.yaml"
    grid.write_text(
        "filters: [[4], [8]]\nkernels: [[5, 3]]\nsteps-per-epoch: [3]\nsize: [32]\n"
        "validation_size: [64]\n"
    )
    store = make_scene().store
    with connect("threads"):
        found = sweep(grid, store, tmp_path / "out", epochs=2, rounds=2, progress=False)
    assert [len(trial.rounds) for trial in found.trials] == [2, 1]
    for trial in found.trials:
        assert trial.rounds[0]["psnr"] > 10
        assert trial.megapixels_per_second > 0
    assert len(list((tmp_path / "out").glob("*.keras"))) == 3


def test_a_trial_says_what_went_wrong(tmp_path):
    """An error on purpose comes back as its words; a process that broke raises."""
    arguments = {"inputs": ["nothing"], "model_path": str(tmp_path / "x.keras")}
    assert "nothing does not exist" in run_trial(arguments, 1)["error"]
    with pytest.raises(SrsatError, match=r"x\.keras ended with status 1"):
        run_trial({**arguments, "colour": "red"}, 1)


@pytest.mark.parametrize(("epochs", "rounds"), [(7, 3), (8, 3), (8, 1), (100, 4), (1, 3)])
def test_rounds_double(epochs, rounds):
    """All rounds together have the length asked for, unless that is fewer than their number."""
    found = lengths(epochs, rounds)
    assert len(found) == rounds
    assert sum(found) == max(epochs, rounds)
    assert found == sorted(found)


def test_depths_share_a_grid():
    """Combinations whose kernels are not one more than their filters are left out."""
    grid = {"filters": [[8], [8, 4]], "kernels": [[5, 3], [5, 1, 3]], "scale": [2, 4]}
    assert len(plan_trials(grid)) == 4
    names = [trial.name for trial in plan_trials(grid)]
    assert len(set(names)) == 4


@pytest.mark.parametrize(
    ("grid", "match"),
    [
        ("filtres: [[8]]", "'filtres' is unknown: did you mean 'filters'"),
        ("scale: 4", "'scale' must be a list of alternatives"),
        ("filters: [8]", "'filters' must be a list of lists"),
        ("scale: []", "'scale' must be a list"),
        ("- 4", "must map settings to lists"),
        ("scale: [", "cannot be read"),
        ("scale: [7]", "scale 7 cannot be trained: scale 7"),
        ("batch: [0]", "batch 0 cannot be trained"),
        ("filters: [[8]]", "no combination of the grid"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(tmp_path, grid, match):
    """The message names the setting, before anything is trained or written."""
    path = tmp_path / "grid.yaml"
    path.write_text(grid)
    with pytest.raises(InputError, match=match):
        sweep(path, "a.zarr", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["epochs", "rounds", "threads"])
def test_numbers_below_one_are_refused(tmp_path, name):
    """There must be something to do."""
    with pytest.raises(InputError, match=f"{name} 0 must be 1 or more"):
        sweep(GRID, "a.zarr", tmp_path / "out", **{name: 0})
