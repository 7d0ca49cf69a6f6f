"""Which tiles of a scene are held out of training, to be validated and evaluated on.

Neighbouring pixels of an image resemble one another, so training and held-out pixels are set
apart by whole blocks of tiles, never by patches. The choice hangs on the scene's name, the ledger
and a seed: training and evaluation find the same blocks without telling each other, and adding a
scene to a store moves no block of another.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from srsat_dask.errors import InputError
from srsat_dask.mosaic.grid import TILE
from srsat_dask.mosaic.ledger import TileState, TileStates
from srsat_dask.mosaic.store import StoreScene
from srsat_dask.mosaic.windows import Window

FRACTION = 0.15
"""Share of a scene's blocks that is held out."""

LARGE_SCENE = 256
"""Tiles from which a block is 2 × 2 tiles; in smaller scenes a block is one tile."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The held-out tiles of one scene."""

    tiles: npt.NDArray[np.bool_]
    """True where a tile is held out, (tile_y, tile_x)."""
    seed: int
    """Seed of the choice."""
    fraction: float
    """Share of the blocks that was asked for."""

    def mask(self, window: Window) -> npt.NDArray[np.bool_]:
        """Return which pixels of a window inside the scene are held out, (y, x)."""
        rows = np.arange(window.y0, window.y1) // TILE
        columns = np.arange(window.x0, window.x1) // TILE
        return self.tiles[np.ix_(rows, columns)]


def held_out(scene: StoreScene, seed: int = 0, fraction: float = FRACTION) -> HeldOut:
    """Choose the held-out blocks of a scene of a mosaic store.

    Parameters
    ----------
    scene : StoreScene
        The scene; its ledger says which tiles hold pixels.
    seed : int
        Another seed gives another choice.
    fraction : float
        Share of the blocks to hold out, between 0 and 1.

    Returns
    -------
    HeldOut
        Empty only if the scene has one block or none.

    Raises
    ------
    InputError
        `fraction` is not between 0 and 1.
    """
    states = np.asarray(scene.array("tile_state")[:])
    return HeldOut(held_out_tiles(scene.name, states, seed, fraction), seed, fraction)


def held_out_tiles(
    name: str, states: TileStates, seed: int, fraction: float = FRACTION
) -> npt.NDArray[np.bool_]:
    """Choose the held-out tiles of a scene from its ledger.

    Blocks with a whole tile are preferred, so that no scene is judged on slivers of its edge.
    Of two or more such blocks, the share is rounded and at least one is held out. A scene of one
    block is held out whole, or not at all, with the share as its chance: of many small scenes
    the share is held out.

    Parameters
    ----------
    name : str
        Name of the scene.
    states : uint8 (tile_y, tile_x)
        `TileState` of each tile.
    seed : int
        Seed of the choice.
    fraction : float
        Share of the blocks to hold out, between 0 and 1.

    Returns
    -------
    bool (tile_y, tile_x)
        True for every tile of a held-out block, whatever its state.

    Raises
    ------
    InputError
        `fraction` is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise InputError(f"held-out fraction {fraction} must lie between 0 and 1, such as 0.15")
    side = 2 if states.size >= LARGE_SCENE else 1
    candidates = _blocks_with(states == TileState.STORED, side)
    if len(candidates) < 2:
        candidates = _blocks_with(has_pixels(states), side)
    ranks = np.array([_rank(name, row, column, seed) for row, column in candidates])
    if len(candidates) > 1:
        chosen = candidates[np.argsort(ranks)[: max(round(fraction * len(candidates)), 1)]]
    else:
        chosen = candidates[ranks < fraction]
    blocks = np.zeros((-(-states.shape[0] // side), -(-states.shape[1] // side)), np.bool_)
    blocks[chosen[:, 0], chosen[:, 1]] = True
    tiles = blocks.repeat(side, axis=0).repeat(side, axis=1)
    return tiles[: states.shape[0], : states.shape[1]]


def has_pixels(states: TileStates) -> npt.NDArray[np.bool_]:
    """Return which tiles hold source pixels, of the shape of `states`."""
    return np.isin(states, (TileState.STORED, TileState.PARTIAL))


def _blocks_with(tiles: npt.NDArray[np.bool_], side: int) -> npt.NDArray[np.intp]:
    return np.unique(np.argwhere(tiles) // side, axis=0).astype(np.intp).reshape(-1, 2)


def _rank(name: str, row: int, column: int, seed: int) -> float:
    # A hash, not a random generator: a block's rank hangs on no other block or scene.
    text = f"{name}\n{row}\n{column}\n{seed}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=6).digest(), "big") / 2**48
