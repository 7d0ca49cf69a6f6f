"""Degradation: exact by windows, rounded once, and refused where it cannot be."""

import numpy as np
import pytest

from srsat_dask.errors import BoundsError
from srsat_dask.model.bicubic import keys_kernel
from srsat_dask.model.degradation import degrade, degrade_margin, stretch


def _degrade_by_loops(image: np.ndarray, scale: int) -> np.ndarray:
    def matrix(size: int) -> np.ndarray:
        centres = (np.arange(size // scale)[:, None] + 0.5) * scale
        weights = keys_kernel((np.arange(size) + 0.5 - centres) / scale)
        return weights / weights.sum(axis=1, keepdims=True)

    height, width, _ = image.shape
    return np.einsum("yi,xj,ijb->yxb", matrix(height), matrix(width), image.astype(float))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_degrade_is_antialiased_bicubic(scale: int, rng: np.random.Generator) -> None:
    """Pixels are those of the stretched kernel written out as matrices, rounded and clipped."""
    image = rng.choice(np.array([0, 255], np.uint8), (scale * 13, scale * 9, 3))
    expected = np.clip(np.rint(_degrade_by_loops(image, scale)), 0, 255)
    difference = np.abs(degrade(image, scale) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_window_with_its_margin_degrades_as_the_whole(
    scale: int, rng: np.random.Generator
) -> None:
    """Every window, cropped of its margin, equals the degraded whole bit for bit."""
    image = rng.integers(0, 256, (scale * 24, scale * 20, 3), dtype=np.uint8)
    whole, margin = degrade(image, scale), degrade_margin(scale)
    assert margin % scale == 0
    for y0, y1, x0, x1 in [(0, 5, 0, 20), (5, 6, 3, 11), (7, 24, 13, 20), (11, 12, 9, 10)]:
        top, left = max(scale * y0 - margin, 0), max(scale * x0 - margin, 0)
        window = image[top : scale * y1 + margin, left : scale * x1 + margin]
        y, x = y0 - top // scale, x0 - left // scale
        part = degrade(window, scale)[y : y + y1 - y0, x : x + x1 - x0]
        assert np.array_equal(part, whole[y0:y1, x0:x1])


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_smaller_margin_would_not_do(scale: int, rng: np.random.Generator) -> None:
    """With one LR pixel less of margin the window differs from the whole."""
    image = rng.integers(0, 256, (scale * 16, scale * 16, 1), dtype=np.uint8)
    margin = degrade_margin(scale) - scale
    window = image[scale * 8 - margin : scale * 12 + margin, :]
    part = degrade(window, scale)[margin // scale : margin // scale + 4]
    assert not np.array_equal(part, degrade(image, scale)[8:12])


@pytest.mark.parametrize(("shape", "scale"), [((9, 8, 3), 4), ((8, 9, 3), 4), ((0, 8, 3), 4)])
def test_a_size_that_does_not_divide_is_refused(shape: tuple[int, ...], scale: int) -> None:
    """The size and the nearest usable one are named."""
    with pytest.raises(BoundsError, match=f"{shape[0]}×{shape[1]} pixels"):
        degrade(np.zeros(shape, np.uint8), scale)
    with pytest.raises(BoundsError, match="scale 0"):
        degrade(np.zeros(shape, np.uint8), 0)


def test_stretch_is_what_array_to_img_does(rng: np.random.Generator) -> None:
    """The article's defect is reproduced from Keras' own function."""
    from keras.utils import array_to_img

    image = rng.integers(40, 190, (16, 12, 3), dtype=np.uint8)
    expected = np.asarray(array_to_img(image.astype(np.float32)))
    assert np.array_equal(stretch(image), expected)
    assert stretch(image).max() == 255
    assert not stretch(np.full((4, 4, 3), 9, np.uint8)).any()
