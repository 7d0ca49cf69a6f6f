"""Bicubic upsampling against Pillow, in NumPy and as a Keras layer."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from srsat_dask.errors import BoundsError
from srsat_dask.model.bicubic import keys_kernel, phase_taps, upsample, upsampling_taps

SIZES = [(1, 1), (1, 7), (2, 3), (5, 4), (23, 17)]


def pillow_upsample(image: np.ndarray, scale: int) -> np.ndarray:
    size = (image.shape[1] * scale, image.shape[0] * scale)
    bands = [
        Image.fromarray(image[..., band].astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
        for band in range(image.shape[2])
    ]
    return np.stack([np.asarray(band) for band in bands], axis=-1)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_upsample_is_what_pillow_does(
    size: tuple[int, int], scale: int, rng: np.random.Generator
) -> None:
    """Values, edges included, equal Pillow's in mode F."""
    image = rng.random((*size, 3), dtype=np.float32)
    np.testing.assert_allclose(upsample(image, scale), pillow_upsample(image, scale), atol=1e-6)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_layer_is_what_pillow_does(
    size: tuple[int, int], scale: int, rng: np.random.Generator
) -> None:
    """The Keras layer equals Pillow for each image of a batch."""
    from keras import ops

    from srsat_dask.model import BicubicUpsampling

    images = rng.random((2, *size, 3), dtype=np.float32)
    layer: Any = BicubicUpsampling(scale)
    result = ops.convert_to_numpy(layer(images))
    for image, upsampled in zip(images, result, strict=True):
        np.testing.assert_allclose(upsampled, pillow_upsample(image, scale), atol=1e-6)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_layer_gives_a_pixel_the_same_bits_in_any_window(
    scale: int, rng: np.random.Generator
) -> None:
    """Away from the window's edge the layer's output does not know where the window lies."""
    from keras import ops

    from srsat_dask.model import BicubicUpsampling

    image = rng.random((1, 40, 37, 3), dtype=np.float32)
    layer: Any = BicubicUpsampling(scale)
    whole = ops.convert_to_numpy(layer(image))[0]
    part = ops.convert_to_numpy(layer(image[:, 11:30, 5:37]))[0]
    inner = slice(2 * scale, -2 * scale)
    expected = whole[scale * 11 : scale * 30, scale * 5 : scale * 37]
    assert np.array_equal(part[inner, inner], expected[inner, inner])


def test_keys_kernel_interpolates() -> None:
    """The kernel is 1 at its centre, 0 at the other samples, and -0.0625 at 1.5."""
    distance = np.array([0.0, 1.0, -1.0, 2.0, -2.0, 3.0, 1.5, 0.5])
    assert keys_kernel(distance).tolist() == [1, 0, 0, 0, 0, 0, -0.0625, 0.5625]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_taps_sum_to_one_and_stay_inside(scale: int) -> None:
    """Weights of every HR pixel sum to one, and none falls beyond the edge."""
    indices, weights = upsampling_taps(6, scale)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    assert indices.min() == 0
    assert indices.max() == 5
    assert weights[0, 0] == 0


def test_overshoot_is_kept() -> None:
    """A sharp edge overshoots: nothing is clipped."""
    image = np.zeros((8, 8, 1), np.float32)
    image[:, 4:] = 1
    assert upsample(image, 2).max() > 1.01
    assert upsample(image, 2).min() < -0.01


@pytest.mark.parametrize(("size", "scale"), [(0, 2), (4, 0)])
def test_nothing_to_upsample_is_refused(size: int, scale: int) -> None:
    """An empty axis and a scale of zero are named and refused."""
    with pytest.raises(BoundsError, match="0"):
        upsampling_taps(size, scale)
    with pytest.raises(BoundsError, match="scale -1"):
        phase_taps(-1)
