"""The training loop: steps within a budget, validation, the best weights, a run to go on from.

A loop of its own rather than Keras' ``fit``: a budget of time must set the learning rate before
each step and stop between two, on any Keras backend or several workers; a loss that is not a
number must be told with its batch; and all that a run has come to must fit in a checkpoint.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from srsat_dask.errors import InputError, TrainingError
from srsat_dask.runtime.learning import Learning
from srsat_dask.runtime.progress import Tracker
from srsat_dask.training.patches import Patches, Place
from srsat_dask.training.presets import Preset

Arrays = list[npt.NDArray[Any]]
"""Weights of a model, or variables of an optimizer, in Keras' order."""

Report = Callable[[float, str, float], None]
"""Told the part of the budget that is spent, a note and the loss."""


class Scores(NamedTuple):
    """What a batch came to."""

    loss: float
    """Mean squared error, in [0, 1]²."""
    psnr: float
    """In dB."""


class State(NamedTuple):
    """All that a trainer has learned."""

    weights: Arrays
    """Of the network."""
    optimizer: Arrays
    """Rate, number of steps and moments of the optimizer."""


class Trainer(Protocol):
    """What takes the steps: a Keras model here, or one on each of several workers."""

    def step(self, patches: Patches, rate: float) -> Scores:
        """Learn from one batch at a learning rate."""

    def validate(self) -> Scores:
        """Judge the present weights by the validation patches."""

    def state(self) -> State:
        """Return a copy of what was learned."""

    def restore(self, state: State) -> None:
        """Go back to a state."""


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


@dataclass
class Mean:
    """Mean of the scores of several batches, weighted by their images."""

    loss: float = 0.0
    """Sum over the images."""
    psnr: float = 0.0
    """Sum over the images."""
    images: int = 0
    """How many."""
    batches: int = 0
    """How many."""

    def add(self, scores: Scores, images: int) -> None:
        """Take in one batch."""
        self.loss += images * scores.loss
        self.psnr += images * scores.psnr
        self.images += images
        self.batches += 1

    @property
    def scores(self) -> Scores:
        """The means; there must be an image."""
        return Scores(self.loss / self.images, self.psnr / self.images)


@dataclass
class Run:
    """How far a training has come; with the trainer's state it is all that going on needs."""

    step: int = 0
    """Steps done."""
    seconds: float = 0.0
    """Time spent since the first step, interruptions left out."""
    reserve: float = 0.0
    """Seconds that the last validation took."""
    rate: float = 0.0
    """Learning rate of the last step."""
    place: Place = field(default_factory=Place)
    """Of the next batch in the feed."""
    learned: Mean = field(default_factory=Mean)
    """The epoch under way."""
    epochs: list[Epoch] = field(default_factory=list)
    """Those done."""
    best: Arrays = field(default_factory=list)
    """Weights after the epoch of the best validation PSNR."""

    @property
    def best_psnr(self) -> float:
        """Best validation PSNR so far in dB."""
        return max((epoch.val_psnr for epoch in self.epochs), default=-math.inf)

    def stale(self) -> int:
        """Return how many epochs ago validation was at its best."""
        psnrs = [epoch.val_psnr for epoch in self.epochs]
        return len(psnrs) - 1 - int(np.argmax(psnrs)) if psnrs else 0


def cosine(first: float, last: float, part: float) -> float:
    """Return the learning rate when a part (0 to 1) of the budget is spent."""
    return last + (first - last) * 0.5 * (1.0 + math.cos(math.pi * part))


