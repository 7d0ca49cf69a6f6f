"""The training loop, with a trainer that only counts."""

import math
import os
import signal
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from srsat_dask.errors import InputError, TrainingError
from srsat_dask.training.fit import Budget, Mean, Run, Scores, State, cosine, fit
from srsat_dask.training.patches import Patches, Place
from srsat_dask.training.presets import PRESETS

PRESET = replace(PRESETS["default"], steps_per_epoch=10, epochs=3)


def batches(images=1, start=0):
    """Yield batches of the feed, of one pool without end."""
    nothing = np.zeros((images, 1, 1, 3), np.uint8)
    for number in count(start):
        yield Patches(nothing, nothing, nothing[..., 0], Place(0, number), ("here",))


class CountingTrainer:
    """A trainer whose weights are its number of steps; time passes with every step."""

    def __init__(self, psnrs=(), losses=None):
        self.rates = []
        self.steps = 0
        self.time = 100.0
        self.psnrs = list(psnrs)
        self.losses = losses or {}

    def step(self, patches, rate):
        """Spend a second."""
        self.steps += 1
        self.time += 1.0
        self.rates.append(rate)
        return Scores(self.losses.get(self.steps, 0.01), 20.0)

    def validate(self):
        """Spend two seconds."""
        self.time += 2.0
        return Scores(0.02, self.psnrs.pop(0) if self.psnrs else 25.0)

    def state(self):
        """Return the steps done."""
        return State([np.array(self.steps)], [])

    def restore(self, state):
        """Go back to so many steps."""
        self.steps = int(state.weights[0])


def run(trainer, budget, preset=PRESET, *, feed=None, **options):
    said = []
    done = fit(
        trainer,
        feed or batches(),
        preset,
        budget,
        lambda part, note, _loss: said.append((part, note)),
        clock=lambda: trainer.time,
        **options,
    )
    return done, said


def test_steps_are_those_of_the_budget():
    """Three epochs of ten steps are thirty steps and three validations."""
    trainer = CountingTrainer(psnrs=[20, 21, 22])
    done, said = run(trainer, Budget.of(PRESET, None, None))
    assert [epoch.steps for epoch in done.epochs] == [10, 20, 30]
    assert len(trainer.rates) == 30
    assert said[-1][0] == 1.0
    assert "22.00 dB" in said[-1][1]


def test_the_rate_falls_along_a_cosine():
    """The first step has the first rate, the rate only falls, and it ends near the last."""
    trainer = CountingTrainer()
    run(trainer, Budget.of(PRESET, 30, None))
    assert trainer.rates[0] == PRESET.first_rate
    assert trainer.rates == sorted(trainer.rates, reverse=True)
    assert trainer.rates[150] == pytest.approx((PRESET.first_rate + PRESET.last_rate) / 2)
    assert trainer.rates[-1] == pytest.approx(PRESET.last_rate, rel=0.01)


def test_time_is_kept_with_validation_in_it():
    """A minute of one-second steps and two-second validations ends within the minute."""
    trainer = CountingTrainer()
    done, _ = run(trainer, Budget.of(PRESET, None, 1))
    assert 58 <= done.epochs[-1].seconds <= 60
    assert len(trainer.rates) + 2 * len(done.epochs) == done.epochs[-1].seconds
    assert trainer.rates[-1] < 2 * PRESET.last_rate


def test_the_best_weights_are_kept():
    """The run holds what the weights were after the epoch of the best validation PSNR."""
    trainer = CountingTrainer(psnrs=[20, 23, 22])
    done, _ = run(trainer, Budget.of(PRESET, None, None))
    assert done.best == [20]
    assert done.best_psnr == 23


