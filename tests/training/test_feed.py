"""The feed: reproducible, proportional, bounded, and from the right side of the split."""

from collections import Counter
from contextlib import closing
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from distributed import Client, LocalCluster

from srsat_dask.errors import InputError, ShardError
from srsat_dask.mosaic.grid import TILE
from srsat_dask.mosaic.inputs import MosaicScene, open_folder
from srsat_dask.mosaic.split import Part, Shares, Split, split_scene
from srsat_dask.mosaic.store import create_scene
from srsat_dask.training import feed
from srsat_dask.training.feed import (
    draw_training,
    plan_pools,
    shard_sources,
    training_batches,
    validation_patches,
)
from srsat_dask.training.patches import PatchShape, Place

SHAPE = PatchShape(4, 32, 3)


@pytest.fixture(autouse=True)
def small_pools(monkeypatch):
    """Make a pool of 96 patches, so that a few batches take several pools."""
    monkeypatch.setattr(feed, "POOL_PIXELS", 96 * SHAPE.size**2)


class EagerClient:
    """A client that runs each task when it is submitted, and remembers its key."""

    def __init__(self):
        self.keys = []
        self.cancelled = []

    def nthreads(self):
        """Say that there are two threads."""
        return {"worker": 2}

    def submit(self, work, *arguments, key, retries):
        """Take a task."""
        self.keys.append(key)
        return EagerFuture(work, arguments)

    def cancel(self, futures):
        """Remember what was cancelled."""
        self.cancelled += futures


class EagerFuture:
    """What `EagerClient.submit` returns."""

    def __init__(self, work, arguments):
        self.work, self.arguments = work, arguments

    def result(self):
        """Run the task."""
        return self.work(*self.arguments)


def sources_of(*scenes, part=Part.TRAINING, **options):
    return shard_sources([(scene, split_scene(scene)) for scene in scenes], part, **options)


def first_batches(client, sources, seed=0, batches=20):
    with closing(training_batches(client, sources, SHAPE, 16, seed)) as found:
        return list(islice(found, batches))


def test_the_order_does_not_hang_on_the_workers(make_scene):
    """One worker and three give the same batches of two pools, byte for byte."""
    scenes = make_scene("a"), make_scene("b", seed=1)
    sources, judges = sources_of(*scenes), sources_of(*scenes, part=Part.VALIDATION)
    found = []
    for workers in (1, 3):
        with (
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=False,
                dashboard_address="127.0.0.1:0",
            ) as cluster,
            Client(cluster) as client,
        ):
            found.append((first_batches(client, sources), validation(client, judges)))
    for one, two in zip(found[0][0], found[1][0], strict=True):
        np.testing.assert_array_equal(one.lr, two.lr)
        np.testing.assert_array_equal(one.hr, two.hr)
    np.testing.assert_array_equal(found[0][1].hr, found[1][1].hr)


def validation(client, sources):
    return validation_patches(client, sources, SHAPE, 0)


def test_another_seed_gives_other_patches(make_scene):
    """The seed decides what is drawn."""
    sources = sources_of(make_scene())
    one, two = (first_batches(EagerClient(), sources, seed, 1)[0] for seed in (0, 1))
    assert (one.hr != two.hr).any()


def test_batches_are_full_and_one_pool_is_ahead(make_scene):
    """Each batch has its size, and only the pool after the current one is submitted."""
    client = EagerClient()
    with closing(training_batches(client, sources_of(make_scene()), SHAPE, 48, 0)) as found:
        for number, batch in enumerate(islice(found, 6)):
            assert batch.lr.shape == (48, SHAPE.side, SHAPE.side, 3)
            assert batch.hr.shape == (48, 32, 32, 3)
            # Two batches to a pool: the current one and the next.
            assert len({key[1] for key in client.keys}) == number // 2 + 2
    assert all(key[0].startswith("patch-batch-") for key in client.keys)
    assert len(client.cancelled) == 4


def test_a_batch_is_found_again_by_its_place(make_scene):
    """From the place of any batch on, the same batches come, and no earlier pool is drawn."""
    sources = sources_of(make_scene("a"), make_scene("b", seed=1))
    whole = first_batches(EagerClient(), sources)
    assert all(batch.scenes and set(batch.scenes) <= {"a", "b"} for batch in whole)
    for number in (0, 5, 6, 7, 13):
        client = EagerClient()
        before = whole[number - 1].place.next if number else Place()
        with closing(training_batches(client, sources, SHAPE, 16, 0, before)) as found:
            again = list(islice(found, 20 - number))
        assert min(key[1] for key in client.keys) == before.pool
        for one, two in zip(whole[number:], again, strict=True):
            assert one.place == two.place
            np.testing.assert_array_equal(one.hr, two.hr)


