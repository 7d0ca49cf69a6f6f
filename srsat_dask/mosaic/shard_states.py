"""Where the shards of a scene stand, as the live page shows them."""

import numpy as np
import numpy.typing as npt

from srsat_dask.mosaic.grid import TILE
from srsat_dask.mosaic.ledger import TileState, written_shards
from srsat_dask.mosaic.store import StoreScene
from srsat_dask.runtime.events import SceneGrid, ShardState


def harvest_grid(scene: StoreScene) -> SceneGrid:
    """Return the shards of a harvested scene, each by the states of its tiles."""
    written = written_shards(scene)
    tiles = np.asarray(scene.array("tile_state")[:])
    side = scene.shard // TILE
    rows, columns = written.shape
    # Beyond the scene's edge no tile counts: a value of no state.
    padded = np.full((rows * side, columns * side), 255, dtype=np.uint8)
    padded[: tiles.shape[0], : tiles.shape[1]] = tiles
    shards = padded.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(rows, columns, -1)

    def only(*states: int) -> npt.NDArray[np.bool_]:
        return np.asarray(np.isin(shards, (*states, 255)).all(axis=-1))

    states = np.full(written.shape, ShardState.PARTIAL, dtype=np.uint8)
    states[only(TileState.STORED)] = ShardState.STORED
    states[only(TileState.ABSENT, TileState.BLANK)] = ShardState.ABSENT
    states[(shards == TileState.FAILED).any(axis=-1)] = ShardState.FAILED
    states[~written] = ShardState.PENDING
    return SceneGrid(scene.name, states)


def upscale_grid(name: str, missing: npt.NDArray[np.bool_]) -> SceneGrid:
    """Return the shards of a super-resolved scene: made or pending."""
    states = np.where(missing, ShardState.PENDING, ShardState.UPSCALED).astype(np.uint8)
    return SceneGrid(name, states)
