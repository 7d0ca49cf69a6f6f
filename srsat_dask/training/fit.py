"""The training loop: steps within a budget, validation, the best weights kept.

A loop of its own over ``train_on_batch`` rather than ``fit``: a budget of time must set the
learning rate before each step and stop between two, on any Keras backend, and a loss that is not
a number must be told with its step.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from srsat_dask.errors import InputError, SrsatError
from srsat_dask.runtime.learning import Learning
from srsat_dask.runtime.progress import Tracker
from srsat_dask.training.presets import Preset

if TYPE_CHECKING:
    from srsat_dask.training.objective import Batch


Report = Callable[[float, str, float], None]
"""Told the part of the budget that is spent, a note and the loss."""


@dataclass(frozen=True)
class Budget:
    """How long to train: a number of steps or a time, not both."""

    steps: int | None = None
    """Steps of one batch."""
    seconds: float | None = None
    """Time from the first step on, validation included."""

    @classmethod
    def of(cls, preset: Preset, epochs: int | None, minutes: float | None) -> "Budget":
        """Return the budget asked for, the preset's epochs by default.

        Raises
        ------
        InputError
            Both are given, or one is not positive.
        """
        if epochs is not None and minutes is not None:
            raise InputError(f"epochs {epochs} and minutes {minutes} are both given: give one")
        if minutes is not None:
            if not (math.isfinite(minutes) and minutes > 0):
                raise InputError(f"minutes {minutes} must be more than 0, such as 3")
            return cls(seconds=60 * minutes)
        chosen = preset.epochs if epochs is None else epochs
        if chosen < 1:
            raise InputError(f"epochs {chosen} must be 1 or more")
        return cls(steps=chosen * preset.steps_per_epoch)

    def spent(self, steps: int, seconds: float, reserve: float = 0.0) -> float:
        """Return the part that is used up, from 0 to 1.

        Parameters
        ----------
        steps : int
            Steps done.
        seconds : float
            Seconds since the first step.
        reserve : float
            Seconds to keep for the last validation.
        """
        if self.seconds is None:
            return min(steps / (self.steps or 1), 1.0)
        left = self.seconds - reserve
        return min(seconds / left, 1.0) if left > 0 else 1.0


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to."""

    steps: int
    """Steps done since the start of the training."""
    loss: float
    """Mean squared error over the epoch's batches, in [0, 1]²."""
    psnr: float
    """Of the epoch's batches, in dB."""
    val_loss: float
    """Mean squared error over the validation patches after the epoch."""
    val_psnr: float
    """Of the validation patches, in dB."""
    learning_rate: float
    """At the epoch's last step."""
    seconds: float
    """Since the first step, this epoch's validation included."""


def cosine(first: float, last: float, part: float) -> float:
    """Return the learning rate when a part (0 to 1) of the budget is spent."""
    return last + (first - last) * 0.5 * (1.0 + math.cos(math.pi * part))


def fit(
    model: Any,
    batches: Iterator["Batch"],
    validation: list["Batch"],
    preset: Preset,
    budget: Budget,
    report: Report,
    clock: Callable[[], float] = time.monotonic,
) -> list[Epoch]:
    """Train a compiled model, and leave it with the weights of its best epoch.

    Parameters
    ----------
    model : keras.Model
        From `srsat_dask.training.objective.training_model`.
    batches : iterator of Batch
        Without end.
    validation : list of Batch
        Always the same patches.
    preset : Preset
        Learning rates and length of an epoch.
    budget : Budget
        When to stop; at least one step is done.
    report : callable
        Told the part of the budget that is spent, a note and the loss, after every step.
    clock : callable
        Seconds; another one for tests.

    Returns
    -------
    list of Epoch
        In order; the last one may be cut short by the budget.

    Raises
    ------
    SrsatError
        The loss is not a finite number; the message names the step.
    """
    epochs: list[Epoch] = []
    best = (-math.inf, model.get_weights())
    batch = next(batches)
    start, step, part, reserve = clock(), 0, 0.0, 0.0
    while part < 1.0:
        learned = _Mean()
        rate = preset.first_rate
        for _ in range(preset.steps_per_epoch):
            rate = cosine(preset.first_rate, preset.last_rate, part)
            model.optimizer.learning_rate = rate
            lr, hr, weight = batch
            logs = model.train_on_batch(lr, hr, sample_weight=weight, return_dict=True)
            loss = learned.add(logs, len(lr))["loss"]
            step += 1
            if not math.isfinite(loss):
                raise SrsatError(
                    f"the loss is {loss} at step {step}: train again with another seed or"
                    " fewer filters"
                )
            part = budget.spent(step, clock() - start, reserve)
            said = f", validation {epochs[-1].val_psnr:.2f} dB" if epochs else ""
            report(part, f"loss {learned['loss']:.5f}{said}", loss)
            if part >= 1.0:
                break
            batch = next(batches)
        paused = clock()
        judged = _validate(model, validation)
        reserve = clock() - paused
        epochs.append(
            Epoch(
                steps=step,
                loss=learned["loss"],
                psnr=learned["psnr"],
                val_loss=judged["loss"],
                val_psnr=judged["psnr"],
                learning_rate=rate,
                seconds=clock() - start,
            )
        )
        if judged["psnr"] > best[0]:
            best = (judged["psnr"], model.get_weights())
        part = budget.spent(step, clock() - start, reserve)
        report(
            part,
            f"loss {learned['loss']:.5f}, validation {judged['psnr']:.2f} dB",
            learned["loss"],
        )
    model.set_weights(best[1])
    return epochs


class _Mean:
    """Mean of what Keras says of each batch, weighted by its images.

    Keras forgets its metrics with every ``train_on_batch`` and ``test_on_batch``.
    """

    def __init__(self) -> None:
        self._totals: dict[str, float] = {}
        self._images = 0

    def add(self, logs: dict[str, Any], images: int) -> dict[str, float]:
        """Take in one batch, and return its values as floats."""
        values = {name: float(value) for name, value in logs.items()}
        self._images += images
        for name, value in values.items():
            self._totals[name] = self._totals.get(name, 0.0) + images * value
        return values

    def __getitem__(self, name: str) -> float:
        return self._totals[name] / self._images


def _validate(model: Any, validation: list["Batch"]) -> _Mean:
    mean = _Mean()
    for lr, hr, weight in validation:
        logs = model.test_on_batch(lr, hr, sample_weight=weight, return_dict=True)
        mean.add(logs, len(lr))
    return mean


def progress_report(tracker: Tracker, learning: Learning, total: float, bicubic: float) -> Report:
    """Return what tells a progress bar of `total` units and the live page how training goes."""

    def report(part: float, note: str, loss: float) -> None:
        note = f"{note} (bicubic {bicubic:.2f})"
        tracker.move_to(part * total, note)
        learning.tell(part, loss, note)

    return report
