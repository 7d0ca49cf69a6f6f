"""Presets: the article's settings, and what may be changed."""

import pytest

from srsat_dask.errors import InputError
from srsat_dask.training.presets import PRESETS, choose_preset


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
    chosen = choose_preset("default", filters=[8], kernels=[5, 3], residual=False, luminance=True)
    assert (chosen.filters, chosen.kernels) == ((8,), (5, 3))
    assert (chosen.residual, chosen.luminance) == (False, True)
    assert choose_preset("paper", residual=True).residual
    assert chosen.batch == PRESETS["default"].batch


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
