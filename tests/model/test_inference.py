"""Windows and whole images: rounding, nodata and edges."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from srsat_dask.errors import BoundsError, InputError
from srsat_dask.model import (
    ModelFile,
    Upscaler,
    bicubic_image,
    get_upscaler,
    upscale_float,
    upscale_image,
    upscale_window,
)
from srsat_dask.model.inference import reach


@pytest.fixture(scope="module")
def upscaler(model_file: ModelFile) -> Upscaler:
    """Return an upscaler of scale 4 and halo 3."""
    return get_upscaler(model_file, "openvino")


def test_a_window_is_the_float_path_rounded_once(
    upscaler: Upscaler, rng: np.random.Generator
) -> None:
    """Pixels are the network's output times 255, rounded half to even and clipped."""
    image = rng.integers(0, 256, (4, 30, 33), dtype=np.uint8)
    pixels, valid = upscale_window(image, None, upscaler)
    halo = upscaler.halo
    lr = image[:3, halo:-halo, halo:-halo].transpose(1, 2, 0).astype(np.float32) / 255
    expected = np.clip(np.rint(upscaler(lr).transpose(2, 0, 1) * 255), 0, 255)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (3, 4 * 18, 4 * 21)
    assert np.array_equal(pixels, expected)
    assert valid is None
    assert (expected == 0).any()
    assert (expected == 255).any()


def test_missing_pixels_are_zero_and_do_not_show(
    upscaler: Upscaler, rng: np.random.Generator
) -> None:
    """What lies under missing pixels changes nothing; they come out as 0, marked."""
    image = rng.integers(0, 256, (3, 40, 36), dtype=np.uint8)
    valid = rng.random((40, 36)) > 0.2
    valid[:, 20:] = False
    other = np.where(valid, image, rng.integers(0, 256, image.shape, dtype=np.uint8))
    pixels, finer = upscale_window(image, valid, upscaler)
    again, _ = upscale_window(other, valid, upscaler)
    assert np.array_equal(pixels, again)
    core = valid[6:-6, 6:-6]
    assert finer is not None
    assert finer.dtype == np.uint8
    assert np.array_equal(finer, np.kron(core, np.ones((4, 4), np.uint8)))
    assert not pixels[:, finer == 0].any()
    assert pixels[:, finer == 1].any()


def test_a_full_mask_changes_nothing(upscaler: Upscaler, rng: np.random.Generator) -> None:
    """With every pixel valid the result is that without a mask."""
    image = rng.integers(0, 256, (3, 24, 22), dtype=np.uint8)
    pixels, finer = upscale_window(image, np.ones((24, 22), bool), upscaler)
    assert np.array_equal(pixels, upscale_window(image, None, upscaler)[0])
    assert finer is not None
    assert finer.all()


def test_windows_with_nodata_join_without_a_seam(
    upscaler: Upscaler, rng: np.random.Generator
) -> None:
    """Holes across and beside a seam give the same pixels as in one piece."""
    margin = reach(upscaler)
    image = rng.integers(0, 256, (3, 40 + 2 * margin, 37 + 2 * margin), dtype=np.uint8)
    valid = rng.random(image.shape[1:]) > 0.4
    valid[15:32, 10:30] = False
    whole, _ = upscale_window(image, valid, upscaler)
    for y0, y1, x0, x1 in [(0, 20, 0, 13), (20, 40, 13, 37), (11, 12, 0, 37), (3, 30, 20, 21)]:
        window = np.s_[y0 : y1 + 2 * margin, x0 : x1 + 2 * margin]
        part, _ = upscale_window(image[:, *window], valid[window], upscaler)
        assert np.array_equal(part, whole[:, 4 * y0 : 4 * y1, 4 * x0 : 4 * x1])


