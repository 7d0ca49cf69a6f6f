"""Sweeps: many small trainings beside one another, of which the best go on.

Successive halving: every combination is trained for a part of the length, the better half goes on
from where it came for twice as long, and so on. What a round came to is written at once, so the
same sweep goes on where it was cut off.
"""

import hashlib
import io
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.table import Table

from srsat_dask.errors import InputError
from srsat_dask.model.spec import ModelSpec
from srsat_dask.runtime.clusters import current_client, threads_of
from srsat_dask.runtime.progress import track
from srsat_dask.runtime.runner import run_shards
from srsat_dask.training.presets import Preset, choose_preset, near
from srsat_dask.training.trial import run_trial

NETWORK = ("filters", "kernels", "residual", "luminance")
"""Fields of a preset that are arguments of `train` by themselves."""

ARGUMENTS = ("scale", "preset", "degradation", "seed", *NETWORK)
"""Arguments of `train` that may vary; fields of a preset may as well."""

SPEED_TILE = 128
"""Side of the LR tile that speed is measured on."""


@dataclass
class Trial:
    """One combination and what came of it."""

    name: str
    """From its place in the grid and its values."""
    values: dict[str, Any]
    """What the grid says of it."""
    parameters: int
    """Weights of the network."""
    mac_per_pixel: int
    """Multiplications of its convolutions for one HR pixel."""
    rounds: list[dict[str, Any]] = field(default_factory=list)
    """Per round ``epochs``, ``psnr`` and ``bicubic`` of the validation patches (dB), ``seconds``;
    or ``error``."""
    megapixels_per_second: float | None = None
    """HR megapixels that this machine upscales in a second."""

    @property
    def gain(self) -> float:
        """Decibels over bicubic in its last round; minus infinity if that failed or is not yet."""
        last: dict[str, Any] = self.rounds[-1] if self.rounds else {"error": ""}
        return -np.inf if "error" in last else float(last["psnr"] - last["bicubic"])


@dataclass(frozen=True)
class Sweep:
    """A grid and its trials, those that went furthest first, then by their gain."""

    trials: tuple[Trial, ...]
    """Best first."""

    def table(self) -> Table:
        """Return the trials as a table for a terminal."""
        table = Table(title="validation PSNR in dB; early losers were stopped")
        for title in ("trial", "rounds", "epochs", "PSNR", "gain"):
            table.add_column(title, justify="left" if title == "trial" else "right")
        for title in ("parameters", "MAC/px", "Mpx/s"):
            table.add_column(title, justify="right")
        for trial in self.trials:
            last = trial.rounds[-1] if trial.rounds else {"error": "not trained"}
            failed = "error" in last
            speed = trial.megapixels_per_second
            table.add_row(
                label(trial.values),
                str(len(trial.rounds)),
                str(sum(kept.get("epochs", 0) for kept in trial.rounds)),
                last["error"] if failed else f"{last['psnr']:.2f}",
                "" if failed else f"{trial.gain:+.2f}",
                f"{trial.parameters:,}",
                f"{trial.mac_per_pixel:,}",
                "" if speed is None else f"{speed:.2f}",
            )
        return table


def label(values: Mapping[str, Any]) -> str:
    """Return a combination in words, such as ``filters 64,32 scale 4``."""
    return " ".join(
        f"{key} {','.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in values.items()
    )


