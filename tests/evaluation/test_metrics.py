"""Sums of whole numbers give the scores of scikit-image."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import rgb2ycbcr
from skimage.metrics import structural_similarity

from srsat_dask.evaluation.metrics import Similarity, Sums, decibel, differences, edge_density


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw two images of one size, extremes likely, and which of their pixels count."""
    height, width = draw(st.integers(7, 40)), draw(st.integers(7, 40))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    values = draw(st.sampled_from([[0, 255], [254, 255], list(range(256)), [7]]))
    images = rng.choice(np.array(values, np.uint8), (2, height, width, 3))
    return images[0], images[1], rng.random((height, width)) < draw(st.sampled_from([0.3, 1]))


@given(pairs())
def test_squares_are_those_of_plain_arithmetic(
    case: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Squares exactly, luma as scikit-image's conversion has it."""
    true, other, counted = case
    squares, luma, pixels = differences(true, other, counted)
    assert squares == int(((true.astype(int) - other) ** 2)[counted].sum())
    assert pixels == counted.sum()
    plain = ((rgb2ycbcr(true) - rgb2ycbcr(other))[..., 0] ** 2)[counted].sum()
    assert luma == pytest.approx(plain, rel=1e-9, abs=1e-6)


@given(pairs())
def test_similarity_is_that_of_scikit_image(
    case: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Pixel by pixel, for flat, extreme and random images."""
    true, other, _ = case
    _, whole = structural_similarity(true, other, channel_axis=2, data_range=255, full=True)
    mine = Similarity(true).map(other)
    np.testing.assert_allclose(mine, whole.mean(axis=2)[3:-3, 3:-3], atol=1e-6)


def test_large_differences_are_counted_exactly() -> None:
    """Of black against white, no square is lost in a window of a million pixels."""
    black = np.zeros((1024, 1024, 3), np.uint8)
    squares, _, _ = differences(black, black + 255, np.ones((1024, 1024), bool))
    assert squares == 3 * 255**2 * 1024**2


def test_edge_density_counts_steps_between_pixels_that_count() -> None:
    """Stripes of one pixel have a step between all columns and none between rows."""
    stripes = np.zeros((8, 9, 3), np.uint8)
    stripes[:, ::2] = 30
    everywhere = np.ones((8, 9), bool)
    assert edge_density(stripes, everywhere) == pytest.approx(30 * 64 / (64 + 63))
    left = everywhere.copy()
    left[:, 1:] = False
    assert edge_density(stripes, left) == 0
    assert edge_density(stripes, ~everywhere) == 0


def test_no_sample_has_no_score() -> None:
    """Neither zero nor infinity stands for what was not measured."""
    assert all(math.isnan(score) for score in (Sums().psnr, Sums().mean_ssim, Sums().consistency))
    assert math.isnan(Sums().consistency_rmse)
    assert decibel(0, 5) == math.inf
