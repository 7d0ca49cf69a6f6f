"""The harvest: plan the shards, run one Dask task for each, report what became of the tiles.

What a task does is in :mod:`srsat_dask.harvesting.shard`.
"""

import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from srsat_dask.errors import InputError
from srsat_dask.harvesting.plan import HarvestPlan, ShardPlan, plan_harvest
from srsat_dask.harvesting.politeness import CONCURRENCY, RATE, Gate, Politeness
from srsat_dask.harvesting.scene import Scene, TileSource
from srsat_dask.harvesting.shard import ShardReport, ShardTask, TileFailed, harvest_shard
from srsat_dask.harvesting.sources import open_source, scenes_named, search
from srsat_dask.mosaic.ledger import written_shards
from srsat_dask.mosaic.shard_states import harvest_grid
from srsat_dask.mosaic.store import create_scene, find_scene
from srsat_dask.runtime.clusters import current_client, threads_of
from srsat_dask.runtime.events import Outcome, SceneGrid, harvested
from srsat_dask.runtime.progress import track
from srsat_dask.runtime.runner import ShardKey, run_shards


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
    plan = plan_harvest(scenes, store, zoom=zoom, source=source, max_tiles=max_tiles)
    shards = _shards(plan, store)
    report = HarvestReport(str(store), [p.scene.id for p in plan.scenes])
    with current_client() as client, track("harvest", len(shards), shown=progress) as bar:
        gate = Gate(uuid.uuid4().hex, politeness)
        tasks = politeness.tasks(threads_of(client))
        gate.open(client, tasks)
        try:
            for _, done in run_shards(
                client,
                harvest_shard,
                shards,
                prefix="harvest-shard",
                shared=ShardTask(source, gate, tasks),
                at_once=2 * tasks,  # while one shard is written the next is fetched
                scenes=_grids(plan, store),
                outcome=_outcome,
            ):
                report.states.update(done.states)
                report.failures.extend(done.failures)
                bar.advance(note=_note(report))
        finally:
            gate.close(client)
    report.failures.sort(key=lambda f: (f.scene, f.y, f.x))
    report.seconds = time.monotonic() - start
    return report


def _source_of(scenes: Sequence[Scene]) -> TileSource:
    names = {scene.source for scene in scenes}
    if len(names) > 1:
        raise InputError(f"scenes of several sources ({', '.join(sorted(names))}): harvest each")
    return open_source(names.pop() if names else "tellus")


def _shards(plan: HarvestPlan, store: str | Path) -> list[tuple[ShardKey, tuple[ShardPlan]]]:
    shards = []
    for scene_plan in plan.scenes:
        name = scene_plan.scene.id
        scene = create_scene(
            store,
            name,
            georeference=scene_plan.tiles.georeference,
            lineage=scene_plan.lineage,
            smooth=False,
            attributes=scene_plan.attributes,
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


def _grids(plan: HarvestPlan, store: str | Path) -> list[SceneGrid]:
    scenes = (find_scene(store, scene_plan.scene.id) for scene_plan in plan.scenes)
    return [harvest_grid(scene) for scene in scenes if scene is not None]


def _outcome(done: ShardReport) -> Outcome:
    return harvested(done.all_states, done.states, done.reasons)


def _note(report: HarvestReport) -> str:
    failed = f", {len(report.failures)} failed" if report.failures else ""
    return f"{report.fetched} tiles{failed}"


__all__ = ["HarvestReport", "TileFailed", "harvest", "scenes_named", "search"]
