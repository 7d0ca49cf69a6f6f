"""The split: stable, spread over blocks, and known to training and evaluation alike."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from srsat_dask.errors import InputError
from srsat_dask.mosaic.grid import TILE
from srsat_dask.mosaic.ledger import TileState
from srsat_dask.mosaic.split import HeldOut, held_out, held_out_tiles
from srsat_dask.mosaic.windows import Window

states_of_tiles = npst.arrays(
    np.uint8,
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    elements=st.sampled_from(list(TileState)),
)


@given(states_of_tiles, st.integers(0, 5))
def test_blocks_are_held_out_whole(states, seed):
    """Every block is held out whole or not at all, and has a pixel if it is."""
    tiles = held_out_tiles("scene", states, seed)
    side = 2 if states.size >= 256 else 1
    for row in range(0, states.shape[0], side):
        for column in range(0, states.shape[1], side):
            block = (slice(row, row + side), slice(column, column + side))
            assert len(np.unique(tiles[block])) == 1
            if tiles[block].all():
                assert np.isin(states[block], [TileState.STORED, TileState.PARTIAL]).any()


@given(st.integers(2, 15), st.integers(1, 17), st.integers(0, 5))
def test_the_share_of_blocks_is_held_out(rows, columns, seed):
    """Of a scene of whole tiles the rounded share is held out, and at least one block."""
    states = np.full((rows, columns), TileState.STORED, np.uint8)
    tiles = held_out_tiles("scene", states, seed)
    assert tiles.sum() == max(round(0.15 * states.size), 1)


def test_many_small_scenes_are_held_out_by_their_share():
    """Of a thousand scenes of one tile, about 15 % are held out whole."""
    one = np.full((1, 1), TileState.STORED, np.uint8)
    chosen = sum(bool(held_out_tiles(f"scene-{n}", one, 0).all()) for n in range(1000))
    assert 110 <= chosen <= 190


def test_slivers_are_not_judged_on():
    """A tile that is partly missing is not held out where whole ones are to be had."""
    states = np.full((6, 6), TileState.PARTIAL, np.uint8)
    states[1:5, 1:5] = TileState.STORED
    for seed in range(20):
        assert (states[held_out_tiles("scene", states, seed)] == TileState.STORED).all()


def test_the_split_survives_another_scene(make_scene):
    """Adding a scene to a store leaves the split of the first one as it was."""
    first = make_scene("first")
    before = held_out(first).tiles.copy()
    second = make_scene("second")
    np.testing.assert_array_equal(held_out(first).tiles, before)
    assert any((held_out(first, n).tiles != held_out(second, n).tiles).any() for n in range(5))


def test_the_seed_moves_the_split():
    """Another seed holds out other tiles."""
    states = np.full((10, 10), TileState.STORED, np.uint8)
    assert (held_out_tiles("scene", states, 0) != held_out_tiles("scene", states, 1)).any()


def test_the_mask_is_that_of_the_tiles():
    """Each pixel of a window is held out if its tile is."""
    tiles = np.array([[False, True, False], [True, False, True]])
    window = Window(200, 300, 250, 600)
    mask = HeldOut(tiles, 0, 0.15).mask(window)
    whole = np.kron(tiles, np.ones((TILE, TILE), bool))
    np.testing.assert_array_equal(mask, whole[window.slices])


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction):
    """The share must lie between 0 and 1."""
    with pytest.raises(InputError, match="fraction"):
        held_out_tiles("scene", np.ones((2, 2), np.uint8), 0, fraction)
