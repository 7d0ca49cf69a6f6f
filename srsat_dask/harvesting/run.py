"""The harvest: one Dask task per shard, threads for its requests, one aligned write.

A task fetches up to 64 tiles of one shard at a time, so latency hides behind concurrency; the
mosaic of a shard (16 MiB of RGBA) is all the memory it needs, whatever the scene's size.
"""

import time
import uuid
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from srsat_dask.errors import InputError, UnreachableError
from srsat_dask.harvesting import http
from srsat_dask.harvesting.plan import HarvestPlan, ShardPlan, plan_harvest, tiles_to_fetch
from srsat_dask.harvesting.politeness import CONCURRENCY, RATE, Gate, Politeness
from srsat_dask.harvesting.scene import Scene, TileError, TileSource
from srsat_dask.harvesting.sources import open_source, scenes_named, search
from srsat_dask.mosaic.grid import tile_window
from srsat_dask.mosaic.ledger import (
    Reason,
    TileState,
    state_of,
    tile_slices,
    write_shard,
    written_shards,
)
from srsat_dask.mosaic.store import create_scene
from srsat_dask.runtime.clusters import current_client, threads_of
from srsat_dask.runtime.progress import track
from srsat_dask.runtime.runner import ShardKey, run_shards

UNREACHABLE_AFTER = 8
"""Tiles of one task without any answer, and none with one between: the service is down."""


@dataclass(frozen=True)
class TileFailed:
    """A tile that did not come."""

    scene: str
    """Id of the scene."""
    zoom: int
    """Zoom level."""
    x: int
    """Column in the tile grid."""
    y: int
    """Row in the tile grid."""
    reason: str
    """Why, in a few words."""


@dataclass(frozen=True)
class ShardReport:
    """What became of one shard."""

    states: Counter[str]
    """Tiles fetched by this run, by state."""
    failures: tuple[TileFailed, ...]
    """Tiles that did not come."""


@dataclass(frozen=True)
class ShardTask:
    """What every task of a harvest has in common."""

    source: TileSource
    """Where tiles come from."""
    gate: Gate
    """How politely they are asked for."""
    tasks: int
    """Tasks that run at once over the whole cluster."""


@dataclass
class HarvestReport:
    """What a harvest did."""

    store: str
    """The mosaic store."""
    scenes: list[str]
    """Ids of the scenes."""
    states: Counter[str] = field(default_factory=Counter)
    """Tiles that this run fetched, by the state they ended in."""
    failures: list[TileFailed] = field(default_factory=list)
    """Tiles that did not come; a re-run tries them again."""
    seconds: float = 0.0
    """Wall time of the run."""

    @property
    def fetched(self) -> int:
        """Tiles asked for in this run."""
        return self.states.total()


def harvest(
    scenes: Sequence[Scene],
    store: str | Path,
    *,
    zoom: int = 17,
    max_tiles: int | None = None,
    rate: float = RATE,
    concurrency: int = CONCURRENCY,
    progress: bool = True,
) -> HarvestReport:
    """Harvest scenes into a mosaic store on the current Dask client.

    Every tile of a scene's bounding box ends in a recorded state. Running it again over the same
    store does only what is not done: pending shards, and single tiles that failed.

    Parameters
    ----------
    scenes : sequence of Scene
        What :func:`search` found.
    store : str or Path
        The Zarr store; made if it does not exist. Workers must reach it at the same path.
    zoom : int
        Zoom level; 17 is 0.97 m per pixel at 35.7° N.
    max_tiles : int, optional
        Most tiles of a scene; a rectangle at its centre is kept.
    rate : float
        Most requests per second of the whole cluster; ``math.inf`` for no limit. When the
        service answers 429 every worker waits, and goes on more slowly.
    concurrency : int
        Most requests under way at once over the whole cluster.
    progress : bool
        Show progress on stderr.

    Returns
    -------
    HarvestReport
        Counts, failures and time.

    Raises
    ------
    InputError
        Nothing to harvest, a zoom out of range, or a store made with other settings.
    TokenError
        The service refused the token; the store can be taken up again.
    UnreachableError
        The service stopped answering; the store can be taken up again.
    """
    start = time.monotonic()
    politeness = Politeness(rate, concurrency)
    source = _source_of(scenes)
    plan = plan_harvest(scenes, store, zoom=zoom, zooms=source.zooms, max_tiles=max_tiles)
    shards = list(_shards(plan, store, source))
    report = HarvestReport(str(store), [p.scene.id for p in plan.scenes])
    with current_client() as client, track("harvest", len(shards), shown=progress) as bar:
        gate = Gate(uuid.uuid4().hex, politeness)
        tasks = politeness.tasks(threads_of(client))
        gate.open(client)
        try:
            for _, done in run_shards(
                client,
                harvest_shard,
                shards,
                prefix="harvest-shard",
                shared=ShardTask(source, gate, tasks),
                at_once=tasks if tasks < threads_of(client) else None,
            ):
                report.states.update(done.states)
                report.failures.extend(done.failures)
                bar.advance(note=_note(report))
        finally:
            gate.close(client)
    report.failures.sort(key=lambda f: (f.scene, f.y, f.x))
    report.seconds = time.monotonic() - start
    return report