def read_grid(grid: "str | Path | Mapping[str, Any]") -> dict[str, list[Any]]:
    """Return the alternatives of each setting.

    Raises
    ------
    InputError
        Not readable, an unknown setting, or one without a list of alternatives.
    """
    if isinstance(grid, Mapping):
        document: Any = dict(grid)
    else:
        try:
            document = yaml.safe_load(Path(grid).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(f"grid {grid} cannot be read: {error}") from error
    if not isinstance(document, dict) or not document:
        raise InputError("a grid must map settings to lists, such as 'filters: [[64, 32], [32]]'")
    known = [*ARGUMENTS, *(f.name for f in fields(Preset) if f.name not in ("epochs", *NETWORK))]
    found = {}
    for key, alternatives in document.items():
        name = str(key).replace("-", "_")
        if name not in known:
            raise InputError(f"grid setting {key!r} is unknown{near(name, known)}")
        nested = name in ("filters", "kernels")
        if not isinstance(alternatives, list) or not alternatives:
            raise InputError(f"grid setting {key!r} must be a list of alternatives")
        if nested and not all(isinstance(value, list) for value in alternatives):
            raise InputError(f"grid setting {key!r} must be a list of lists, such as [[64, 32]]")
        found[name] = alternatives
    return found


def plan_trials(grid: Mapping[str, Sequence[Any]]) -> list[Trial]:
    """Return a trial for each combination whose kernels are one more than its filters.

    Raises
    ------
    InputError
        A combination that cannot be, which the message names, or none at all.
    """
    trials = []
    for number, combination in enumerate(itertools.product(*grid.values())):
        values = dict(zip(grid, combination, strict=True))
        name = values.get("preset", "default")
        inner = {k: v for k, v in values.items() if k in NETWORK or k not in ARGUMENTS}
        try:
            preset = choose_preset(name, inner)
            if len(preset.kernels) != len(preset.filters) + 1:
                continue  # networks of several depths share one grid
            spec = ModelSpec(
                scale=values.get("scale", 4),
                filters=preset.filters,
                kernels=preset.kernels,
                residual=preset.residual,
                luminance=preset.luminance,
            )
        except InputError as error:
            raise InputError(f"{label(values)} cannot be trained: {error}") from error
        macs = sum(int(np.prod(shape)) for shape in spec.shapes)
        biases = sum(shape[3] for shape in spec.shapes)
        digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
        trials.append(Trial(f"{number:03}-{digest}", values, macs + biases, macs))
    if not trials:
        raise InputError("no combination of the grid has one kernel more than filters: add some")
    return trials


def lengths(epochs: int, rounds: int) -> list[int]:
    """Return the epochs of each round: each is twice the one before, and all are `epochs`."""
    shares = 2 ** np.arange(rounds)
    return [
        int(n) for n in np.maximum(np.diff(np.cumsum([0, *shares]) * epochs // shares.sum()), 1)
    ]


def sweep(
    grid: "str | Path | Mapping[str, Any]",
    inputs: "str | Path | Sequence[str | Path]",
    output: str | Path,
    *,
    epochs: int = 8,
    rounds: int = 3,
    threads: int = 1,
    progress: bool = True,
) -> Sweep:
    """Train the combinations of a grid beside one another, and stop early losers.

    Each training is a task of the current Dask client, in a process of its own. After each round
    the half with the larger gain over bicubic goes on from its weights. The same call goes on
    where an earlier one was cut off.

    Parameters
    ----------
    grid : str, Path or mapping
        Alternatives by setting, or a YAML file of them: ``filters``, ``kernels``, ``residual``,
        ``luminance``, ``scale``, ``preset``, ``degradation``, ``seed`` and fields of
        :class:`srsat_dask.training.Preset`.
    inputs : str, Path or sequence of them
        As for :func:`srsat_dask.train`; workers must reach them.
    output : str or Path
        Folder for ``sweep.json``, ``sweep.png`` and the models; workers must reach it.
    epochs : int
        Length of the trainings that are never stopped, all rounds together.
    rounds : int
        Rounds, after each of which half of the trainings stop.
    threads : int
        Threads of each training.
    progress : bool
        Show progress on stderr.

    Returns
    -------
    Sweep
        All trials, best first.

    Raises
    ------
    InputError
        A grid or a number that cannot be, or an output that holds another sweep.
    SrsatError
        A training's process was killed.
    """
    for name, value in (("epochs", epochs), ("rounds", rounds), ("threads", threads)):
        if value < 1:
            raise InputError(f"{name} {value} must be 1 or more")
    trials = plan_trials(read_grid(grid))
    paths = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    plan: dict[str, Any] = {
        "inputs": [str(Path(path).resolve()) for path in paths],
        "lengths": lengths(epochs, rounds),
        "grid": [trial.values for trial in trials],
    }
    _take_up(folder, plan, trials)
    going = trials
    with current_client() as client, track("sweep", 1.0, shown=progress, count=False) as bar:
        for number, length in enumerate(plan["lengths"]):
            waiting = [trial for trial in going if len(trial.rounds) == number]
            tasks = (
                ((trial.name, number, 0), (_arguments(trial, plan, folder, number), threads))
                for trial in waiting
            )
            at_once = max(threads_of(client) // threads, 1)
            found = run_shards(client, _task, tasks, prefix="sweep-trial", at_once=at_once)
            by_name = {trial.name: trial for trial in waiting}
            for done, (key, said) in enumerate(found, 1):
                trial = by_name[key[0]]
                trial.rounds.append(_round(said, length))
                _write(folder, plan, trials)
                part = (number + done / len(waiting)) / rounds
                bar.move_to(part, f"{label(trial.values)}: {trial.gain:+.2f} dB over bicubic")
            ranked = sorted(going, key=lambda trial: trial.gain, reverse=True)
            going = [t for t in ranked[: -(-len(ranked) // 2)] if np.isfinite(t.gain)]
    for trial in trials:
        if np.isfinite(trial.gain) and trial.megapixels_per_second is None:
            trial.megapixels_per_second = _speed(_model(folder, trial, len(trial.rounds) - 1))
            _write(folder, plan, trials)
    (folder / "sweep.png").write_bytes(draw(trials))
    return Sweep(tuple(sorted(trials, key=lambda t: (len(t.rounds), t.gain), reverse=True)))


def draw(trials: Sequence[Trial]) -> bytes:
    """Draw gain over multiplications, the trials of the last round in colour; a PNG image."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.subplots()
    last = max((len(trial.rounds) for trial in trials), default=0)
    for trial in trials:
        if np.isfinite(trial.gain):
            colour = "tab:blue" if len(trial.rounds) == last else "0.6"
            axes.plot(trial.mac_per_pixel, trial.gain, "o", color=colour)
            at = (trial.mac_per_pixel, trial.gain)
            axes.annotate(label(trial.values), at, (4, 4), textcoords="offset points", fontsize=7)
    axes.set_xscale("log")
    axes.set_xlabel("multiplications per HR pixel")
    axes.set_ylabel("gain over bicubic (dB)")
    axes.set_title("validation; grey: stopped early")
    axes.grid(alpha=0.3)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    return image.getvalue()


def _task(_: None, arguments: dict[str, Any], threads: int) -> dict[str, Any]:
    return run_trial(arguments, threads)


def _model(folder: Path, trial: Trial, number: int) -> Path:
    return folder / f"{trial.name}-round{number + 1}.keras"


def _arguments(trial: Trial, plan: Mapping[str, Any], folder: Path, number: int) -> dict[str, Any]:
    settings = {k: v for k, v in trial.values.items() if k not in ARGUMENTS}
    start = {"init": str(_model(folder, trial, number - 1).resolve())} if number else {}
    return {
        "inputs": plan["inputs"],
        "model_path": str(_model(folder, trial, number).resolve()),
        "epochs": plan["lengths"][number],
        "settings": settings,
        **start,
        **{k: v for k, v in trial.values.items() if k in ARGUMENTS},
    }


def _round(said: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    if "error" in said:
        return {"error": said["error"]}
    return {
        "epochs": epochs,
        "psnr": said["best_val_psnr"],
        "bicubic": said["bicubic_val_psnr"],
        "seconds": said["timing"]["seconds"],
    }


def _speed(model: Path) -> float:
    from srsat_dask.model.engines import get_upscaler
    from srsat_dask.model.file import ModelFile
    from srsat_dask.model.inference import upscale_window

    upscaler = get_upscaler(ModelFile.open(model), "auto")
    side = SPEED_TILE + 4 * upscaler.halo
    tile = np.random.default_rng(0).integers(0, 256, (3, side, side), np.uint8)
    valid = np.ones((side, side), np.bool_)
    upscale_window(tile, valid, upscaler)  # builds and compiles
    start, windows = time.monotonic(), 0
    while windows < 3 or time.monotonic() - start < 0.5:
        upscale_window(tile, valid, upscaler)
        windows += 1
    return windows * (SPEED_TILE * upscaler.scale) ** 2 / (time.monotonic() - start) / 1e6


def _take_up(folder: Path, plan: Mapping[str, Any], trials: Sequence[Trial]) -> None:
    path = folder / "sweep.json"
    if not path.exists():
        return
    kept = json.loads(path.read_text(encoding="utf-8"))
    if kept["plan"] != json.loads(json.dumps(plan)):
        raise InputError(f"{folder} holds a sweep of other settings: give another --output")
    for trial, entry in zip(trials, kept["trials"], strict=True):
        trial.rounds = entry["rounds"]
        trial.megapixels_per_second = entry["megapixels_per_second"]


def _write(folder: Path, plan: Mapping[str, Any], trials: Sequence[Trial]) -> None:
    document = {"plan": plan, "trials": [asdict(trial) for trial in trials]}
    partial = folder / ".sweep.json.part"
    partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / "sweep.json")
