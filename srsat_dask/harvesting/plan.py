"""What a harvest will do: which tiles of which shards of which scenes. Nothing is asked for yet."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from srsat_dask.errors import InputError
from srsat_dask.harvesting.scene import Scene, TileSource
from srsat_dask.mosaic.grid import TILE, TileRange, check_zoom
from srsat_dask.mosaic.ledger import TileState, done_shards, tile_slices, tiles_to_do
from srsat_dask.mosaic.store import SHARD, StoreScene, find_scene, refuse_other_lineage
from srsat_dask.mosaic.windows import Window, split

TILE_BYTES = TILE * TILE * 4
"""Bytes of a tile in a mosaic before compression: three bands and the mask."""

SHARD_MEMORY = 4 * SHARD * SHARD * 4
"""Bytes that a task needs: a shard's pixels and mask, those to write, and its tiles in flight."""


@dataclass(frozen=True)
class ScenePlan:
    """One scene's mosaic: its tiles at a zoom, cut into shards."""

    scene: Scene
    """The scene."""
    tiles: TileRange
    """The tiles of the mosaic."""
    source: TileSource
    """Where the tiles come from."""

    @classmethod
    def of(
        cls, scene: Scene, zoom: int, source: TileSource, max_tiles: int | None = None
    ) -> "ScenePlan":
        """Plan a scene; ``max_tiles`` keeps a rectangle of so many tiles at its centre."""
        tiles = TileRange.covering(scene.bounds, zoom)
        return cls(scene, tiles if max_tiles is None else central(tiles, max_tiles), source)

    @cached_property
    def lineage(self) -> dict[str, object]:
        """What decides the mosaic's pixels."""
        t = self.tiles
        return {
            "kind": "harvest",
            "source": self.scene.source,
            "scene": self.scene.id,
            "zoom": t.zoom,
            "tiles": [t.x0, t.y0, t.x1, t.y1],
            **self.source.lineage(self.scene.id),
        }

    @property
    def attributes(self) -> dict[str, object]:
        """What is known of the scene, for the attributes of its group."""
        scene = self.scene
        return {
            "title": scene.id,
            **({"datetime": scene.acquired.isoformat()} if scene.acquired else {}),
            **({"cloud_cover": scene.cloud_cover} if scene.cloud_cover is not None else {}),
            **({"attribution": self.source.attribution} if self.source.attribution else {}),
        }

    def shards(self) -> Iterator[tuple[tuple[int, int], Window]]:
        """Yield the index and window of every shard."""
        georeference = self.tiles.georeference
        return split((georeference.height, georeference.width), SHARD)


@dataclass(frozen=True)
class ShardPlan:
    """The tiles to fetch for one shard."""

    scene: StoreScene
    """Where to write."""
    id: str
    """The scene's id at the source."""
    tiles: TileRange
    """The tiles of the scene's mosaic."""
    window: Window
    """The shard's pixels."""
    afresh: bool
    """Whether to fetch every tile; else only those that failed."""


@dataclass(frozen=True)
class HarvestPlan:
    """What a harvest into a store asks for, before it starts."""

    scenes: tuple[ScenePlan, ...]
    """The scenes, in order."""
    pending: dict[str, list[tuple[tuple[int, int], Window]]] = field(repr=False)
    """Shards still to do, by scene id."""
    requests: int
    """Tiles to ask for: those of shards not written yet, and those that failed."""

    @property
    def tiles(self) -> int:
        """Tiles of all the scenes."""
        return sum(plan.tiles.rows * plan.tiles.columns for plan in self.scenes)

    @property
    def shards(self) -> int:
        """Shards of all the scenes."""
        return sum(len(list(plan.shards())) for plan in self.scenes)

    @property
    def pending_shards(self) -> int:
        """Shards still to do."""
        return sum(len(shards) for shards in self.pending.values())

    @property
    def nbytes(self) -> int:
        """Bytes of all the mosaics' pixels and masks before compression."""
        return self.tiles * TILE_BYTES

    def seconds(self, rate: float) -> float:
        """Return the shortest time that so many requests per second allow."""
        return self.requests / rate


def plan_harvest(
    scenes: Sequence[Scene],
    store: str | Path,
    *,
    zoom: int,
    source: TileSource,
    max_tiles: int | None = None,
) -> HarvestPlan:
    """Plan a harvest, taking into account what the store already holds.

    Parameters
    ----------
    scenes : sequence of Scene
        The scenes to harvest.
    store : str or Path
        The mosaic store; it need not exist.
    zoom : int
        Zoom level.
    source : TileSource
        Where the tiles come from.
    max_tiles : int, optional
        Most tiles of a scene; a rectangle at its centre is kept.

    Raises
    ------
    BoundsError
        The zoom is out of the source's range.
    InputError
        No scenes, a scene named twice, or ``max_tiles`` less than one.
    StoreError
        The store holds a scene made with other settings; the difference is named.
    """
    check_zoom(zoom, *source.zooms)
    if not scenes:
        raise InputError("no scenes to harvest: widen the box")
    ids = [scene.id for scene in scenes]
    if len(set(ids)) < len(ids):
        twice = sorted({i for i in ids if ids.count(i) > 1})
        raise InputError(f"scenes given more than once: {', '.join(twice)}")
    if max_tiles is not None and max_tiles < 1:
        raise InputError(f"max_tiles {max_tiles} must be at least 1")
    plans = tuple(ScenePlan.of(scene, zoom, source, max_tiles) for scene in scenes)
    pending = {}
    requests = 0
    for plan in plans:
        kept = find_scene(store, plan.scene.id)
        if kept is not None:
            refuse_other_lineage(kept, plan.lineage)
        done = done_shards(kept) if kept else None
        pending[plan.scene.id] = [
            (index, window) for index, window in plan.shards() if done is None or not done[index]
        ]
        whole = plan.tiles.rows * plan.tiles.columns
        requests += int(tiles_to_do(kept).sum()) if kept else whole
    return HarvestPlan(plans, pending, requests)


def central(tiles: TileRange, most: int) -> TileRange:
    """Return the rectangle of at most ``most`` tiles at the centre, of nearly the same shape."""
    if tiles.rows * tiles.columns <= most:
        return tiles
    rows = max(1, min(tiles.rows, most, math.isqrt(most * tiles.rows // tiles.columns)))
    columns = max(1, min(tiles.columns, most // rows))
    y0 = tiles.y0 + (tiles.rows - rows) // 2
    x0 = tiles.x0 + (tiles.columns - columns) // 2
    return TileRange(tiles.zoom, x0, y0, x0 + columns, y0 + rows)


def tiles_to_fetch(plan: ShardPlan) -> list[tuple[int, int]]:
    """Return rows and columns, in the shard, of the tiles that a task has to fetch."""
    rows, columns = tile_slices(plan.window)
    if plan.afresh:
        wanted = np.ones((rows.stop - rows.start, columns.stop - columns.start), dtype=bool)
    else:
        wanted = np.asarray(plan.scene.array("tile_state")[rows, columns]) == TileState.FAILED
    return [(int(row), int(column)) for row, column in np.argwhere(wanted)]
