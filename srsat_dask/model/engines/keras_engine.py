"""Inference by Keras, on whatever device and backend it runs.

The network itself is called on sub-tiles of a fixed shape, so that its function is traced and
compiled once per shape; on a GPU several of them go together.
"""

import threading
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srsat_dask.model.engines.tiling import (
    Tile,
    TiledUpscaler,
    choose_side,
    core_size,
    cut,
    origins,
    tile_sides,
)
from srsat_dask.model.file import ModelFile

GPU_BATCH = 8
"""Sub-tiles that a GPU computes in one call; each takes about 200 MB of its memory."""


class KerasUpscaler(TiledUpscaler):
    """An `Upscaler` on the current Keras backend; see `srsat_dask.model.engines`.

    Parameters
    ----------
    model : ModelFile
        Network and weights.
    batch : int
        Sub-tiles computed in one call; the last call of an input is filled up with zeros.
    """

    def __init__(self, model: ModelFile, batch: int = 1) -> None:
        self.scale = model.spec.scale
        self.halo = model.spec.halo
        self.bands = model.spec.bands
        self._model = model
        self._batch = batch
        # One model per shape: a second shape would make Keras trace for dynamic shapes.
        self._networks: dict[int, Any] = {}
        # The backend spreads one call over the whole device; two at once gain nothing.
        self._lock = threading.Lock()

    def tiles(self, lr: NDArray[np.float32]) -> Iterator[Tile]:
        """Yield rows, columns and values (bands, y, x) of each sub-tile."""
        height, width = core_size(lr, self.halo, self.bands)
        side = choose_side(height, width, tile_sides(self.scale))
        scale, padded = self.scale, side + 2 * self.halo
        first = scale * self.halo - self._model.spec.margin // 2
        places = list(product(origins(height, side), origins(width, side)))
        for start in range(0, len(places), self._batch):
            batch = places[start : start + self._batch]
            pieces = np.zeros((self._batch, padded, padded, self.bands), np.float32)
            for piece, (y, x) in zip(pieces, batch, strict=False):
                piece[...] = cut(lr, y, x, padded)
            with self._lock:
                results = self._network(side).predict_on_batch(pieces)
            for result, (y, x) in zip(results, batch, strict=False):
                rows = min(scale * side, scale * (height - y))
                columns = min(scale * side, scale * (width - x))
                values = result[first : first + rows, first : first + columns]
                yield (
                    slice(scale * y, scale * y + rows),
                    slice(scale * x, scale * x + columns),
                    values.transpose(2, 0, 1),
                )

    def _network(self, side: int) -> Any:
        if side not in self._networks:
            self._networks[side] = self._model.keras_model()
        return self._networks[side]
