"""Presets: the article's settings, and what may be changed."""

from dataclasses import fields

import pytest

from srsat_dask.cli.train import NETWORK, SETTINGS, preset_table
from srsat_dask.errors import InputError
from srsat_dask.training.presets import PRESETS, Preset, choose_preset


def test_the_article_states_its_own_settings():
    """256 px tiles, batches of 32, 187 steps, 200 epochs, Adam's own rate, its stretch and PSNR."""
    article = PRESETS["article"]
    assert (article.size, article.batch) == (256, 32)
    assert (article.steps_per_epoch, article.epochs) == (187, 200)
    assert article.first_rate == article.last_rate == 1e-3
    assert (article.filters, article.kernels) == ((64, 32), (9, 1, 5))
    assert not article.residual
    assert article.contrast_stretch
    assert article.pooled_psnr


def test_only_the_article_stretches():
    """No other preset reproduces the article's defect."""
    assert [name for name, preset in PRESETS.items() if preset.contrast_stretch] == ["article"]


def test_the_network_may_be_changed():
    """Filters and kernels are those asked for, the rest is the preset's."""
    chosen = choose_preset(
        "default",
        {"filters": [8], "kernels": (5, 3), "residual": False, "luminance": True, "batch": None},
    )
    assert (chosen.filters, chosen.kernels) == ((8,), (5, 3))
    assert (chosen.residual, chosen.luminance) == (False, True)
    assert choose_preset("paper", {"residual": True}).residual
    assert chosen.batch == PRESETS["default"].batch


def test_the_paper_states_its_own_settings():
    """33 px sub-images, momentum 0.9, rates 1e-4 and 1e-5 of a summed error, deviation 0.001."""
    paper = PRESETS["paper"]
    assert (paper.size, paper.batch, paper.optimizer, paper.momentum) == (33, 128, "sgd", 0.9)
    assert paper.first_rate == paper.last_rate == 1e-4
    assert paper.first_rate * paper.last_layer_rate == pytest.approx(1e-5)
    assert paper.initial_deviation == 0.001
    assert not paper.residual
    assert paper.of_mean_loss(3, 3).first_rate == pytest.approx(1e-4 * 33**2 * 3)
    assert PRESETS["default"].of_mean_loss(3, 3) is PRESETS["default"]


def test_every_setting_has_an_option_and_a_row_in_the_help():
    """No number of a preset is hidden, and none that the command cannot change."""
    shown = {row.split()[0] for row in preset_table().splitlines()[1:]}
    options = {field: f"--{option}" for option, field, _, _ in SETTINGS}
    options |= {name: f"--{name}" for name in (*NETWORK, "epochs")}
    assert set(options) == {field.name for field in fields(Preset)}
    assert set(options.values()) == shown


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("preset", PRESETS.values())
def test_patches_are_multiples_of_the_scale(preset, scale):
    """A patch is rounded down by less than a scale."""
    for size, rounded in (
        (preset.size, preset.patch(scale)),
        (preset.validation_size, preset.validation_patch(scale)),
    ):
        assert rounded % scale == 0
        assert 0 <= size - rounded < scale


def test_an_unknown_preset_is_refused():
    """The message names the presets there are."""
    with pytest.raises(InputError, match="default, paper, article"):
        choose_preset("best")


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"bach": 3}, "'bach' is unknown: did you mean 'batch'"),
        ({"batch": 0}, "batch 0 must be a whole number"),
        ({"batch": 2.5}, "batch 2.5 must be a whole number"),
        ({"first_rate": 0.0}, "first_rate 0.0 must be more than 0"),
        ({"last_rate": float("nan")}, "last_rate nan"),
        ({"momentum": 1.0}, "momentum 1.0"),
        ({"optimizer": "lion"}, "optimizer 'lion' must be adam or sgd"),
        ({"augment": "all"}, "augment 'all' must be turns or colour"),
        ({"last_layer_rate": 0.1}, "give optimizer sgd"),
        ({"summed_loss": True}, "give optimizer sgd"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings, match):
    """The message names the setting and its value, or the nearest one."""
    with pytest.raises(InputError, match=match):
        choose_preset("default", settings)
