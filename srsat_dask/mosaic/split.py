"""Which blocks of a scene are trained on, which choose the best weights, which are judged.

Neighbouring pixels of an image resemble one another, so the three parts are set apart by whole
blocks of tiles, never by patches. The choice hangs on the scene's name, on which of its tiles
hold pixels and on a seed: training and evaluation find the same blocks without telling each
other, and another scene moves no block of this one.
"""

import hashlib
import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from srsat_dask.errors import InputError
from srsat_dask.mosaic.grid import TILE
from srsat_dask.mosaic.inputs import MosaicScene, RasterScene, ReadableScene
from srsat_dask.mosaic.ledger import TileState, TileStates, state_of
from srsat_dask.mosaic.windows import Window

LARGE_SCENE = 256
"""Tiles from which a block is 2 × 2 tiles; in smaller scenes a block is one tile."""

SHORT = 8
"""Hexadecimal digits that tell the images of a folder apart."""


class Part(IntEnum):
    """What the pixels of a block are for."""

    TRAINING = 0
    """To learn from."""
    VALIDATION = 1
    """To choose the best weights by; nothing is learned from them."""
    TEST = 2
    """To judge by; training never looks at them."""


@dataclass(frozen=True)
class Shares:
    """How much of each scene is held out of training.

    Raises
    ------
    InputError
        A share is negative, both are 0, or they leave nothing to train on.
    """

    validation: float = 0.1
    """Share of a scene's blocks to validate on."""
    test: float = 0.15
    """Share of a scene's blocks to test on."""
    seed: int = 0
    """Another seed gives another choice."""

    def __post_init__(self) -> None:
        shares = (self.validation, self.test)
        held = sum(shares)
        if not (all(map(math.isfinite, shares)) and min(shares) >= 0 and 0 < held < 1):
            raise InputError(
                f"held-out fractions {self.validation}, {self.test} (validation, test) must not be"
                " negative, and their sum must lie between 0 and 1, such as 0.1, 0.15"
            )


