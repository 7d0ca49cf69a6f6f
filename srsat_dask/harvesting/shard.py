"""One shard of a harvest: its tiles fetched by threads, written at once; runs on a worker.

A task asks for up to 64 tiles, several at a time, so latency hides behind concurrency; the mosaic
of a shard (16 MiB) is all the memory it needs, whatever the scene's size. Once its tiles are there
it makes room for the next task, whose requests are then under way while this shard is written.
"""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import rasterio
from distributed import secede

from srsat_dask.errors import UnreachableError
from srsat_dask.harvesting import http
from srsat_dask.harvesting.plan import ShardPlan, tiles_to_fetch
from srsat_dask.harvesting.politeness import Gate, Turnstile
from srsat_dask.harvesting.scene import TileError, TileSource
from srsat_dask.mosaic.grid import tile_window
from srsat_dask.mosaic.ledger import (
    Reason,
    TileState,
    is_intact,
    state_of,
    tile_slices,
    write_shard,
)
from srsat_dask.runtime.memory import keep_freed_memory

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
    all_states: Counter[str]
    """All tiles of the shard, by state."""
    reasons: tuple[str, ...]
    """Why tiles of the shard failed, in the ledger's words, each once."""


@dataclass(frozen=True)
class ShardTask:
    """What every task of a harvest has in common."""

    source: TileSource
    """Where tiles come from."""
    gate: Gate
    """How politely they are asked for."""
    tasks: int
    """Tasks that run at once over the whole cluster."""


def harvest_shard(task: ShardTask, plan: ShardPlan) -> ShardReport:
    """Fetch the tiles of one shard and write it; runs on a worker.

    Raises
    ------
    TokenError, UnreachableError
        The service refused the token or is down; nothing is written.
    RunEndedError
        The run that this task belongs to has ended; nothing is written.
    """
    keep_freed_memory()
    if not plan.afresh and not is_intact(plan.scene, plan.window):
        plan = replace(plan, afresh=True)  # what is damaged must not be signed again
    shard = _Shard(plan, task.source)
    wanted = tiles_to_fetch(plan)
    turnstile = task.gate.enter(task.tasks)
    with task.gate.place():
        threads = ThreadPoolExecutor(
            task.gate.politeness.per_task(task.tasks),
            thread_name_prefix="tile",
            initializer=prepare_thread,
            initargs=(turnstile,),
        )
        try:
            for future in [threads.submit(shard.fetch, at) for at in wanted]:
                future.result()
        finally:
            # After a refusal the tiles still waiting must not be asked for.
            threads.shutdown(cancel_futures=True)
    secede()  # the worker goes on with the next shard's requests while this one is written
    turnstile.check()  # a task that outlived its run must not write beside the next one
    return shard.write(wanted)


def prepare_thread(turnstile: Turnstile | None = None) -> None:
    """Make a thread ready to fetch tiles, through a turnstile if there is one."""
    http.use_turnstile(turnstile)
    # GDAL's environment for as long as the thread lives: to set it up for every tile anew would
    # take a fifth of the time of decoding one.
    rasterio.Env().__enter__()


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
        valid = self._valid.view(np.uint8)
        write_shard(plan.scene, plan.window, self._image, valid, self._states, self._reasons)
        counts = Counter(TileState(int(self._states[at])).name.lower() for at in wanted)
        whole = Counter(TileState(int(state)).name.lower() for state in self._states.flat)
        reasons = sorted({Reason.text(int(code)) for code in self._reasons[self._reasons > 0]})
        return ShardReport(counts, tuple(self._failures), whole, tuple(reasons))
