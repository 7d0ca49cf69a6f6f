"""The feed: Dask tasks that turn shards into pools of patches, one pool ahead of the training.

A task reads one shard, or as many small images as have the pixels of one, so memory depends on
the shard, not on the scene. Shards come in an endless row of shuffled sweeps; each pool takes the
next few and mixes their patches. Every random choice is seeded by the place of the task in that
row, so the batches do not depend on how many workers there are.
"""

import math
import uuid
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, islice
from typing import Any

import numpy as np
import numpy.typing as npt
from distributed import Client

from srsat_dask.errors import InputError, ShardError
from srsat_dask.mosaic.inputs import MosaicScene, ReadableScene
from srsat_dask.mosaic.split import Part, Split
from srsat_dask.mosaic.store import SHARD
from srsat_dask.mosaic.windows import Window, split
from srsat_dask.runtime.clusters import threads_of
from srsat_dask.runtime.runner import RETRIES
from srsat_dask.training.patches import (
    Patches,
    PatchShape,
    Place,
    cut,
    recoloured,
    turned,
    validation_corners,
)
from srsat_dask.training.prepared import CACHE, Prepared

PREFIX = "patch-batch"
"""Name of the feed's tasks in the dashboard."""

MIXED = 4
"""Tasks whose patches are mixed in a pool."""

POOL_PIXELS = 8 * 2**20
"""HR pixels of a pool: 20 seconds of training on two cores, 35 MB."""

MOST_AHEAD = 4
"""Most pools in flight, however many workers there are."""

VALIDATION_PATCHES = 64
"""Most patches that are validated on."""

TRAINING, VALIDATION = 0, 1
"""First words of the seeds of the two kinds of tasks."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A window of a scene to draw patches from: a shard of a store, or an image."""

    scene: ReadableScene
    """Its scene."""
    split: Split
    """What of the scene is for what."""
    index: tuple[int, int]
    """Its row and column among the scene's windows."""
    window: Window
    """Its pixels."""
    weight: float
    """How many patches it gives, beside other pieces; 0 or more."""


@dataclass(frozen=True, eq=False)
class ShardSource:
    """What one task reads: pieces that have the pixels of a shard at most, or one shard."""

    pieces: tuple[Piece, ...]
    """At least one."""
    token: str
    """What tells it from every other, under which workers keep it ready."""

    @property
    def weight(self) -> float:
        """How many patches it gives, beside other sources."""
        return sum(piece.weight for piece in self.pieces)


