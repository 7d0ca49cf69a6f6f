"""The training loop, on a model that only counts."""

import math
from dataclasses import replace
from itertools import repeat

import pytest

from srsat_dask.errors import InputError, SrsatError
from srsat_dask.training.fit import Budget, cosine, fit
from srsat_dask.training.presets import PRESETS

PRESET = replace(PRESETS["default"], steps_per_epoch=10, epochs=3)
BATCH = ([0], [0], [0])


class CountingModel:
    """A model whose weights are its number of steps; time passes with every step."""

    def __init__(self, psnrs=(), losses=None):
        self.optimizer = self
        self.learning_rate = 0.0
        self.rates = []
        self.steps = 0
        self.time = 100.0
        self.psnrs = list(psnrs)
        self.losses = losses or {}

    def get_weights(self):
        """Return the steps done."""
        return self.steps

    def set_weights(self, weights):
        """Go back to so many steps."""
        self.steps = weights

    def train_on_batch(self, lr, hr, sample_weight, return_dict):
        """Spend a second."""
        self.steps += 1
        self.time += 1.0
        self.rates.append(self.learning_rate)
        return {"loss": self.losses.get(self.steps, 0.01), "psnr": 20.0}

    def test_on_batch(self, lr, hr, sample_weight, return_dict):
        """Spend two seconds."""
        self.time += 2.0
        return {"loss": 0.02, "psnr": self.psnrs.pop(0) if self.psnrs else 25.0}


def run(model, budget, preset=PRESET):
    said = []
    epochs = fit(
        model,
        repeat(BATCH),
        [BATCH],
        preset,
        budget,
        lambda part, note, loss: said.append((part, note)),
        clock=lambda: model.time,
    )
    return epochs, said


def test_steps_are_those_of_the_budget():
    """Three epochs of ten steps are thirty steps and three validations."""
    model = CountingModel(psnrs=[20, 21, 22])
    epochs, said = run(model, Budget.of(PRESET, None, None))
    assert [epoch.steps for epoch in epochs] == [10, 20, 30]
    assert len(model.rates) == 30
    assert said[-1][0] == 1.0
    assert "22.00 dB" in said[-1][1]


def test_the_rate_falls_along_a_cosine():
    """The first step has the first rate, the rate only falls, and it ends near the last."""
    model = CountingModel()
    run(model, Budget.of(PRESET, 30, None))
    assert model.rates[0] == PRESET.first_rate
    assert model.rates == sorted(model.rates, reverse=True)
    assert model.rates[150] == pytest.approx((PRESET.first_rate + PRESET.last_rate) / 2)
    assert model.rates[-1] == pytest.approx(PRESET.last_rate, rel=0.01)


def test_time_is_kept_with_validation_in_it():
    """A minute of one-second steps and two-second validations ends within the minute."""
    model = CountingModel()
    epochs, _ = run(model, Budget.of(PRESET, None, 1))
    assert 58 <= epochs[-1].seconds <= 60
    assert len(model.rates) + 2 * len(epochs) == epochs[-1].seconds
    assert model.rates[-1] < 2 * PRESET.last_rate


def test_the_best_weights_are_restored():
    """The model is left as it was after the epoch of the best validation PSNR."""
    model = CountingModel(psnrs=[20, 23, 22])
    run(model, Budget.of(PRESET, None, None))
    assert model.steps == 20


def test_an_epoch_is_the_mean_of_its_batches():
    """Losses and PSNRs are means over all images, though Keras tells those of a batch only."""
    model = CountingModel(psnrs=[20, 26], losses={n: n / 100 for n in range(1, 11)})
    two = [BATCH, ([0, 0], [0, 0], [0, 0])]
    (epoch,) = fit(model, repeat(BATCH), two, PRESET, Budget(steps=10), lambda *_: None)
    assert epoch.loss == pytest.approx(0.055)
    assert epoch.val_psnr == pytest.approx((20 + 2 * 26) / 3)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_broken_loss_names_its_step(loss):
    """A loss that is not a finite number ends the training."""
    with pytest.raises(SrsatError, match=f"loss is {loss} at step 13"):
        run(CountingModel(losses={13: loss}), Budget.of(PRESET, None, None))


def test_a_short_time_still_trains():
    """At least one step is done and validated, however short the time."""
    epochs, _ = run(CountingModel(), Budget.of(PRESET, None, 1e-6))
    assert [epoch.steps for epoch in epochs] == [1]


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