def fit(
    trainer: Trainer,
    batches: Iterator[Patches],
    preset: Preset,
    budget: Budget,
    report: Report,
    *,
    run: Run | None = None,
    patience: int | None = None,
    tell: Callable[[list[Epoch]], None] = lambda _: None,
    keep: Callable[[Run], None] = lambda _: None,
    keep_every: float = math.inf,
    clock: Callable[[], float] = time.monotonic,
) -> Run:
    """Train until the budget is spent, or validation no longer gets better.

    Parameters
    ----------
    trainer : Trainer
        In the state that belongs to `run`.
    batches : iterator of Patches
        Without end, from the place of `run` on.
    preset : Preset
        Learning rates and length of an epoch.
    budget : Budget
        When to stop; at least one step is done.
    report : callable
        Told the part of the budget that is spent, a note and the loss, after every step.
    run : Run, optional
        To go on from; changed in place.
    patience : int, optional
        Stop after so many epochs without a better validation PSNR.
    tell : callable
        Given all epochs after each one.
    keep : callable
        Writes a checkpoint: after each epoch, in between, and when Ctrl-C stops the training.
    keep_every : float
        Seconds between checkpoints within an epoch.
    clock : callable
        Seconds; another one for tests.

    Returns
    -------
    Run
        With its epochs in order, of which the last may be cut short by the budget, and the
        weights of the best.

    Raises
    ------
    TrainingError
        The loss is not a finite number; the message names the step and the batch.
    KeyboardInterrupt
        After Ctrl-C, between two steps, with a checkpoint kept.
    """
    run = Run() if run is None else run
    start = clock() - run.seconds
    kept = clock()

    def spent() -> float:
        run.seconds = clock() - start
        return budget.spent(run.step, run.seconds, run.reserve)

    part = budget.spent(run.step, run.seconds, run.reserve)
    with interruption() as interrupted:
        while part < 1.0 or run.learned.batches or not run.epochs:
            said = f", validation {run.epochs[-1].val_psnr:.2f} dB" if run.epochs else ""
            while run.learned.batches < preset.steps_per_epoch and (part < 1.0 or not run.step):
                patches = next(batches)
                run.rate = cosine(preset.first_rate, preset.last_rate, part)
                scores = trainer.step(patches, run.rate)
                run.step += 1
                if not math.isfinite(scores.loss):
                    raise _broken(scores.loss, run.step, patches)
                run.learned.add(scores, len(patches))
                run.place = patches.place.next
                part = spent()
                report(part, f"loss {run.learned.scores.loss:.5f}{said}", scores.loss)
                if interrupted() or clock() - kept >= keep_every:
                    keep(run)
                    kept = clock()
                if interrupted():
                    raise KeyboardInterrupt
            paused = clock()
            judged = trainer.validate()
            run.reserve = clock() - paused
            part = spent()
            if judged.psnr > run.best_psnr or not run.best:
                run.best = trainer.state().weights
            learned, run.learned = run.learned.scores, Mean()
            run.epochs.append(
                Epoch(
                    steps=run.step,
                    loss=learned.loss,
                    psnr=learned.psnr,
                    val_loss=judged.loss,
                    val_psnr=judged.psnr,
                    learning_rate=run.rate,
                    seconds=run.seconds,
                )
            )
            said = f"loss {learned.loss:.5f}, validation {judged.psnr:.2f} dB"
            report(part, said, learned.loss)
            tell(run.epochs)
            keep(run)
            kept = clock()
            if interrupted() and part < 1.0:
                raise KeyboardInterrupt
            if patience is not None and run.stale() >= patience:
                break
    return run


@contextmanager
def interruption() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into an answer to a question; a second one is as ever.

    Yields
    ------
    callable
        Whether Ctrl-C was pressed. Never, outside the main thread: signals do not come there.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield lambda: False
        return
    pressed = False

    def take(_number: int, _frame: Any) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, take)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


def progress_report(tracker: Tracker, learning: Learning, total: float, bicubic: float) -> Report:
    """Return what tells a progress bar of `total` units and the live page how training goes."""

    def report(part: float, note: str, loss: float) -> None:
        note = f"{note} (bicubic {bicubic:.2f})"
        tracker.move_to(part * total, note)
        learning.tell(part, loss, note)

    return report


def _broken(loss: float, step: int, patches: Patches) -> TrainingError:
    place = patches.place
    scenes = f", of {', '.join(patches.scenes)}" if patches.scenes else ""
    return TrainingError(
        f"the loss is {loss} at step {step}, batch {place.batch} of pool {place.pool} of the"
        f" feed{scenes}: the last checkpoint is kept; train afresh with another seed, a lower"
        " first rate or fewer filters"
    )
