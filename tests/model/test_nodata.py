"""Filling missing pixels: against plain loops, and the same in every window."""

import numpy as np

from srsat_dask.model.nodata import fill_nodata


def _fill_by_loops(image: np.ndarray, valid: np.ndarray, reach: int) -> np.ndarray:
    values, present = np.where(valid[..., None], image, 0).astype(np.float64), valid.copy()
    for _ in range(reach):
        before, known = values.copy(), present.copy()
        for y, x in np.argwhere(~known):
            near = slice(max(y - 1, 0), y + 2), slice(max(x - 1, 0), x + 2)
            if known[near].any():
                values[y, x] = before[near][known[near]].mean(axis=0)
                present[y, x] = True
    return values


def test_fill_is_the_mean_of_the_valid_neighbours(rng: np.random.Generator) -> None:
    """Every round equals the loops that the docstring describes."""
    image = rng.random((14, 11, 3), dtype=np.float32)
    valid = rng.random((14, 11)) > 0.8
    for reach in (0, 1, 2, 5):
        filled = fill_nodata(image, valid, reach)
        np.testing.assert_allclose(filled, _fill_by_loops(image, valid, reach), atol=1e-6)


def test_valid_pixels_stay_and_distant_ones_become_zero(rng: np.random.Generator) -> None:
    """Only what lies within reach of a valid pixel is filled, whatever lay there."""
    image = rng.random((9, 20, 2), dtype=np.float32)
    valid = np.zeros((9, 20), bool)
    valid[:, :4] = True
    image[~valid] = np.nan
    filled = fill_nodata(image, valid, 3)
    assert np.array_equal(filled[valid], image[valid])
    assert (filled[:, 4:7] > 0).all()
    assert not filled[:, 7:].any()


def test_a_window_is_filled_as_the_whole(rng: np.random.Generator) -> None:
    """With `reach` pixels around it a window is filled to the same bits."""
    image = rng.random((40, 44, 3), dtype=np.float32)
    valid = rng.random((40, 44)) > 0.9
    valid[20:, 25:] = False
    reach = 4
    whole = fill_nodata(image, valid, reach)
    for y, x, size in [(4, 4, 9), (17, 21, 12), (11, 30, 7)]:
        window = np.s_[y - reach : y + size + reach, x - reach : x + size + reach]
        part = fill_nodata(image[window], valid[window], reach)
        inner = part[reach:-reach, reach:-reach]
        assert np.array_equal(inner, whole[y : y + size, x : x + size])