def test_nan_stays_under_its_mask(upscaler: Upscaler, rng: np.random.Generator) -> None:
    """A NaN that the mask marks spoils no pixel of the float path."""
    lr = rng.random((3, 30, 30))
    lr[:, 12, 14] = np.nan
    values = upscale_float(lr, np.isfinite(lr[0]), upscaler)
    assert values.dtype == np.float32
    assert values.shape == (3, 72, 72)
    assert np.isfinite(values).all()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_whole_image_is_mirrored_at_its_edges(
    make_model: Callable[..., Any], rng: np.random.Generator, scale: int
) -> None:
    """An image equals the middle of itself laid out nine times, mirrored."""
    upscaler = get_upscaler(ModelFile.open(make_model(scale)), "openvino")
    image = rng.integers(0, 256, (17, 23, 3), dtype=np.uint8)
    result = upscale_image(image, upscaler)
    assert result.shape == (scale * 17, scale * 23, 3)
    nine = np.pad(image, ((17, 17), (23, 23), (0, 0)), mode="symmetric")
    large = upscale_image(nine, upscaler)[scale * 17 : scale * 34, scale * 23 : scale * 46]
    assert np.array_equal(result, large)
    if upscaler.halo < 5:
        edge = upscaler.halo
        assert upscale_image(image[:edge, :edge], upscaler).shape == (scale * edge,) * 2 + (3,)


def test_a_masked_image_is_zero_where_missing(upscaler: Upscaler, rng: np.random.Generator) -> None:
    """The mask of a whole image is mirrored with it and applied to the result."""
    image = rng.integers(1, 256, (20, 20, 3), dtype=np.uint8)
    valid = np.ones((20, 20), bool)
    valid[:4, :5] = False
    result = upscale_image(image, upscaler, valid)
    assert not result[:16, :20].any()
    plain = upscale_image(image, upscaler)
    assert np.array_equal(result[4 * 8 :, 4 * 9 :], plain[4 * 8 :, 4 * 9 :])


@pytest.mark.parametrize("shape", [(2, 20, 3), (20, 2, 3), (20, 20)])
def test_an_image_smaller_than_the_halo_is_refused(
    upscaler: Upscaler, shape: tuple[int, ...]
) -> None:
    """Size and halo are named."""
    with pytest.raises(InputError, match="at least 3 pixels"):
        upscale_image(np.zeros(shape, np.uint8), upscaler)


def test_windows_of_another_shape_are_refused(upscaler: Upscaler) -> None:
    """A window without a core, without bands, or with another mask is refused."""
    with pytest.raises(InputError, match="12×20 pixels has no core"):
        upscale_window(np.zeros((3, 12, 20), np.uint8), None, upscaler)
    with pytest.raises(InputError, match="20×12 pixels has no core"):
        upscale_window(np.zeros((3, 20, 12), np.uint8), None, upscaler)
    with pytest.raises(InputError, match="lacks bands"):
        upscale_window(np.zeros((2, 20, 20), np.uint8), None, upscaler)
    with pytest.raises(InputError, match=r"mask of shape \(20, 19\)"):
        upscale_window(np.zeros((3, 20, 20), np.uint8), np.ones((20, 19), bool), upscaler)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_bicubic_twin_is_pillows(rng: np.random.Generator, scale: int) -> None:
    """The twin equals Pillow's mode F, rounded and clipped, but for ties."""
    image = rng.choice(np.array([0, 90, 255], np.uint8), (19, 15, 3))
    twin = bicubic_image(image, scale)
    assert twin.shape == (19 * scale, 15 * scale, 3)
    for band in range(3):
        values = Image.fromarray(image[..., band].astype(np.float32))
        size = (15 * scale, 19 * scale)
        expected = np.asarray(values.resize(size, Image.Resampling.BICUBIC))
        difference = np.abs(twin[..., band] - np.clip(expected, 0, 255))
        assert difference.max() <= 0.5 + 1e-4
    with pytest.raises(BoundsError, match="axis of 0"):
        bicubic_image(np.zeros((0, 4, 3), np.uint8), scale)