@dataclass(frozen=True, eq=False)
class Split:
    """The three parts of one scene."""

    parts: npt.NDArray[np.uint8]
    """`Part` of each tile, whatever its state, (tile_y, tile_x)."""
    present: npt.NDArray[np.bool_]
    """Which tiles hold pixels, (tile_y, tile_x)."""
    shares: Shares
    """What was asked for."""
    tile: tuple[int, int] = (TILE, TILE)
    """Height and width of a tile in pixels."""

    def mask(self, window: Window, *parts: Part) -> npt.NDArray[np.bool_]:
        """Return which pixels of a window inside the scene belong to some parts, (y, x)."""
        rows = np.arange(window.y0, window.y1) // self.tile[0]
        columns = np.arange(window.x0, window.x1) // self.tile[1]
        return np.isin(self.parts, parts)[np.ix_(rows, columns)]

    def pixels(self, window: Window, part: Part) -> int:
        """Return how many pixels of a window lie in tiles of a part that hold pixels."""
        (rows, heights), (columns, widths) = (
            np.unique(np.arange(start, stop) // side, return_counts=True)
            for start, stop, side in (
                (window.y0, window.y1, self.tile[0]),
                (window.x0, window.x1, self.tile[1]),
            )
        )
        at = np.ix_(rows, columns)
        wanted = (self.parts[at] == part) & self.present[at]
        return int(heights @ wanted @ widths)

    def tiles(self, part: Part) -> int:
        """Return how many tiles that hold pixels belong to a part."""
        return int((self.present & (self.parts == part)).sum())

    @property
    def judged(self) -> Part:
        """The part to judge a model by: validation in a scene too small for a test block."""
        return Part.TEST if self.tiles(Part.TEST) else Part.VALIDATION


DEFAULT = Shares()
"""What training holds out when it is not told."""


def split_scene(scene: ReadableScene, shares: Shares = DEFAULT, name: str | None = None) -> Split:
    """Split a scene into training, validation and test blocks.

    The tiles of a mosaic scene are those of its ledger; any other scene is cut into equal tiles of
    about 256 px, so that none is a sliver.

    Parameters
    ----------
    scene : ReadableScene
        The scene.
    shares : Shares
        How much to hold out, and the seed.
    name : str, optional
        Name to choose by in place of the scene's, such as the one it was trained under.
    """
    if isinstance(scene, MosaicScene):
        states, tile = np.asarray(scene.array("tile_state")[:]), (TILE, TILE)
    else:
        tile = _even_tile(scene.shape)
        states = _states(scene, tile)
    parts = parts_of_tiles(scene.name if name is None else name, states, shares)
    return Split(parts, has_pixels(states), shares, tile)


def parts_of_tiles(name: str, states: TileStates, shares: Shares) -> npt.NDArray[np.uint8]:
    """Choose the part of each tile of a scene.

    Blocks with a whole tile are preferred, so that no scene is judged on slivers of its edge. Of
    three or more such blocks, each share is rounded and is at least one block; of two, one is
    for validation. A scene of one block goes to one part whole, with the shares as its chances:
    of many small scenes the shares are held out.

    Parameters
    ----------
    name : str
        Name of the scene.
    states : uint8 (tile_y, tile_x)
        `TileState` of each tile.
    shares : Shares
        How much to hold out, and the seed.

    Returns
    -------
    uint8 (tile_y, tile_x)
        `Part` of every tile, whatever its state.
    """
    side = 2 if states.size >= LARGE_SCENE else 1
    candidates = _blocks_with(states == TileState.STORED, side)
    if len(candidates) < 2:
        candidates = _blocks_with(has_pixels(states), side)
    ranks = np.array([_rank(name, row, column, shares.seed) for row, column in candidates])
    parts = np.full(len(candidates), Part.TRAINING, np.uint8)
    if len(candidates) > 1:
        test, validation = _blocks_of(len(candidates), shares)
        order = np.argsort(ranks)
        parts[order[:test]] = Part.TEST
        parts[order[test : test + validation]] = Part.VALIDATION
    else:
        parts[ranks < shares.test + shares.validation] = Part.VALIDATION
        parts[ranks < shares.test] = Part.TEST
    blocks = np.zeros((-(-states.shape[0] // side), -(-states.shape[1] // side)), np.uint8)
    blocks[candidates[:, 0], candidates[:, 1]] = parts
    tiles = blocks.repeat(side, axis=0).repeat(side, axis=1)
    return tiles[: states.shape[0], : states.shape[1]]


def has_pixels(states: TileStates) -> npt.NDArray[np.bool_]:
    """Return which tiles hold source pixels, of the shape of `states`."""
    return np.isin(states, (TileState.STORED, TileState.PARTIAL))


def short(fingerprint: str) -> str:
    """Return what a model's file keeps of the fingerprint of one of a folder's many images."""
    return fingerprint[:SHORT]


def _blocks_of(blocks: int, shares: Shares) -> tuple[int, int]:
    """Return how many of two or more blocks are for test and for validation."""
    test, validation = (
        max(round(share * blocks), 1) if share else 0 for share in (shares.test, shares.validation)
    )
    if blocks == 2:
        return (0, 1) if shares.validation else (1, 0)
    # Rounding up must take the last block neither from validation nor from training.
    test = min(test, blocks - 2 if shares.validation else blocks - 1)
    return test, min(validation, blocks - 1 - test)


def _even_tile(shape: tuple[int, int]) -> tuple[int, int]:
    height, width = (-(-side // max(round(side / TILE), 1)) for side in shape)
    return height, width


def _states(scene: ReadableScene, tile: tuple[int, int]) -> TileStates:
    rows, columns = (-(-side // step) for side, step in zip(scene.shape, tile, strict=True))
    if isinstance(scene, RasterScene) and scene.all_valid():
        return np.full((rows, columns), TileState.STORED, np.uint8)
    states = np.empty((rows, columns), np.uint8)
    for row, column in np.ndindex(rows, columns):
        y, x = row * tile[0], column * tile[1]
        _, valid = scene.read(Window(y, y + tile[0], x, x + tile[1]).clipped(scene.shape))
        states[row, column] = state_of(valid)
    return states


def _blocks_with(tiles: npt.NDArray[np.bool_], side: int) -> npt.NDArray[np.intp]:
    return np.unique(np.argwhere(tiles) // side, axis=0).astype(np.intp).reshape(-1, 2)


def _rank(name: str, row: int, column: int, seed: int) -> float:
    # A hash, not a random generator: a block's rank hangs on no other block or scene.
    text = f"{name}\n{row}\n{column}\n{seed}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=6).digest(), "big") / 2**48
