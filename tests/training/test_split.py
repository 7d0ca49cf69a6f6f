"""The split: stable, spread over blocks, and known to training and evaluation alike."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from srsat_dask.errors import InputError
from srsat_dask.mosaic.inputs import RasterScene
from srsat_dask.mosaic.ledger import TileState
from srsat_dask.mosaic.split import Part, Shares, Split, parts_of_tiles, split_scene
from srsat_dask.mosaic.windows import Window
from tests.training.conftest import write_picture

states_of_tiles = npst.arrays(
    np.uint8,
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    elements=st.sampled_from(list(TileState)),
)


def parts(states, seed=0):
    return parts_of_tiles("scene", states, Shares(seed=seed))


@given(states_of_tiles, st.integers(0, 5))
def test_blocks_belong_to_one_part(states, seed):
    """Every block is of one part, and has a pixel if it is held out."""
    found = parts(states, seed)
    side = 2 if states.size >= 256 else 1
    for row in range(0, states.shape[0], side):
        for column in range(0, states.shape[1], side):
            block = (slice(row, row + side), slice(column, column + side))
            assert len(np.unique(found[block])) == 1
            if found[block].any():
                assert np.isin(states[block], [TileState.STORED, TileState.PARTIAL]).any()


@given(st.integers(1, 15), st.integers(3, 17), st.integers(0, 5))
def test_the_shares_of_blocks_are_held_out(rows, columns, seed):
    """Of a scene of whole tiles the rounded shares are held out, at least one block each."""
    found = parts(np.full((rows, columns), TileState.STORED, np.uint8), seed)
    blocks = rows * columns
    assert (found == Part.TEST).sum() == max(round(0.15 * blocks), 1)
    assert (found == Part.VALIDATION).sum() == max(round(0.1 * blocks), 1)


@given(st.floats(0, 0.98), st.floats(0.001, 0.99), st.integers(3, 40))
def test_each_part_keeps_a_block(validation, test, blocks):
    """However large the shares, of three blocks or more each part that is asked for has one."""
    shares = Shares(validation * (1 - test), test)
    found = parts_of_tiles("scene", np.full((1, blocks), TileState.STORED, np.uint8), shares)
    wanted = {Part.TRAINING, Part.TEST} | ({Part.VALIDATION} if shares.validation else set())
    assert set(np.unique(found)) == wanted


def test_of_two_blocks_one_is_validated_on():
    """There is none left to test on, and the validation block is judged by instead."""
    states = np.full((1, 2), TileState.STORED, np.uint8)
    found = parts(states)
    assert sorted(found.flat) == [Part.TRAINING, Part.VALIDATION]
    assert Split(found, states == TileState.STORED, Shares()).judged == Part.VALIDATION


def test_many_small_scenes_are_held_out_by_their_shares():
    """Of a thousand scenes of one tile, about 15 % are for test and 10 % for validation."""
    one = np.full((1, 1), TileState.STORED, np.uint8)
    found = Counter(int(parts_of_tiles(f"scene-{n}", one, Shares())[0, 0]) for n in range(1000))
    assert 120 <= found[Part.TEST] <= 180
    assert 75 <= found[Part.VALIDATION] <= 130


def test_slivers_are_not_judged_on():
    """A tile that is partly missing is not held out where whole ones are to be had."""
    states = np.full((6, 6), TileState.PARTIAL, np.uint8)
    states[1:5, 1:5] = TileState.STORED
    for seed in range(20):
        assert (states[parts(states, seed) != Part.TRAINING] == TileState.STORED).all()


def test_the_split_survives_another_scene(make_scene):
    """Adding a scene to a store leaves the split of the first one as it was."""
    first = make_scene("first")
    before = split_scene(first).parts
    second = make_scene("second")
    np.testing.assert_array_equal(split_scene(first).parts, before)
    assert any(
        (
            split_scene(first, Shares(seed=n)).parts != split_scene(second, Shares(seed=n)).parts
        ).any()
        for n in range(5)
    )


def test_the_seed_moves_the_split():
    """Another seed holds out other tiles."""
    states = np.full((10, 10), TileState.STORED, np.uint8)
    assert (parts(states, 0) != parts(states, 1)).any()


def test_the_mask_is_that_of_the_tiles():
    """Each pixel of a window belongs to the part of its tile."""
    tiles = np.array([[0, 1, 2], [1, 0, 1]], np.uint8)
    split = Split(tiles, np.array([[True, True, True], [False, True, True]]), Shares(), (30, 70))
    window = Window(20, 50, 60, 200)
    whole = np.kron(tiles, np.ones((30, 70), np.uint8))[window.slices]
    np.testing.assert_array_equal(split.mask(window, Part.TEST), whole == 2)
    np.testing.assert_array_equal(split.mask(window, Part.VALIDATION, Part.TEST), whole > 0)
    there = np.kron(split.present, np.ones((30, 70), bool))[window.slices]
    for part in Part:
        assert split.pixels(window, part) == ((whole == part) & there).sum()
    assert [split.tiles(part) for part in Part] == [2, 2, 1]


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_tiles_of_an_image_are_even(height, width):
    """Those of an image are 171 to 384 px wide, if it is: none is a sliver of its edge."""
    split = split_scene(WithoutHoles("x", (height, width)))
    for side, tile, tiles in zip((height, width), split.tile, split.parts.shape, strict=True):
        assert (tiles - 1) * tile < side <= tiles * tile
        assert tile <= 384
        assert side - (tiles - 1) * tile > min(side, 171) - tiles


class WithoutHoles(RasterScene):
    """A raster that is not there."""

    def all_valid(self):
        """Say so without a file."""
        return True


def test_nodata_of_an_image_is_in_its_tiles(tmp_path):
    """A tile of an image is present if a pixel of it is valid."""
    image = np.full((3, 512, 768), 9, np.uint8)
    image[:, :256, :256] = 0
    image[:, 300, 300] = 0
    path = write_picture(tmp_path / "a.tif", image, nodata=0)
    scene = RasterScene.open(path, georeferenced=False)
    split = split_scene(scene)
    assert split.tile == (256, 256)
    np.testing.assert_array_equal(split.present, [[False, True, True], [True, True, True]])
    assert split.parts[0, 0] == split.parts[1, 1] == Part.TRAINING


@pytest.mark.parametrize(
    "shares", [(0, 0), (0.1, 0.9), (-0.1, 0.5), (0.5, -0.1), (float("nan"), 0.1)]
)
def test_shares_out_of_range_are_refused(shares):
    """Each must be there, and something must be left."""
    with pytest.raises(InputError, match="held-out fractions"):
        Shares(*shares)
