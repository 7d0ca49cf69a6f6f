"""The feed: Dask tasks that turn shards into pools of patches, one pool ahead of the training.

A task reads one shard, so memory depends on the shard, not on the scene. Shards come in an
endless row of shuffled sweeps; each pool takes the next few and mixes their patches. Every random
choice is seeded by the place of the task in that row, so the batches do not depend on how many
workers there are.
"""

import math
import uuid
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Any

import numpy as np
from distributed import Client

from srsat_dask.errors import InputError, ShardError
from srsat_dask.mosaic.inputs import MosaicScene
from srsat_dask.mosaic.ledger import tile_slices
from srsat_dask.mosaic.split import HeldOut, has_pixels
from srsat_dask.mosaic.windows import Window
from srsat_dask.runtime.clusters import threads_of
from srsat_dask.runtime.runner import RETRIES
from srsat_dask.training.patches import (
    Patches,
    PatchShape,
    Place,
    cut,
    training_corners,
    turned,
    validation_corners,
)

PREFIX = "patch-batch"
"""Name of the feed's tasks in the dashboard."""

MIXED = 4
"""Shards whose patches are mixed in a pool."""

POOL_PIXELS = 2 * 2**20
"""HR pixels of a pool: four seconds of training on two cores, 8 MB."""

VALIDATION_PATCHES = 64
"""Most patches that are validated on."""

TRAINING, VALIDATION = 0, 1
"""First words of the seeds of the two kinds of tasks."""


@dataclass(frozen=True, eq=False)
class ShardSource:
    """One shard to draw patches from."""

    scene: MosaicScene
    """Its scene."""
    held: HeldOut
    """What of the scene is held out."""
    index: tuple[int, int]
    """Its row and column among the scene's shards."""
    window: Window
    """Its pixels."""
    training_tiles: int
    """Tiles with pixels to train on."""
    held_tiles: int
    """Tiles with pixels that are held out."""


def shard_sources(scene: MosaicScene, held: HeldOut) -> list[ShardSource]:
    """Return the shards of a scene that hold pixels, by the ledger alone."""
    present = has_pixels(np.asarray(scene.array("tile_state")[:]))
    training, kept = present & ~held.tiles, present & held.tiles
    sources = [
        ShardSource(
            scene,
            held,
            index,
            window,
            int(training[tile_slices(window)].sum()),
            int(kept[tile_slices(window)].sum()),
        )
        for index, window in scene.shards()
    ]
    return [source for source in sources if source.training_tiles or source.held_tiles]


def draw_training(
    source: ShardSource, shape: PatchShape, patches: int, seed: tuple[int, ...]
) -> Patches:
    """Draw random training patches from one shard, randomly turned and mirrored.

    Parameters
    ----------
    source : ShardSource
        Where from.
    shape : PatchShape
        What shape.
    patches : int
        How many; none come if there is no place for one.
    seed : tuple of int
        Seed of all choices.
    """
    rng = np.random.default_rng(seed)
    image, valid = source.scene.read(source.window)
    held = source.held.mask(source.window)
    corners = training_corners(valid, held, _origin(source), shape)
    # Without a corner to draw from, the empty array of corners stands for itself.
    chosen = corners[rng.integers(len(corners), size=patches)] if len(corners) else corners
    return turned(cut(image, valid, chosen, shape, _origin(source)), rng)


def draw_validation(
    source: ShardSource, shape: PatchShape, patches: int, seed: tuple[int, ...]
) -> Patches:
    """Draw up to so many held-out patches from one shard that do not overlap, as they lie."""
    rng = np.random.default_rng(seed)
    image, valid = source.scene.read(source.window)
    held = source.held.mask(source.window)
    corners = validation_corners(valid, held, _origin(source), shape)
    chosen = np.sort(rng.permutation(len(corners))[:patches])
    return cut(image, valid, corners[chosen], shape, _origin(source))


def plan_pools(
    tiles: Sequence[int], patches: int, seed: int
) -> Iterator[list[tuple[int, int, tuple[int, ...]]]]:
    """Plan the pools of a training run, without end.

    Parameters
    ----------
    tiles : sequence of int
        Training tiles of each shard, at least 1.
    patches : int
        Patches of a pool, about, and rather more than less.
    seed : int
        Seed of the order.

    Yields
    ------
    list of (shard, patches, seed)
        Each shard once in a sweep, with patches in proportion to its tiles and a seed of its own.
    """
    mixed = min(MIXED, len(tiles))
    per_tile = patches / (mixed * float(np.mean(tiles)))

    def row() -> Iterator[int]:
        for sweep in count():
            yield from np.random.default_rng((TRAINING, seed, sweep)).permutation(len(tiles))

    shards = row()
    for pool in count():
        yield [
            (
                int(shard),
                min(math.ceil(per_tile * tiles[shard]), patches),
                (TRAINING, seed, pool, place),
            )
            for place, shard in enumerate(islice(shards, mixed))
        ]


