"""Degradation: exact by windows, rounded once, and refused where it cannot be."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from srsat_dask.errors import BoundsError, InputError, ModelError
from srsat_dask.model.bicubic import keys_kernel
from srsat_dask.model.degradation import Degradation, stretch
from srsat_dask.model.sensor import mtf_sigma, mtf_taps, sensor_noise

SCALES = [2, 3, 4]
EVERY = [
    "bicubic",
    "area",
    "mtf:0.05",
    "mtf:0.25",
    "mtf:0.5",
    "bicubic+noise:6:3",
    "mtf:0.2+noise:4",
]

degradations = st.builds(
    lambda method, nyquist, noise, seed: Degradation(
        method, nyquist if method == "mtf" else None, noise, seed if noise else 0
    ),
    st.sampled_from(["bicubic", "area", "mtf"]),
    st.floats(0.05, 0.5),
    st.just(0.0) | st.floats(1e-3, 40),
    st.integers(0, 2**63 - 1),
)


def pillow(image: np.ndarray, scale: int, resampling: Image.Resampling) -> np.ndarray:
    """Resize the whole image by Pillow, band by band in mode F, and round."""
    size = (image.shape[1] // scale, image.shape[0] // scale)
    bands = [
        np.asarray(Image.fromarray(image[..., band].astype(np.float32)).resize(size, resampling))
        for band in range(image.shape[2])
    ]
    return np.clip(np.rint(np.stack(bands, axis=-1)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("scale", SCALES)
def test_bicubic_is_pillows(scale: int, rng: np.random.Generator) -> None:
    """The default is bit-equal to Pillow's antialiased bicubic."""
    image = rng.choice(np.array([0, 255], np.uint8), (scale * 13, scale * 9, 3))
    expected = pillow(image, scale, Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(Degradation().apply(image, scale), expected)


@pytest.mark.parametrize("scale", SCALES)
def test_bicubic_is_the_stretched_kernel(scale: int, rng: np.random.Generator) -> None:
    """Pixels are those of Keys' kernel written out as matrices, rounded and clipped."""

    def matrix(size: int) -> np.ndarray:
        centres = (np.arange(size // scale)[:, None] + 0.5) * scale
        weights = keys_kernel((np.arange(size) + 0.5 - centres) / scale)
        return weights / weights.sum(axis=1, keepdims=True)

    image = rng.choice(np.array([0, 255], np.uint8), (scale * 13, scale * 9, 3))
    exact = np.einsum("yi,xj,ijb->yxb", matrix(scale * 13), matrix(scale * 9), image.astype(float))
    difference = np.abs(Degradation().apply(image, scale) - np.clip(np.rint(exact), 0, 255))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


@pytest.mark.parametrize("scale", SCALES)
def test_area_is_the_mean_of_the_blocks(scale: int, rng: np.random.Generator) -> None:
    """It is Pillow's box filter, and within rounding the block's mean."""
    image = rng.integers(0, 256, (scale * 13, scale * 9, 3), dtype=np.uint8)
    found = Degradation("area").apply(image, scale)
    np.testing.assert_array_equal(found, pillow(image, scale, Image.Resampling.BOX))
    means = image.reshape(13, scale, 9, scale, 3).mean(axis=(1, 3))
    assert np.abs(found - means).max() <= 0.5 + 1e-4


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("nyquist", [0.1, 0.3])
def test_mtf_is_a_gaussian_sampled_at_the_centres(
    scale: int, nyquist: float, rng: np.random.Generator
) -> None:
    """A plain loop over all pixels with the Gaussian's own formula gives the same, rounded."""
    image = rng.integers(0, 256, (scale * 7, scale * 6, 2), dtype=np.uint8)
    found = Degradation("mtf", nyquist).apply(image, scale)
    sigma = scale / np.pi * np.sqrt(-2 * np.log(nyquist))
    y, x = (np.arange(size) + 0.5 for size in image.shape[:2])
    for row in range(7):
        for column in range(6):
            # Nearer to the edge, what is cut off the tail shows more.
            weights = np.exp(-((y[:, None] - (row + 0.5) * scale) ** 2) / (2 * sigma**2)) * np.exp(
                -((x[None] - (column + 0.5) * scale) ** 2) / (2 * sigma**2)
            )
            exact = (weights[..., None] * image).sum(axis=(0, 1)) / weights.sum()
            assert np.abs(found[row, column] - exact).max() < 0.5 + 0.02


@given(st.sampled_from(SCALES), st.floats(0.05, 0.5))
def test_the_mtf_at_nyquist_is_the_one_asked_for(scale: int, nyquist: float) -> None:
    """The taps pass that part of a wave of one period per two LR pixels, and all of a constant."""
    taps = mtf_taps(nyquist, scale).astype(float)
    distance = np.arange(len(taps)) - (len(taps) - 1) / 2
    assert taps.sum() == pytest.approx(1, abs=1e-6)
    passed = (taps * np.cos(2 * np.pi * distance / (2 * scale))).sum()
    # The narrowest Gaussian at ×2 is 0.75 px wide: sampling it costs the third digit.
    assert passed == pytest.approx(nyquist, abs=3e-3)
    assert mtf_sigma(nyquist, scale) == pytest.approx(scale * mtf_sigma(nyquist, 1))


@st.composite
def windows(draw: st.DrawFn) -> tuple[int, Degradation, np.ndarray, tuple[int, int, int, int]]:
    """Draw a scale, a degradation, an image and a window of LR pixels in it."""
    scale = draw(st.sampled_from(SCALES))
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    y0, x0 = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    y1, x1 = draw(st.integers(y0 + 1, height)), draw(st.integers(x0 + 1, width))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    image = rng.integers(0, 256, (scale * height, scale * width, 2), dtype=np.uint8)
    return scale, draw(degradations), image, (y0, y1, x0, x1)


def by_window(
    image: np.ndarray,
    scale: int,
    how: Degradation,
    window: tuple[int, int, int, int],
    margin: int,
) -> np.ndarray:
    """Degrade a window with so many HR pixels around it, and crop these."""
    y0, y1, x0, x1 = window
    top, left = max(scale * y0 - margin, 0), max(scale * x0 - margin, 0)
    part = image[top : scale * y1 + margin, left : scale * x1 + margin]
    origin = top // scale, left // scale
    y, x = y0 - origin[0], x0 - origin[1]
    return how.apply(part, scale, origin)[y : y + y1 - y0, x : x + x1 - x0]


@given(windows())
def test_a_window_with_its_margin_degrades_as_the_whole(
    case: tuple[int, Degradation, np.ndarray, tuple[int, int, int, int]],
) -> None:
    """Every window, cropped of its margin, equals the degraded whole to the bit, noise included."""
    scale, how, image, window = case
    margin = how.margin(scale)
    assert margin % scale == 0
    y0, y1, x0, x1 = window
    whole = how.apply(image, scale)
    part = by_window(image, scale, how, window, margin)
    np.testing.assert_array_equal(part, whole[y0:y1, x0:x1])


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("how", [text for text in EVERY if not text.startswith("area")])
def test_a_smaller_margin_would_not_do(how: str, scale: int, rng: np.random.Generator) -> None:
    """With one LR pixel less of margin the window differs from the whole."""
    # Every brightness from column to column: in some of them the tail of the kernel shows.
    levels = np.arange(256, dtype=np.uint8).repeat(scale)
    image = (rng.integers(0, 2, (scale * 20, 1), dtype=np.uint8) * levels)[..., None]
    degradation = Degradation.of(how)
    window = (8, 12, 0, 256)
    less = degradation.margin(scale) - scale
    part = by_window(image, scale, degradation, window, less)
    assert not np.array_equal(part, degradation.apply(image, scale)[8:12])


def test_noise_has_the_sigma_asked_for() -> None:
    """On an even grey it is normal around it, and independent from pixel to pixel."""
    grey = np.full((512, 512, 3), 128, np.uint8)
    noise = Degradation("area", noise=5.0, seed=1).apply(grey, 2) - 128.0
    assert noise.mean() == pytest.approx(0, abs=0.05)
    assert noise.std() == pytest.approx(5, abs=0.05)  # rounding adds 1/12 to the variance
    assert (np.abs(noise) < 5).mean() == pytest.approx(0.683, abs=0.06)
    for other in (noise[..., 1], np.roll(noise[..., 0], 1, axis=0), np.roll(noise[..., 0], 32, 1)):
        assert abs(np.corrcoef(noise[..., 0].ravel(), other.ravel())[0, 1]) < 0.02


def test_noise_belongs_to_seed_and_place() -> None:
    """Another seed or place has other noise; another number of bands has the same."""
    one = sensor_noise((40, 40, 3), (0, 0), 0)
    np.testing.assert_array_equal(sensor_noise((40, 40, 1), (0, 0), 0)[..., 0], one[..., 0])
    assert (sensor_noise((40, 40, 3), (0, 0), 1) != one).all()
    assert (sensor_noise((40, 40, 3), (32, 0), 0)[:8] == one[32:]).all()
    assert (sensor_noise((40, 40, 3), (0, 32), 0) != one).all()


@given(degradations)
def test_text_and_record_are_read_again(how: Degradation) -> None:
    """What is printed parses, and what is recorded as JSON reads, as the same degradation."""
    assert Degradation.of(str(how)) == how
    assert Degradation.of(how) is how
    assert Degradation.recorded({"degradation": json.loads(json.dumps(how.record()))}) == how


@pytest.mark.parametrize("text", EVERY)
def test_texts_are_compact(text: str) -> None:
    """The texts of the documentation print as they are written."""
    assert str(Degradation.of(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "bilinear", "mtf", "mtf:", "mtf:x", "mtf:0", "mtf:1", "mtf:nan", "area:0.3", "bicubic+",
        "bicubic+noise", "bicubic+noise:x", "bicubic+noise:-1", "bicubic+noise:nan", "bicubic+2",
        "bicubic+noise:256", "bicubic+noise:1:2:3", "bicubic+noise:1:-2", "bicubic+grain:2",
        "bicubic+noise:1:1.5", "bicubic+noise:2+noise:2",
    ],
)  # fmt: skip
def test_other_texts_are_refused(text: str) -> None:
    """One line says what may be given."""
    with pytest.raises(InputError) as caught:
        Degradation.of(text)
    assert "\n" not in str(caught.value)


def test_a_model_without_a_record_is_bicubic() -> None:
    """So are the first models' files, which named it otherwise."""
    old = {"method": "antialiased bicubic, 8 bits", "scale": 4, "contrast_stretch": True}
    assert Degradation.recorded({}) == Degradation.recorded({"degradation": old}) == Degradation()


@pytest.mark.parametrize(
    "record",
    [
        "bicubic", None, [], {"method": "jpeg"}, {"method": ["bicubic"]}, {"method": "mtf"},
        {"method": "area", "noise": "loud"}, {"method": "area", "seed": [1]},
        {"method": "area", "seed": float("inf")}, {"method": "mtf", "nyquist": {}},
    ],
)  # fmt: skip
def test_an_unknown_record_is_refused(record: object) -> None:
    """It is not silently taken for bicubic."""
    with pytest.raises(ModelError, match="give another, bicubic, area or mtf"):
        Degradation.recorded({"degradation": record})


@pytest.mark.parametrize("how", EVERY)
@pytest.mark.parametrize(("shape", "scale"), [((9, 8, 3), 4), ((8, 9, 3), 4), ((0, 8, 3), 4)])
def test_a_size_that_does_not_divide_is_refused(
    how: str, shape: tuple[int, ...], scale: int
) -> None:
    """The size and the nearest usable one are named."""
    degradation = Degradation.of(how)
    with pytest.raises(BoundsError, match=f"{shape[0]}×{shape[1]} pixels"):
        degradation.apply(np.zeros(shape, np.uint8), scale)
    with pytest.raises(BoundsError, match="scale 0"):
        degradation.apply(np.zeros(shape, np.uint8), 0)


def test_stretch_is_what_array_to_img_does(rng: np.random.Generator) -> None:
    """The article's defect is reproduced from Keras' own function."""
    from keras.utils import array_to_img

    image = rng.integers(40, 190, (16, 12, 3), dtype=np.uint8)
    expected = np.asarray(array_to_img(image.astype(np.float32)))
    assert np.array_equal(stretch(image), expected)
    assert stretch(image).max() == 255
    assert not stretch(np.full((4, 4, 3), 9, np.uint8)).any()