def test_each_sweep_takes_each_shard_by_its_weight():
    """In a sweep every shard gives patches by its weight, a heavy one in several tasks."""
    weights = [1, 64, 32, 7, 640, 64]
    tasks = [task for pool in islice(plan_pools(weights, 512, 0), 4) for task in pool]
    assert len(tasks) == 16
    sweeps = tasks[:8], tasks[8:]
    for sweep in sweeps:
        assert sorted(shard for shard, _, _ in sweep) == [0, 1, 2, 3, 4, 4, 4, 5]
        drawn = Counter()
        for shard, patches, _ in sweep:
            drawn[shard] += patches
        for shard, weight in enumerate(weights):
            assert drawn[shard] == pytest.approx(6 * 128 * weight / sum(weights), abs=1)
    assert max(patches for _, patches, _ in tasks) <= 2 * 128
    assert len({seed for _, _, seed in tasks}) == len(tasks)


def test_parts_never_meet(make_scene):
    """With a value of its own in each tile, no value is in two of the three parts."""
    values = np.arange(10, 22, dtype=np.uint8).reshape(3, 4)
    image = np.broadcast_to(np.kron(values, np.ones((TILE, TILE), np.uint8)), (3, 768, 1024))
    scene = make_scene(image=image)
    parts = split_scene(scene).parts
    judged = validation(EagerClient(), sources_of(scene, part=Part.VALIDATION))
    assert set(np.unique(judged.hr)) <= set(values[parts == Part.VALIDATION])
    learned = [draw_training(source, SHAPE, 200, (0,)) for source in sources_of(scene)]
    seen = {value for patches in learned for value in np.unique(patches.hr)}
    seen |= {value for patches in learned for value in np.unique(patches.lr)}
    assert seen == set(values[parts == Part.TRAINING])


def test_validation_is_bounded(make_scene):
    """However many tiles are held out, at most 64 patches are kept."""
    scene = make_scene(rows=4, columns=4)
    every = Split(np.full((4, 4), Part.VALIDATION, np.uint8), np.ones((4, 4), bool), Shares())
    assert len(validation(EagerClient(), shard_sources([(scene, every)], Part.VALIDATION))) == 64


def test_small_images_are_read_together(folder, monkeypatch):
    """A task reads as many images as have the pixels of a shard, in an order that is mixed."""
    monkeypatch.setattr(feed, "SHARD", 640)
    scenes = open_folder(folder)
    sources = sources_of(*scenes)
    pieces = [piece for source in sources for piece in source.pieces]
    assert len(pieces) > 15
    assert len(sources) < len(pieces) / 3
    names = [piece.scene.name for piece in pieces]
    assert sorted(names) != names
    for source in sources:
        pixels = sum(np.prod(piece.window.shape) for piece in source.pieces)
        assert len(source.pieces) == 1 or pixels <= 640**2
    assert len(draw_training(sources[0], SHAPE, 40, (0,))) == 40


def test_scenes_count_by_their_pixels_or_evenly(make_scene, folder):
    """Each scene's weight is its pixels to train on, or the same as any other's."""
    scenes = make_scene(), *open_folder(folder)
    for even in (False, True):
        weights = Counter()
        for source in sources_of(*scenes, even=even):
            for piece in source.pieces:
                weights[piece.scene.name] += piece.weight
        if even:
            assert list(weights.values()) == pytest.approx([1] * len(weights))
        else:
            assert weights["scene"] == 256**2 * split_scene(scenes[0]).tiles(Part.TRAINING)


def test_pending_shards_are_not_read(tmp_path, make_scene):
    """A shard without a tile that holds pixels is no source."""
    done = make_scene(rows=2, columns=2)
    template = create_scene(
        tmp_path / "mosaic.zarr", "pending", georeference=done.georeference, lineage={}, shard=512
    )
    assert sources_of(MosaicScene(template.store, "pending")) == []


def test_no_place_for_a_patch_is_an_error(make_scene, rng):
    """A scene without a single patch that is valid enough ends the feed, with a remedy."""
    scene = make_scene(valid=rng.random((768, 1024)) > 0.05)
    with pytest.raises(InputError, match=r"no training patch.*larger area"):
        first_batches(EagerClient(), sources_of(scene), batches=1)
    with pytest.raises(InputError, match=r"no validation patch.*larger area"):
        validation(EagerClient(), sources_of(scene, part=Part.VALIDATION))


@pytest.mark.parametrize(
    ("draw", "said"), [(first_batches, "training"), (validation, "validation")]
)
def test_an_empty_part_is_an_error(draw, said):
    """Without a tile to draw from, the message says what to do."""
    with pytest.raises(InputError, match=f"no {said} patch"):
        draw(EagerClient(), [])


def test_a_failed_task_names_its_shard(make_scene):
    """What a task raises is chained to an error that names scene, row and column."""
    scene = make_scene(rows=2, columns=2)
    lost = [
        replace(source, pieces=(replace(piece, scene=MosaicScene(scene.store, "gone")),))
        for source in sources_of(scene, part=Part.VALIDATION)
        for piece in source.pieces
    ]
    with pytest.raises(ShardError, match=r"shard \(0, 0\) of gone cannot be read") as raised:
        validation(EagerClient(), lost)
    assert raised.value.__cause__ is not None