def shard_sources(
    scenes: Sequence[tuple[ReadableScene, Split]],
    part: Part,
    *,
    even: bool = False,
    seed: int = 0,
) -> list[ShardSource]:
    """Return what there is to read of a part of some scenes.

    Parameters
    ----------
    scenes : sequence of (ReadableScene, Split)
        The scenes and their splits.
    part : Part
        Windows without a tile of this part that holds pixels are left out.
    even : bool
        Give each scene the same weight; by default a scene counts by its pixels of the part.
    seed : int
        Of the order in which small images are put together.

    Returns
    -------
    list of ShardSource
        In the order of the scenes, but for images put together, which are mixed.
    """
    pieces = []
    for scene, parts in scenes:
        windows = [(index, window, parts.pixels(window, part)) for index, window in _windows(scene)]
        total = sum(pixels for _, _, pixels in windows)
        pieces += [
            Piece(scene, parts, index, window, pixels / total if even else float(pixels))
            for index, window, pixels in windows
            if pixels
        ]
    # Folders are sorted by class: in their order a task would read images of one kind.
    order = np.random.default_rng((len(pieces), seed)).permutation(len(pieces))
    small = [pieces[n] for n in order if _pixels(pieces[n]) <= SHARD**2 // 2]
    large = [(piece,) for piece in pieces if _pixels(piece) > SHARD**2 // 2]
    return [ShardSource(group, uuid.uuid4().hex) for group in [*large, *_together(small)]]


def draw_training(
    source: ShardSource, shape: PatchShape, patches: int, seed: tuple[int, ...]
) -> Patches:
    """Draw random training patches, randomly turned and mirrored.

    Parameters
    ----------
    source : ShardSource
        Where from; its pieces share the patches by their weights.
    shape : PatchShape
        What shape.
    patches : int
        How many; a piece without a place for one gives none.
    seed : tuple of int
        Seed of all choices.
    """
    rng = np.random.default_rng(seed)
    shares = rng.multinomial(patches, [piece.weight / source.weight for piece in source.pieces])
    drawn = []
    for n, (piece, share) in enumerate(zip(source.pieces, shares, strict=True)):
        if share:
            prepare = partial(_prepared, piece, shape)
            prepared = CACHE.get((source.token, n, shape), prepare)
            drawn.append(prepared.draw(int(share), shape, rng))
    found = turned(Patches.joined(drawn), rng)
    return recoloured(found, rng) if shape.recoloured else found


def draw_validation(
    source: ShardSource, shape: PatchShape, patches: int, seed: tuple[int, ...]
) -> Patches:
    """Draw up to so many validation patches that do not overlap, as they lie."""
    rng = np.random.default_rng(seed)
    places = []
    for n, piece in enumerate(source.pieces):
        _, valid = _read(piece)
        held = piece.split.mask(piece.window, Part.VALIDATION)
        places += [(n, corner) for corner in validation_corners(valid, held, _origin(piece), shape)]
    chosen = [places[n] for n in np.sort(rng.permutation(len(places))[:patches])]
    drawn = []
    for n, piece in enumerate(source.pieces):
        corners = np.array([corner for at, corner in chosen if at == n], np.intp).reshape(-1, 2)
        if len(corners) or n == 0:
            drawn.append(cut(*_read(piece), corners, shape, _origin(piece)))
    return Patches.joined(drawn)


def plan_pools(
    weights: Sequence[float], patches: int, seed: int
) -> Iterator[list[tuple[int, int, tuple[int, ...]]]]:
    """Plan the pools of a training run, without end.

    Parameters
    ----------
    weights : sequence of float
        Weight of each shard, more than 0.
    patches : int
        Patches of a pool, about, and rather more than less.
    seed : int
        Seed of the order.

    Yields
    ------
    list of (shard, patches, seed)
        In a sweep each shard gives patches by its weight, in one task or in several of which none
        gives more than twice the mean; each task has a seed of its own.
    """
    shares = np.asarray(weights) / float(np.mean(weights)) * (patches / MIXED)
    tasks = np.maximum(np.ceil(shares / (2 * patches / MIXED)), 1).astype(int)
    entries = np.repeat(np.arange(len(weights)), tasks)

    def row() -> Iterator[int]:
        for sweep in count():
            yield from np.random.default_rng((TRAINING, seed, sweep)).permutation(entries)

    shards = row()
    for pool in count():
        yield [
            (
                int(shard),
                math.ceil(shares[shard] / tasks[shard]),
                (TRAINING, seed, pool, place),
            )
            for place, shard in enumerate(islice(shards, MIXED))
        ]


def training_batches(
    client: Client,
    sources: Sequence[ShardSource],
    shape: PatchShape,
    batch: int,
    seed: int,
    start: Place = Place(),  # noqa: B008 - frozen
) -> Generator[Patches]:
    """Yield batches without end, while the next pools are being drawn.

    One pool is in flight, or so many that each worker thread has a task, up to `MOST_AHEAD`.

    What is left of a pool after its last whole batch is dropped. So a batch hangs on its own pool
    only, and a training that goes on draws none of those before it.

    Parameters
    ----------
    client : distributed.Client
        Where patches are drawn.
    sources : sequence of ShardSource
        Of `Part.TRAINING`.
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
    if not sources:
        raise _no_training_patch(shape)
    patches = batch * max(POOL_PIXELS // (shape.size**2 * batch), 1)
    plan = plan_pools([source.weight for source in sources], patches, seed)
    plan = islice(plan, start.pool, None)
    run = uuid.uuid4().hex
    pools: deque[list[tuple[Any, ShardSource]]] = deque()

    def submit(number: int) -> None:
        pools.append(
            [
                (
                    client.submit(
                        draw_training,
                        sources[shard],
                        shape,
                        patches,
                        task_seed,
                        key=(f"{PREFIX}-{run}", number, place),
                        retries=RETRIES,
                    ),
                    sources[shard],
                )
                for place, (shard, patches, task_seed) in enumerate(next(plan))
            ]
        )

    first, skipped = start.pool, start.batch
    parts: list[Patches] = []
    scenes: dict[str, None] = {}
    empty: set[int] = set()
    try:
        ahead = min(max(threads_of(client) // MIXED, 1), MOST_AHEAD)
        for number in range(first, first + ahead):
            submit(number)
        for number in count(first):
            submit(number + ahead)
            for future, source in pools.popleft():
                drawn = _result(future, source)
                # So many tasks in a row hold a whole sweep, wherever it starts.
                empty = set() if len(drawn) else empty | {id(source)}
                if len(empty) == len(sources):
                    raise _no_training_patch(shape)
                parts.append(drawn)
                scenes |= dict.fromkeys(piece.scene.name for piece in source.pieces)
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
    client: Client,
    sources: Sequence[ShardSource],
    shape: PatchShape,
    seed: int,
    most: int = VALIDATION_PATCHES,
) -> Patches:
    """Return at most so many fixed patches to validate on, of sources of `Part.VALIDATION`.

    Shards are read in an order set by the seed until there are enough patches.

    Raises
    ------
    InputError
        No held-out tile has a place for a patch.
    ShardError
        A task failed for good.
    """
    order = np.random.default_rng((VALIDATION, seed)).permutation(len(sources))
    quota = max(-(-most // max(len(sources), 1)), MIXED)
    run = uuid.uuid4().hex
    found: list[Patches] = []
    step = threads_of(client)
    for start in range(0, len(order), step):
        tasks = [
            (
                client.submit(
                    draw_validation,
                    sources[shard],
                    shape,
                    quota,
                    (VALIDATION, seed, start + place),
                    key=(f"{PREFIX}-validation-{run}", start, place),
                    retries=RETRIES,
                ),
                sources[shard],
            )
            for place, shard in enumerate(order[start : start + step])
        ]
        found += [_result(future, source) for future, source in tasks]
        if sum(len(patches) for patches in found) >= most:
            break
    if not sum(len(patches) for patches in found):
        raise InputError(
            f"no validation patch of {shape.size} px (and {shape.context} px of context around"
            " it) fits in the held-out tiles: harvest a larger area, or train on several scenes"
        )
    return Patches.joined(found).take(slice(most))


def _windows(scene: ReadableScene) -> Iterator[tuple[tuple[int, int], Window]]:
    return scene.shards() if isinstance(scene, MosaicScene) else split(scene.shape, SHARD)


def _pixels(piece: Piece) -> int:
    height, width = piece.window.shape
    return height * width


def _together(pieces: Sequence[Piece]) -> Iterator[tuple[Piece, ...]]:
    """Put pieces together, in order, to about the pixels of a shard."""
    group: list[Piece] = []
    for piece in pieces:
        if group and sum(map(_pixels, group)) + _pixels(piece) > SHARD**2:
            yield tuple(group)
            group = []
        group.append(piece)
    if group:
        yield tuple(group)


def _origin(piece: Piece) -> tuple[int, int]:
    return piece.window.y0, piece.window.x0


def _prepared(piece: Piece, shape: PatchShape) -> Prepared:
    image, valid = _read(piece)
    held = piece.split.mask(piece.window, Part.VALIDATION, Part.TEST)
    return Prepared.of(image, valid, held, _origin(piece), shape)


def _read(piece: Piece) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    try:
        return piece.scene.read(piece.window)
    except Exception as error:
        row, column = piece.index
        raise ShardError(
            f"shard ({row}, {column}) of {piece.scene.name} cannot be read:"
            f" {type(error).__name__}: {error}; a store is checked by 'srsat verify'"
        ) from error


def _result(future: Any, source: ShardSource) -> Patches:
    try:
        patches: Patches = future.result()
    except ShardError:
        raise
    except Exception as error:
        first = source.pieces[0]
        row, column = first.index
        others = f" and {len(source.pieces) - 1} others" if len(source.pieces) > 1 else ""
        raise ShardError(
            f"{PREFIX} ({row}, {column}) of {first.scene.name}{others} failed:"
            f" {type(error).__name__}: {error}; train again"
        ) from error
    return patches


def _no_training_patch(shape: PatchShape) -> InputError:
    return InputError(
        f"no training patch of {shape.size} px (and {shape.context} px of context around it) with"
        " more than 99 % valid pixels lies outside the held-out tiles: harvest a larger area,"
        " or train on several scenes"
    )
