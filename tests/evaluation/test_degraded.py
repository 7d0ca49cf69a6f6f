"""A degraded scene, read by windows, is the whole scene degraded at once."""

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from srsat_dask.errors import InputError
from srsat_dask.evaluation.degraded import DegradedScene
from srsat_dask.model.degradation import Degradation
from srsat_dask.mosaic.georeference import Georeference
from srsat_dask.mosaic.windows import Window


class Plain:
    """A scene in memory."""

    name = "plain"

    def __init__(self, image: np.ndarray, valid: np.ndarray | None = None) -> None:
        self.image = image
        self.valid = np.ones(image.shape[1:], bool) if valid is None else valid
        self.shape = self.valid.shape

    @property
    def georeference(self) -> Georeference:
        return Georeference("EPSG:32654", Affine(0.4, 0.3, 4e5, 0.3, -0.4, 3.9e6), *self.shape)

    def fingerprint(self) -> str:
        return "f" * 64

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        assert window == window.clipped(self.shape), "reads stay inside the scene"
        return self.image[:, *window.slices], self.valid[window.slices]


def pillow(image: np.ndarray, scale: int) -> np.ndarray:
    """Degrade the whole of a (3, y, x) image by Pillow, band by band in mode F."""
    height, width = (side // scale for side in image.shape[1:])
    bands = [
        np.asarray(
            Image.fromarray(band[: height * scale, : width * scale].astype(np.float32)).resize(
                (width, height), Image.Resampling.BICUBIC
            )
        )
        for band in image
    ]
    return np.clip(np.rint(np.stack(bands)), 0, 255).astype(np.uint8)


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, int, Window]:
    """Draw an image of any size, a scale and a window of the degraded image."""
    scale = draw(st.sampled_from([2, 3, 4]))
    height, width = draw(st.integers(scale, 90)), draw(st.integers(scale, 90))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    y0 = draw(st.integers(0, height // scale - 1))
    x0 = draw(st.integers(0, width // scale - 1))
    y1 = draw(st.integers(y0 + 1, height // scale))
    x1 = draw(st.integers(x0 + 1, width // scale))
    image = rng.integers(0, 256, (3, height, width), dtype=np.uint8)
    return image, scale, Window(y0, y1, x0, x1)


@given(cases())
def test_window_equals_pillow_on_the_whole(case: tuple[np.ndarray, int, Window]) -> None:
    """The oracle degrades the whole image and cuts the window out."""
    image, scale, window = case
    pixels, valid = DegradedScene(Plain(image), scale).read(window)
    np.testing.assert_array_equal(pixels, pillow(image, scale)[:, *window.slices])
    assert valid.all()
    assert valid.shape == window.shape


hows = st.sampled_from(["bicubic", "area", "mtf:0.05", "mtf:0.3+noise:4"]).map(Degradation.of)


@given(cases(), hows)
def test_window_equals_the_whole_degraded_at_once(
    case: tuple[np.ndarray, int, Window], how: Degradation
) -> None:
    """Whatever the degradation, noise included."""
    image, scale, window = case
    scene = DegradedScene(Plain(image), scale, how)
    fine = image[:, : scene.shape[0] * scale, : scene.shape[1] * scale]
    whole = how.apply(np.ascontiguousarray(fine.transpose(1, 2, 0)), scale)
    np.testing.assert_array_equal(
        scene.read(window)[0], whole.transpose(2, 0, 1)[:, *window.slices]
    )


@given(cases(), st.sampled_from([0.02, 0.3, 0.9]), hows)
def test_window_with_holes_equals_the_whole_with_holes(
    case: tuple[np.ndarray, int, Window], holes: float, how: Degradation
) -> None:
    """What fills a missing pixel does not hang on the window it is read by."""
    image, scale, window = case
    rng = np.random.default_rng(3)
    blocks = rng.random(tuple(-(-side // 13) for side in image.shape[1:])) >= holes
    valid = blocks.repeat(13, axis=0).repeat(13, axis=1)[: image.shape[1], : image.shape[2]]
    scene = DegradedScene(Plain(image, valid), scale, how)
    whole, whole_valid = scene.read(Window(0, scene.shape[0], 0, scene.shape[1]))
    pixels, mask = scene.read(window)
    np.testing.assert_array_equal(pixels, whole[:, *window.slices])
    np.testing.assert_array_equal(mask, whole_valid[window.slices])
    height, width = (side * scale for side in scene.shape)
    expected = np.ones(scene.shape, bool)
    for y, x in np.argwhere(~valid[:height, :width]):
        expected[y // scale, x // scale] = False
    np.testing.assert_array_equal(whole_valid, expected)


@given(cases())
def test_what_lies_under_missing_pixels_is_never_seen(
    case: tuple[np.ndarray, int, Window],
) -> None:
    """Other bytes under the mask change nothing that is read."""
    image, scale, window = case
    valid = np.random.default_rng(5).random(image.shape[1:]) < 0.8
    other = np.where(valid, image, 255 - image)
    one, two = (
        DegradedScene(Plain(pixels, valid), scale).read(window) for pixels in (image, other)
    )
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])


def test_valid_pixels_beside_a_hole_keep_their_brightness() -> None:
    """An even grey stays that grey up to the edge of a hole that holds black."""
    image = np.full((3, 64, 64), 200, np.uint8)
    valid = np.ones((64, 64), bool)
    valid[20:40, 20:40] = False
    image[:, ~valid] = 0
    pixels, mask = DegradedScene(Plain(image, valid), 4).read(Window(0, 16, 0, 16))
    assert (pixels[:, mask] == 200).all()
    assert (~mask).sum() == 25


def test_ground_is_that_of_the_scene() -> None:
    """The corners of a degraded pixel are corners of the scene's pixels, rotated or not."""
    scene = Plain(np.zeros((3, 62, 41), np.uint8))
    coarse = DegradedScene(scene, 4)
    ground = coarse.georeference
    assert (ground.height, ground.width) == coarse.shape == (15, 10)
    for column, row in ((0, 0), (10, 0), (0, 15), (10, 15)):
        expected = scene.georeference.transform @ (column * 4, row * 4)
        assert ground.transform @ (column, row) == pytest.approx(expected)
    assert coarse.name == "plain"
    assert coarse.fingerprint() != DegradedScene(scene, 2).fingerprint()
    assert coarse.fingerprint() != DegradedScene(scene, 4, Degradation("area")).fingerprint()


def test_image_smaller_than_a_pixel_is_refused() -> None:
    """The message names the size and the scale."""
    with pytest.raises(InputError, match=r"plain has 3 × 90 px: too small to degrade by 4"):
        DegradedScene(Plain(np.zeros((3, 3, 90), np.uint8)), 4)
