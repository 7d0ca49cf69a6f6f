"""The ledger: what became of every tile and every shard.

``tile_state`` says how each tile ended; ``shard_digest`` holds the SHA-256 of a shard's pixels
and is written last, so a shard with a digest is whole. Presence of files would not do: an
all-nodata shard leaves none.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from srsat_dask.mosaic.grid import TILE
from srsat_dask.mosaic.store import StoreScene, shard_of, write_aligned
from srsat_dask.mosaic.windows import Window


class TileState(IntEnum):
    """How a tile ended."""

    PENDING = 0
    """Not tried yet."""
    STORED = 1
    """Every pixel holds a source pixel."""
    PARTIAL = 2
    """Some pixels lie outside the footprint."""
    ABSENT = 3
    """The service has no such tile (404)."""
    BLANK = 4
    """The service sent a tile without any source pixel."""
    FAILED = 5
    """No usable answer after all retries; a re-run tries again."""


class Reason(IntEnum):
    """Why a tile failed; from 100 on it is the HTTP status of the last answer."""

    NONE = 0
    """It did not fail."""
    NO_ANSWER = 1
    """No connection, a reset or a time-out."""
    CUT_SHORT = 2
    """A body shorter than announced."""
    TOO_LARGE = 3
    """A body beyond the bound."""
    NO_IMAGE = 4
    """A body that is no readable image."""
    WRONG_SIZE = 5
    """An image of another size than a tile's."""

    @staticmethod
    def text(code: int) -> str:
        """Return a code in words."""
        if code >= 100:
            return f"status {code}"
        return Reason(code).name.lower().replace("_", " ")


_UNREADABLE = (ValueError, RuntimeError, IndexError, EOFError)
"""What Zarr and its codecs raise for a chunk that is cut short or altered."""

TileStates = npt.NDArray[np.uint8]
"""`TileState` values of a rectangle of tiles, (rows, columns)."""


def state_of(valid: npt.NDArray[np.bool_]) -> TileState:
    """Return the state of a tile that came, from its valid pixels (y, x)."""
    if valid.all():
        return TileState.STORED
    return TileState.PARTIAL if valid.any() else TileState.BLANK


def write_shard(
    scene: StoreScene,
    window: Window,
    image: npt.NDArray[Any],
    valid: npt.NDArray[np.uint8],
    states: TileStates | None = None,
    reasons: npt.NDArray[np.uint16] | None = None,
) -> None:
    """Write one shard: pixels, then tile states, then the digest that makes it count.

    Parameters
    ----------
    scene : StoreScene
        The scene; its template exists.
    window : Window
        The shard's pixels.
    image : numpy.ndarray of the scene's type, shape (band, y, x)
        Pixels, 0 where ``valid`` is 0.
    valid : numpy.ndarray of uint8, shape (y, x)
        1 where a source pixel exists.
    states : numpy.ndarray of uint8, optional
        `TileState` of the shard's tiles; by default from ``valid``.
    reasons : numpy.ndarray of uint16, optional
        `Reason` or HTTP status of the tiles that failed; by default none did.
    """
    if states is None:
        states = tile_states(valid)
    arrays = scene.arrays("shard_digest", "image", "valid", "tile_state", "tile_reason", mode="r+")
    digests, pixels, mask, tile_state, tile_reason = arrays
    row, column = shard_index(mask, window)
    _make_pending(digests, row, column)
    write_aligned(pixels, window, image)
    write_aligned(mask, window, valid)
    tiles = tile_slices(window)
    tile_state[tiles] = states
    tile_reason[tiles] = 0 if reasons is None else reasons
    digests[row, column] = np.frombuffer(digest(image, valid, states), dtype=np.uint8)


def keep_input_digest(scene: StoreScene, window: Window, seen: bytes) -> None:
    """Write what a shard is made from into its ledger, ahead of its pixels.

    The shard is pending in between, so a run cut short leaves no shard with another's digest.
    """
    valid, digests, inputs = scene.arrays("valid", "shard_digest", "input_digest", mode="r+")
    row, column = shard_index(valid, window)
    _make_pending(digests, row, column)
    inputs[row, column] = np.frombuffer(seen, dtype=np.uint8)


def _make_pending(digests: "zarr.Array[Any]", row: int, column: int) -> None:
    """Take a shard's digest away: a rewrite cut short must not keep the old one."""
    if np.any(digests[row, column]):
        digests[row, column] = 0


def shard_index(valid: "zarr.Array[Any]", window: Window) -> tuple[int, int]:
    """Return row and column of the shard that a window of the mask's array is."""
    side = shard_of(valid)
    return window.y0 // side, window.x0 // side


