"""Patches: where they lie, and what is cut there, against plain loops and whole images."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srsat_dask.model.degradation import Degradation, stretch
from srsat_dask.training.patches import (
    Patches,
    PatchShape,
    cut,
    degraded,
    recoloured,
    training_corners,
    turned,
    validation_corners,
)
from srsat_dask.training.prepared import Cache, Prepared
from tests.conftest import texture


@st.composite
def windows(draw):
    """Draw a window with holes and held-out squares, where it lies, and a shape of patches."""
    scale = draw(st.sampled_from([2, 3, 4]))
    shape = PatchShape(scale, scale * draw(st.integers(1, 5)), draw(st.integers(1, 2)))
    height, width = draw(st.tuples(st.integers(1, 70), st.integers(1, 70)))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    valid = rng.random((height, width)) > draw(st.sampled_from([0.0, 0.002, 0.02]))
    side = draw(st.integers(5, 40))
    blocks = rng.random((-(-height // side), -(-width // side))) < 0.4
    held = blocks.repeat(side, axis=0).repeat(side, axis=1)[:height, :width]
    return valid, held, draw(st.tuples(st.integers(0, 99), st.integers(0, 99))), shape


def loop_corners(valid, allowed, origin, shape, reach):
    """Try every pixel as a corner, by plain slices."""
    found = []
    height, width = valid.shape
    size, context = shape.size, shape.context
    for y in range(height):
        for x in range(width):
            on_grid = (origin[0] + y) % shape.scale == 0 and (origin[1] + x) % shape.scale == 0
            inside = (
                y >= context
                and x >= context
                and y + size + context <= height
                and x + size + context <= width
            )
            if not (on_grid and inside):
                continue
            target = valid[y : y + size, x : x + size]
            around = allowed[y - reach : y + size + reach, x - reach : x + size + reach]
            if target.mean() > 0.99 and around.all():
                found.append((y, x))
    return np.array(found, dtype=int).reshape(-1, 2)


@given(windows())
def test_training_corners_are_those_of_a_plain_loop(case):
    """Every place where a training patch may lie is found, and no pixel of it is held out."""
    valid, held, origin, shape = case
    expected = loop_corners(valid, ~held, origin, shape, shape.context)
    np.testing.assert_array_equal(training_corners(valid, held, origin, shape), expected)


@given(windows())
def test_validation_patches_are_held_out_and_apart(case):
    """Targets are held out and do not overlap, and no place is left for another."""
    valid, held, origin, shape = case
    chosen = validation_corners(valid, held, origin, shape)
    possible = loop_corners(valid, held, origin, shape, 0)
    assert {tuple(corner) for corner in chosen} <= {tuple(corner) for corner in possible}
    for n, corner in enumerate(chosen):
        others = np.abs(np.delete(chosen, n, axis=0) - corner).max(axis=1)
        assert (others >= shape.size).all()
    for corner in possible:
        assert np.abs(chosen - corner).max(axis=1).min() < shape.size


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("how", ["bicubic", "area+noise:3", "mtf:0.1", "mtf:0.4+noise:2:5"])
def test_inputs_are_those_of_the_whole_scene(scale, how, rng):
    """A patch's input is the very part of the degraded scene, its target the scene's own."""
    scene = texture(53 * scale, 43 * scale)
    origin = (5 * scale - 1, 3 * scale + 1)
    image = scene[:, origin[0] :, origin[1] :]
    valid = np.ones(image.shape[1:], bool)
    shape = PatchShape(scale, 8 * scale, 4, degradation=Degradation.of(how))
    corners = training_corners(valid, ~valid, origin, shape)
    corners = corners[rng.integers(len(corners), size=20)]
    whole = np.ascontiguousarray(scene.transpose(1, 2, 0))
    coarse = shape.degradation.apply(whole, scale)
    patches = cut(image, valid, corners, shape, origin)
    for n, (y, x) in enumerate(corners):
        row, column = (origin[0] + y) // scale - 4, (origin[1] + x) // scale - 4
        np.testing.assert_array_equal(patches.lr[n], coarse[row : row + 16, column : column + 16])
        target = image[:, y : y + shape.size, x : x + shape.size].transpose(1, 2, 0)
        np.testing.assert_array_equal(patches.hr[n], target)
    assert patches.weight.all()


@pytest.mark.parametrize("degradation", ["bicubic", "area", "mtf:0.25+noise:2"])
def test_a_window_degraded_at_once_gives_the_same_inputs(degradation, rng):
    """Inputs cut out of a degraded window, wherever it lies, are those of patches by themselves."""
    image = texture(190, 203)
    valid = rng.random(image.shape[1:]) > 0.0005
    shape = PatchShape(4, 32, 3, degradation=Degradation.of(degradation))
    origin = (333, 1001)
    corners = training_corners(valid, ~valid, origin, shape)
    corners = corners[rng.integers(len(corners), size=30)]
    alone = cut(image, valid, corners, shape, origin)
    together = cut(image, valid, corners, shape, origin, degraded(image, origin, shape))
    np.testing.assert_array_equal(alone.lr, together.lr)
    np.testing.assert_array_equal(alone.hr, together.hr)


def test_held_out_pixels_never_fill_a_hole(rng):
    """Where a pixel is missing beside a held-out block, nothing of the block comes in."""
    image = texture(128, 128)
    valid = rng.random((128, 128)) > 0.004
    held = np.zeros((128, 128), bool)
    held[:, :30] = True
    shape = PatchShape(4, 32, 3)
    other = np.where(held, rng.integers(256, size=image.shape), image).astype(np.uint8)
    one, two = (
        Prepared.of(pixels, valid, held, (0, 0), shape).draw(50, shape, np.random.default_rng(0))
        for pixels in (image, other)
    )
    assert len(one) == 50
    np.testing.assert_array_equal(one.lr, two.lr)
    np.testing.assert_array_equal(one.hr, two.hr)


def test_recoloured_patches_keep_input_and_target_together(rng):
    """Both change by one linear map a patch; bands are exchanged; nodata stays 0; none clips."""
    hr = rng.integers(0, 256, (60, 16, 16, 3)).astype(np.uint8)
    weight = (rng.random((60, 16, 16)) > 0.05).astype(np.uint8)
    patches = Patches(hr[:, ::4, ::4], hr * weight[..., None], weight)
    found = recoloured(patches, rng)
    orders = set()
    for n in range(60):
        for order in permutations(range(3)):
            old = patches.hr[n][..., order][weight[n] == 1].astype(float).ravel()
            new = found.hr[n][weight[n] == 1].astype(float).ravel()
            slope, offset = np.polyfit(old, new, 1)
            if np.abs(slope * old + offset - new).max() < 1:
                orders.add(order)
                assert 0.58 < slope <= 1.01
                inputs = slope * patches.lr[n][..., order].astype(float) + offset
                assert np.abs(inputs - found.lr[n]).max() < 1.5
    assert len(orders) == 6
    assert not found.hr[weight == 0].any()


def test_what_lies_under_nodata_is_never_seen(rng):
    """Other pixels under the same mask give the same inputs, targets and weights."""
    image = texture(128, 128)
    valid = rng.random((128, 128)) > 0.004
    valid[100:, 100:] = False
    shape = PatchShape(4, 32, 3)
    corners = training_corners(valid, np.zeros_like(valid), (0, 0), shape)
    first = cut(image, valid, corners, shape)
    other = np.where(valid, image, rng.integers(256, size=image.shape)).astype(np.uint8)
    second = cut(other, valid, corners, shape)
    assert (image != other).any()
    assert 0 < (first.weight == 0).sum() < first.weight.size / 100
    for name in ("lr", "hr", "weight"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_the_article_stretches_the_input_only(rng):
    """With its stretch, inputs come from the stretched patch and targets stay as they are."""
    image = (texture(96, 96) // 4 + 64).astype(np.uint8)
    valid = np.ones(image.shape[1:], bool)
    shape = PatchShape(4, 32, 3, contrast_stretch=True)
    patches = cut(image, valid, np.array([[32, 32]]), shape)
    around = np.ascontiguousarray(image[:, 12:84, 12:84].transpose(1, 2, 0))
    np.testing.assert_array_equal(
        patches.lr[0], Degradation().apply(stretch(around), 4)[2:-2, 2:-2]
    )
    np.testing.assert_array_equal(patches.hr[0], image[:, 32:64, 32:64].transpose(1, 2, 0))


def test_patches_are_turned_as_one(rng):
    """Input, target and weight turn alike, and all eight orientations occur."""
    lr = np.tile(np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3), (200, 1, 1, 1))
    hr = lr.repeat(2, axis=1).repeat(2, axis=2)
    result = turned(Patches(lr, hr, hr[..., 0]), rng)
    np.testing.assert_array_equal(result.hr, result.lr.repeat(2, axis=1).repeat(2, axis=2))
    np.testing.assert_array_equal(result.weight, result.hr[..., 0])
    assert len(np.unique(result.lr.reshape(200, -1), axis=0)) == 8


def test_the_cache_keeps_what_was_prepared_last():
    """It prepares once while there is room, and the oldest goes first."""
    made = []

    def prepared(name):
        def make():
            made.append(name)
            empty = np.zeros((0, 2), np.intp)
            image = np.zeros((1, 10, 10), np.uint8)
            return Prepared(image, np.zeros((0, 0), bool), empty, None, (0, 0))

        return make

    cache = Cache(250)
    for name in "abacab":
        cache.get(name, prepared(name))
    assert made == ["a", "b", "c", "b"]
