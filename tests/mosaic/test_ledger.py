"""The ledger knows what became of every tile and shard, and notices altered ones."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from srsat_dask.mosaic import ledger
from srsat_dask.mosaic.inputs import MosaicScene
from srsat_dask.mosaic.ledger import (
    TileState,
    done_shards,
    fingerprint,
    forget_shards,
    shard_digests,
    state_counts,
    tiles_to_do,
    torn_shards,
    write_shard,
    written_shards,
)
from srsat_dask.mosaic.windows import Window

MakeScene = Callable[..., MosaicScene]
FIRST = Window(0, 512, 0, 512)


def test_states_come_from_the_mask(make_scene: MakeScene) -> None:
    """Full, partial and blank tiles are told apart."""
    valid = np.ones((512, 512), dtype=bool)
    valid[:256, :256] = False
    valid[300, 300] = False
    counts = state_counts(make_scene(rows=2, columns=2, valid=valid))
    assert counts == {
        "pending": 0,
        "stored": 2,
        "partial": 1,
        "absent": 0,
        "blank": 1,
        "failed": 0,
    }


def test_empty_shard_leaves_no_pixels_but_is_done(make_scene: MakeScene) -> None:
    """An all-nodata shard writes no file and still counts as done."""
    scene = make_scene(rows=2, columns=2, valid=np.zeros((512, 512), dtype=bool))
    assert done_shards(scene).all()
    assert state_counts(scene)["blank"] == 4


def test_shard_with_a_failed_tile_is_written_but_not_done(make_scene: MakeScene) -> None:
    """A re-run has to find the failed tile."""
    scene = make_scene(rows=2, columns=4)
    image, valid = scene.read(FIRST)
    states = np.full((2, 2), TileState.STORED, dtype=np.uint8)
    states[1, 0] = TileState.FAILED
    write_shard(scene, FIRST, image, valid.astype(np.uint8), states)
    assert written_shards(scene).tolist() == [[True, True]]
    assert done_shards(scene).tolist() == [[False, True]]


@pytest.mark.parametrize("array", ["image", "valid", "tile_state"])
def test_altered_shard_is_found(make_scene: MakeScene, array: str) -> None:
    """Changing one value of any of the three arrays shows."""
    scene = make_scene(rows=2, columns=4)
    assert torn_shards(scene) == []
    changed = scene.array(array, "r+")
    changed[(0,) * changed.ndim] = changed[(0,) * changed.ndim] ^ 1
    assert torn_shards(scene) == [(0, 0)]


@pytest.mark.parametrize("keep", [0, 20])
def test_torn_file_is_found_and_not_tripped_over(make_scene: MakeScene, keep: int) -> None:
    """A shard's file that was cut short is torn; one of the ledger's makes its shard pending."""
    scene = make_scene(rows=2, columns=4)
    shard = Path(scene.store, "scene", "image", "c", "0", "0", "1")
    shard.write_bytes(shard.read_bytes()[:keep])
    assert torn_shards(scene) == [(0, 1)]
    ledger_file = Path(scene.store, "scene", "shard_digest", "c", "0", "0", "0")
    ledger_file.write_bytes(ledger_file.read_bytes()[:keep])
    assert written_shards(scene).tolist() == [[False, True]]


def test_forgotten_shard_is_pending_again(make_scene: MakeScene) -> None:
    """Repair leaves the work to the next run."""
    scene = make_scene(rows=2, columns=4)
    forget_shards(scene, [(0, 1)])
    assert written_shards(scene).tolist() == [[True, False]]
    assert tiles_to_do(scene).tolist() == [[False, False, True, True]] * 2


def test_fingerprint_follows_the_pixels(make_scene: MakeScene) -> None:
    """The same pixels give the same fingerprint, another pixel another."""
    one, same = make_scene("a", store="1.zarr"), make_scene("a", store="2.zarr")
    assert fingerprint(one) == fingerprint(same)
    image, valid = same.read(FIRST)
    image[0, 0, 0] ^= 1
    write_shard(same, FIRST, image, valid.astype(np.uint8))
    assert fingerprint(one) != fingerprint(same)


def test_rewrite_cut_short_does_not_keep_the_old_digest(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard being rewritten is pending until its pixels are there."""
    scene = make_scene(rows=2, columns=4)

    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(ledger, "write_aligned", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_shard(scene, FIRST, *scene_pixels())
    assert written_shards(scene).tolist() == [[False, True]]


def scene_pixels() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((3, 512, 512), np.uint8), np.ones((512, 512), np.uint8)


def test_digests_of_a_scene_hardly_begun(make_scene: MakeScene) -> None:
    """Rows of which nothing is kept are zeros, as Zarr says too, in whole and in blocks."""
    scene = make_scene(rows=6, columns=4)
    kept = scene.array("shard_digest", "r+")
    expected = np.zeros(kept.shape, np.uint8)
    expected[1, 1] = kept[1, 1]
    for row in (0, 2):
        shutil.rmtree(Path(scene.store, scene.name, "shard_digest", "c", str(row)))
    kept[1, 0] = 0
    np.testing.assert_array_equal(shard_digests(scene), expected)
    np.testing.assert_array_equal(shard_digests(scene), kept[:])
    block = slice(1, 3), slice(1, 2)
    np.testing.assert_array_equal(shard_digests(scene, *block), expected[block])