def harvest_shard(task: ShardTask, plan: ShardPlan) -> ShardReport:
    """Fetch the tiles of one shard and write it; runs on a worker.

    Raises
    ------
    TokenError, UnreachableError
        The service refused the token or is down; nothing is written.
    """
    shard = _Shard(plan, task.source)
    turnstile = task.gate.enter(task.tasks)
    threads = ThreadPoolExecutor(
        task.gate.politeness.per_task(task.tasks),
        thread_name_prefix="tile",
        initializer=http.use_turnstile,
        initargs=(turnstile,),
    )
    wanted = tiles_to_fetch(plan)
    try:
        for future in [threads.submit(shard.fetch, at) for at in wanted]:
            future.result()
    finally:
        # After a refusal the tiles still waiting must not be asked for.
        threads.shutdown(cancel_futures=True)
    return shard.write(wanted)


class _Shard:
    """The pixels of one shard as its tiles come in, each filled by a thread of its own."""

    def __init__(self, plan: ShardPlan, source: TileSource) -> None:
        self._plan, self._source = plan, source
        self._rows, self._columns = tile_slices(plan.window)
        shape = (
            self._rows.stop - self._rows.start,
            self._columns.stop - self._columns.start,
        )
        self._reasons = np.zeros(shape, dtype=np.uint16)
        self._failures: list[TileFailed] = []
        self._unanswered = 0
        if plan.afresh:
            self._image = np.zeros((3, *plan.window.shape), dtype=np.uint8)
            self._valid = np.zeros(plan.window.shape, dtype=bool)
            self._states = np.zeros(shape, dtype=np.uint8)
        else:
            self._image, self._valid = plan.scene.read(plan.window)
            kept = plan.scene.array("tile_state")[self._rows, self._columns]
            self._states = np.array(kept, dtype=np.uint8)

    def fetch(self, at: tuple[int, int]) -> None:
        """Fetch the tile at a row and column of the shard."""
        row, column = at
        plan = self._plan
        tile = plan.tiles.tile(self._rows.start + row, self._columns.start + column)
        try:
            pixels = self._source.fetch(plan.id, tile.z, tile.x, tile.y)
        except TileError as error:
            self._states[at], self._reasons[at] = TileState.FAILED, error.reason
            self._failures.append(TileFailed(plan.id, tile.z, tile.x, tile.y, str(error)))
            self._unanswered += error.reason == Reason.NO_ANSWER
            if self._unanswered >= UNREACHABLE_AFTER:
                raise UnreachableError(
                    f"{self._unanswered} tiles in a row had no answer ({error}); run it again"
                    " when the service is back, what is stored is kept"
                ) from error
            return
        self._unanswered = 0
        if pixels is None:
            self._states[at] = TileState.ABSENT
            return
        # Tiles do not overlap: each thread writes pixels of its own.
        place = tile_window(row, column).slices
        valid = pixels[..., 3] != 0
        self._valid[place] = valid
        self._states[at] = state_of(valid)
        part = self._image[(slice(None), *place)]
        part[:] = pixels[..., :3].transpose(2, 0, 1)
        if self._states[at] != TileState.STORED:
            part *= valid  # whatever lies under transparent pixels is no image

    def write(self, wanted: Sequence[tuple[int, int]]) -> ShardReport:
        """Write the shard and say what became of the tiles that were asked for."""
        plan = self._plan
        valid = self._valid.astype(np.uint8)
        write_shard(plan.scene, plan.window, self._image, valid, self._states, self._reasons)
        counts = Counter(TileState(int(self._states[at])).name.lower() for at in wanted)
        return ShardReport(counts, tuple(self._failures))


def _source_of(scenes: Sequence[Scene]) -> TileSource:
    names = {scene.source for scene in scenes}
    if len(names) > 1:
        raise InputError(f"scenes of several sources ({', '.join(sorted(names))}): harvest each")
    return open_source(names.pop() if names else "tellus")


def _shards(
    plan: HarvestPlan, store: str | Path, source: TileSource
) -> list[tuple[ShardKey, tuple[ShardPlan]]]:
    shards = []
    credit = {"attribution": source.attribution} if source.attribution else {}
    for scene_plan in plan.scenes:
        name = scene_plan.scene.id
        scene = create_scene(
            store,
            name,
            georeference=scene_plan.tiles.georeference,
            lineage={**scene_plan.lineage, **source.lineage(name)},
            attributes={**scene_plan.attributes, **credit},
        )
        written = written_shards(scene)
        shards += [
            (
                (name, *index),
                (ShardPlan(scene, name, scene_plan.tiles, window, not bool(written[index])),),
            )
            for index, window in plan.pending[name]
        ]
    return shards


def _note(report: HarvestReport) -> str:
    failed = f", {len(report.failures)} failed" if report.failures else ""
    return f"{report.fetched} tiles{failed}"


__all__ = ["HarvestReport", "TileFailed", "harvest", "scenes_named", "search"]