def training_batches(
    client: Client,
    sources: Sequence[ShardSource],
    shape: PatchShape,
    batch: int,
    seed: int,
    start: Place = Place(),  # noqa: B008 - frozen
) -> Generator[Patches]:
    """Yield batches without end, while the next pool is being drawn.

    What is left of a pool after its last whole batch is dropped. So a batch hangs on its own pool
    only, and a training that goes on draws none of those before it.

    Parameters
    ----------
    client : distributed.Client
        Where patches are drawn.
    sources : sequence of ShardSource
        The shards of all scenes.
    shape : PatchShape
        What a patch is.
    batch : int
        Patches in each batch.
    seed : int
        Seed of every choice and of the order.
    start : Place
        Where to begin.

    Yields
    ------
    Patches
        Exactly `batch` of them, with their place and scenes.

    Raises
    ------
    InputError
        No shard has a place for a training patch.
    ShardError
        A task failed for good.
    """
    usable = [source for source in sources if source.training_tiles]
    if not usable:
        raise _no_training_patch(shape)
    patches = batch * max(POOL_PIXELS // (shape.size**2 * batch), 1)
    plan = plan_pools([source.training_tiles for source in usable], patches, seed)
    plan = islice(plan, start.pool, None)
    run = uuid.uuid4().hex
    pools: deque[list[tuple[Any, ShardSource]]] = deque()

    def submit(number: int) -> None:
        pools.append(
            [
                (
                    client.submit(
                        draw_training,
                        usable[shard],
                        shape,
                        patches,
                        task_seed,
                        key=(f"{PREFIX}-{run}", number, place),
                        retries=RETRIES,
                    ),
                    usable[shard],
                )
                for place, (shard, patches, task_seed) in enumerate(next(plan))
            ]
        )

    first, skipped = start.pool, start.batch
    parts: list[Patches] = []
    scenes: dict[str, None] = {}
    empty = 0
    try:
        submit(first)
        for number in count(first):
            submit(number + 1)
            for future, source in pools.popleft():
                drawn = _result(future, source)
                # So many tasks in a row hold a whole sweep, wherever it starts.
                empty = 0 if len(drawn) else empty + 1
                if empty >= 2 * len(usable):
                    raise _no_training_patch(shape)
                parts.append(drawn)
                scenes[source.scene.name] = None
            pool = Patches.joined(parts)
            whole = len(pool) // batch
            if not whole:
                continue  # shards without a place leave a pool short: the next one joins it
            order = np.random.default_rng((TRAINING, seed, number)).permutation(len(pool))
            for place in range(skipped, whole):
                chosen = pool.take(order[place * batch : (place + 1) * batch])
                yield replace(chosen, place=Place(first, place), scenes=tuple(scenes))
            first, skipped, parts, scenes = number + 1, 0, [], {}
    finally:
        client.cancel([future for pool in pools for future, _ in pool])


def validation_patches(
    client: Client, sources: Sequence[ShardSource], shape: PatchShape, seed: int
) -> Patches:
    """Return the fixed patches to validate on, drawn from held-out tiles only.

    Shards are read in an order set by the seed until there are enough patches.

    Raises
    ------
    InputError
        No held-out tile has a place for a patch.
    ShardError
        A task failed for good.
    """
    usable = [source for source in sources if source.held_tiles]
    order = np.random.default_rng((VALIDATION, seed)).permutation(len(usable))
    quota = max(-(-VALIDATION_PATCHES // max(len(usable), 1)), MIXED)
    run = uuid.uuid4().hex
    found: list[Patches] = []
    step = threads_of(client)
    for start in range(0, len(order), step):
        tasks = [
            (
                client.submit(
                    draw_validation,
                    usable[shard],
                    shape,
                    quota,
                    (VALIDATION, seed, start + place),
                    key=(f"{PREFIX}-validation-{run}", start, place),
                    retries=RETRIES,
                ),
                usable[shard],
            )
            for place, shard in enumerate(order[start : start + step])
        ]
        found += [_result(future, source) for future, source in tasks]
        if sum(len(patches) for patches in found) >= VALIDATION_PATCHES:
            break
    if not sum(len(patches) for patches in found):
        raise InputError(
            f"no validation patch of {shape.size} px (and {shape.context} px of context around"
            " it) fits in the held-out tiles: harvest a larger area, or train on several scenes"
        )
    return Patches.joined(found).take(slice(VALIDATION_PATCHES))


def _origin(source: ShardSource) -> tuple[int, int]:
    return source.window.y0, source.window.x0


def _result(future: Any, source: ShardSource) -> Patches:
    try:
        patches: Patches = future.result()
    except Exception as error:
        row, column = source.index
        raise ShardError(
            f"{PREFIX} ({row}, {column}) of {source.scene.name} failed:"
            f" {type(error).__name__}: {error};"
            " check the store with 'srsat verify' and train again"
        ) from error
    return patches


def _no_training_patch(shape: PatchShape) -> InputError:
    return InputError(
        f"no training patch of {shape.size} px (and {shape.context} px of context around it) with"
        " more than 99 % valid pixels lies outside the held-out tiles: harvest a larger area,"
        " or train on several scenes"
    )