def test_an_epoch_is_the_mean_of_its_batches():
    """Losses are means over all images, of batches of any size."""
    trainer = CountingTrainer(losses={n: n / 100 for n in range(1, 11)})
    sizes = [1, 3] * 5
    feed = (next(batches(images)) for images in sizes)
    done, _ = run(trainer, Budget(steps=10), feed=feed)
    expected = np.average(np.arange(1, 11) / 100, weights=sizes)
    assert done.epochs[0].loss == pytest.approx(expected)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_broken_loss_names_its_batch(loss):
    """A loss that is not a finite number ends the training, and keeps what was before it."""
    kept = []
    with pytest.raises(TrainingError, match=rf"{loss} at step 13, batch 12 of pool 0.*, of here:"):
        run(
            CountingTrainer(losses={13: loss}),
            Budget.of(PRESET, None, None),
            keep=lambda done: kept.append(done.step),
        )
    assert kept == [10]


def test_a_run_goes_on_where_it_was_kept():
    """From a checkpoint in the midst of an epoch the same epochs come as without it."""
    losses = {n: n / 100 for n in range(1, 31)}
    whole, _ = run(CountingTrainer([20, 23, 22], losses), Budget(steps=30))
    first = CountingTrainer([20, 23, 22], losses)

    class KilledError(Exception):
        pass

    found = []

    def keep(done):
        if done.step >= 14:
            found.append(replace(done, epochs=list(done.epochs), learned=replace(done.learned)))
            raise KilledError

    with pytest.raises(KilledError):
        run(first, Budget(steps=30), keep=keep, keep_every=1)
    second = CountingTrainer([23, 22], losses)
    second.restore(first.state())
    second.time = 5000.0
    feed = batches(start=found[0].place.batch)
    again, _ = run(second, Budget(steps=30), run=found[0], feed=feed)
    assert again == whole
    assert first.rates + second.rates == pytest.approx(
        [cosine(PRESET.first_rate, PRESET.last_rate, n / 30) for n in range(30)]
    )


def test_time_spent_before_an_interruption_counts():
    """A run of a minute that has had 50 seconds has ten left; one that had all just ends."""
    trainer = CountingTrainer()
    done, _ = run(trainer, Budget(seconds=60), run=Run(step=40, seconds=50.0))
    assert 8 <= trainer.time - 100 <= 12
    assert done.step > 40
    trainer = CountingTrainer()
    over = Run(step=40, seconds=61.0, learned=Mean(0.4, 80.0, 4, 4))
    done, _ = run(trainer, Budget(seconds=60), run=over)
    assert trainer.steps == 0
    assert len(done.epochs) == 1


def test_training_stops_when_validation_gets_no_better():
    """After two epochs that are no better than the best."""
    trainer = CountingTrainer([20, 23, 22, 23, 21])
    done, _ = run(trainer, Budget(steps=100), patience=2)
    assert [epoch.val_psnr for epoch in done.epochs] == [20, 23, 22, 23]


def test_ctrl_c_stops_between_two_steps():
    """The step under way is done and kept; the handler is as it was."""
    kept = []

    class Interrupted(CountingTrainer):
        def step(self, patches, rate):
            if self.steps == 13:
                os.kill(os.getpid(), signal.SIGINT)
            return super().step(patches, rate)

    # A process that was started in the background ignores Ctrl-C: this one must not.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(Interrupted(), Budget(steps=30), keep=lambda done: kept.append(done.step))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert kept == [10, 14]


def test_a_short_time_still_trains():
    """At least one step is done and validated, however short the time."""
    done, _ = run(CountingTrainer(), Budget.of(PRESET, None, 1e-6))
    assert [epoch.steps for epoch in done.epochs] == [1]


def test_a_constant_rate_stays():
    """The same first and last rate is the rate throughout."""
    assert {cosine(1e-3, 1e-3, part / 10) for part in range(11)} == {1e-3}


@pytest.mark.parametrize(
    ("epochs", "minutes", "match"),
    [
        (1, 1.0, "give one"),
        (0, None, "epochs 0"),
        (-3, None, "epochs -3"),
        (None, 0.0, "minutes"),
        (None, -1.0, "minutes"),
        (None, math.nan, "minutes"),
        (None, math.inf, "minutes"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(epochs, minutes, match):
    """Both, none left, or no number: the message says which."""
    with pytest.raises(InputError, match=match):
        Budget.of(PRESET, epochs, minutes)