def tile_slices(window: Window) -> tuple[slice, slice]:
    """Return where a shard's tiles lie in ``tile_state``."""
    return (
        slice(window.y0 // TILE, -(-window.y1 // TILE)),
        slice(window.x0 // TILE, -(-window.x1 // TILE)),
    )


def tile_states(valid: npt.NDArray[np.uint8]) -> TileStates:
    """Return the states of the tiles of a shard, from its valid pixels (y, x)."""
    rows, columns = (-(-side // TILE) for side in valid.shape)
    return np.array(
        [
            [
                state_of(valid[y * TILE : (y + 1) * TILE, x * TILE : (x + 1) * TILE] != 0)
                for x in range(columns)
            ]
            for y in range(rows)
        ],
        dtype=np.uint8,
    )


def digest(image: npt.NDArray[Any], valid: npt.NDArray[np.uint8], states: TileStates) -> bytes:
    """Return the SHA-256 of a shard's pixels, mask and tile states (C order)."""
    whole = hashlib.sha256()
    for part in (image, valid, states):
        whole.update(np.ascontiguousarray(part).data)
    return whole.digest()


def written_shards(scene: StoreScene) -> npt.NDArray[np.bool_]:
    """Return which shards have been written whole, (shard_y, shard_x)."""
    digests = shard_digests(scene)
    written: npt.NDArray[np.bool_] = np.any(digests != 0, axis=-1)
    return written


def done_shards(scene: StoreScene) -> npt.NDArray[np.bool_]:
    """Return which shards need nothing more, (shard_y, shard_x).

    A shard with a failed tile is written but not done: a re-run fetches what failed.
    """
    done = written_shards(scene)
    states = np.asarray(scene.array("tile_state")[:])
    side = scene.shard // TILE
    for row, column in zip(*np.nonzero(states == TileState.FAILED), strict=True):
        done[row // side, column // side] = False
    return done


def tiles_to_do(scene: StoreScene) -> npt.NDArray[np.bool_]:
    """Return which tiles the next run asks for: those of unwritten shards, and failed ones."""
    states = np.asarray(scene.array("tile_state")[:])
    side = scene.shard // TILE
    written = written_shards(scene).repeat(side, axis=0).repeat(side, axis=1)
    todo: npt.NDArray[np.bool_] = np.logical_or(
        ~written[: states.shape[0], : states.shape[1]], states == TileState.FAILED
    )
    return todo


def state_counts(scene: StoreScene) -> dict[str, int]:
    """Return how many of a scene's tiles are in each state, by name."""
    states = np.asarray(scene.array("tile_state")[:])
    return {state.name.lower(): int((states == state).sum()) for state in TileState}


@dataclass(frozen=True)
class FailedTile:
    """A tile that did not come; a re-run tries it again."""

    row: int
    """Row in the scene's mosaic."""
    column: int
    """Column in the scene's mosaic."""
    reason: str
    """Why, in words."""


def failed_tiles(scene: StoreScene) -> list[FailedTile]:
    """Return the tiles of a scene that failed, row by row, with their reasons."""
    failed = np.argwhere(np.asarray(scene.array("tile_state")[:]) == TileState.FAILED)
    reasons = np.asarray(scene.array("tile_reason")[:])
    return [
        FailedTile(int(row), int(column), Reason.text(int(reasons[row, column])))
        for row, column in failed
    ]


def fingerprint(scene: StoreScene) -> str:
    """Return the SHA-256 (hex) of what a scene is made from and of all its shards' digests."""
    whole = hashlib.sha256(json.dumps(scene.lineage, sort_keys=True).encode())
    whole.update(shard_digests(scene).tobytes())
    return whole.hexdigest()


def forget_shards(scene: StoreScene, shards: Iterable[tuple[int, int]]) -> None:
    """Make shards pending again, so that the next run makes them anew."""
    digests = scene.array("shard_digest", "r+")
    for row, column in shards:
        digests[row, column] = 0


def torn_shards(scene: StoreScene) -> list[tuple[int, int]]:
    """Return the shards whose pixels, mask or tile states are not those that were written.

    Reads every written shard and compares its digest; (row, column) of each that differs, or
    that cannot be read.
    """
    written = written_shards(scene)
    return [
        index for index, window in scene.shards() if written[index] and not is_intact(scene, window)
    ]


def is_intact(scene: StoreScene, window: Window) -> bool:
    """Return whether a shard reads back as it was written, by its digest."""
    image, valid, states, digests = scene.arrays("image", "valid", "tile_state", "shard_digest")
    try:
        kept = np.asarray(digests[shard_index(valid, window)])
        parts = [
            np.asarray(image[(slice(None), *window.slices)]),
            np.asarray(valid[window.slices]),
            np.asarray(states[tile_slices(window)]),
        ]
    except _UNREADABLE:
        return False
    return bool(digest(*parts) == kept.tobytes())


def shard_digests(
    scene: StoreScene,
    rows: slice = slice(None),
    columns: slice = slice(None),
    *,
    name: str = "shard_digest",
) -> npt.NDArray[np.uint8]:
    """Return the digests of a scene's shards, or of a block of them, (shard_y, shard_x, 32).

    One that cannot be read is all zero, so its shard is pending. ``name`` is that of the array.
    """
    array = scene.array(name)
    folder = Path(scene.store, scene.name, name, "c")
    if rows == columns == slice(None) and folder.parent.is_dir():
        return _read_digests(folder, array.shape)
    try:
        return np.asarray(array[rows, columns])
    except _UNREADABLE:
        digests = np.zeros(array.shape, dtype=np.uint8)
        for row, column in np.ndindex(array.shape[:2]):
            try:
                digests[row, column] = array[row, column]
            except _UNREADABLE:
                continue
        return digests[rows, columns]


def _read_digests(folder: Path, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Read the chunks that are there, each the plain 32 bytes of a digest.

    Zarr takes as long for a chunk that is not there as for one that is.
    """
    digests = np.zeros(shape, dtype=np.uint8)
    for row in os.scandir(folder) if folder.is_dir() else ():
        for column in os.scandir(row):
            try:
                kept = Path(column, "0").read_bytes()
            except FileNotFoundError:  # made at this moment, or cleared
                continue
            if len(kept) == shape[2]:
                digests[int(row.name), int(column.name)] = np.frombuffer(kept, np.uint8)
    return digests
