"""Shards as patches are cut out of them: read, degraded and searched for places once.

A task draws from its shard as often as the shard's turn comes, so what is ready stays in the
worker's memory while there is room. Only time hangs on it, never a value.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock

import numpy as np
import numpy.typing as npt

from srsat_dask.training.patches import (
    Corners,
    Patches,
    PatchShape,
    cut,
    degraded,
    training_corners,
)

CACHED_BYTES = 2**28
"""Most bytes that a worker process keeps ready."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A window to cut training patches out of."""

    image: npt.NDArray[np.uint8]
    """Its pixels, (bands, y, x)."""
    valid: npt.NDArray[np.bool_]
    """Which of them are valid, (y, x)."""
    corners: Corners
    """Where patches may lie."""
    coarse: npt.NDArray[np.uint8] | None
    """The window degraded; None where each patch is degraded by itself."""
    origin: tuple[int, int]
    """Row and column of the window in its scene, in pixels."""

    @classmethod
    def of(
        cls,
        image: npt.NDArray[np.uint8],
        valid: npt.NDArray[np.bool_],
        held: npt.NDArray[np.bool_],
        origin: tuple[int, int],
        shape: PatchShape,
    ) -> "Prepared":
        """Prepare a window; parameters are those of `training_corners` and `cut`."""
        corners = training_corners(valid, held, origin, shape)
        alone = shape.contrast_stretch or not len(corners)
        coarse = None if alone else degraded(image, origin, shape)
        return cls(image, valid, corners, coarse, origin)

    @property
    def nbytes(self) -> int:
        """Its size in memory."""
        coarse = 0 if self.coarse is None else self.coarse.nbytes
        return self.image.nbytes + self.valid.nbytes + self.corners.nbytes + coarse

    def draw(self, patches: int, shape: PatchShape, rng: np.random.Generator) -> Patches:
        """Return so many patches at random places; none if there is no place."""
        # Without a corner to draw from, the empty array of corners stands for itself.
        chosen = self.corners
        if len(chosen):
            chosen = chosen[rng.integers(len(chosen), size=patches)]
        return cut(self.image, self.valid, chosen, shape, self.origin, self.coarse)


class Cache:
    """What was prepared last, up to a number of bytes.

    Parameters
    ----------
    limit : int
        Most bytes to keep.
    """

    def __init__(self, limit: int = CACHED_BYTES) -> None:
        self._limit = limit
        self._kept: OrderedDict[Hashable, Prepared] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable, prepare: Callable[[], Prepared]) -> Prepared:
        """Return what is kept under a key, or prepare and keep it."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
        # Two threads may prepare the same at once: the values are equal.
        made = prepare()
        with self._lock:
            self._kept[key] = made
            while sum(kept.nbytes for kept in self._kept.values()) > self._limit:
                self._kept.popitem(last=False)
        return made


CACHE = Cache()
"""That of this process."""
