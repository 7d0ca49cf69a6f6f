"""Inference by Keras, on whatever device and backend it runs.

The network itself is called on sub-tiles of a fixed shape, so that its function is traced and
compiled once per shape.
"""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srsat_dask.model.engines.tiling import choose_side, core_size, cut, origins, tile_sides
from srsat_dask.model.file import ModelFile


class KerasUpscaler:
    """An `Upscaler` on the current Keras backend; see `srsat_dask.model.engines`.

    Parameters
    ----------
    model : ModelFile
        Network and weights.
    """

    def __init__(self, model: ModelFile) -> None:
        self.scale = model.spec.scale
        self.halo = model.spec.halo
        self.bands = model.spec.bands
        self._model = model
        # One model per shape: a second shape would make Keras trace for dynamic shapes.
        self._networks: dict[int, Any] = {}
        # The backend spreads one call over the whole device; two at once gain nothing.
        self._lock = threading.Lock()

    def __call__(self, lr: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (scale * y, scale * x, bands) for (y + 2 * halo, x + 2 * halo, bands)."""
        height, width = core_size(lr, self.halo, self.bands)
        side = choose_side(height, width, tile_sides(self.scale))
        scale, padded = self.scale, side + 2 * self.halo
        first = scale * self.halo - self._model.spec.margin // 2
        output = np.empty((scale * height, scale * width, self.bands), np.float32)
        for y in origins(height, side):
            for x in origins(width, side):
                piece = np.ascontiguousarray(cut(lr, y, x, padded))[None]
                with self._lock:
                    result = self._network(side).predict_on_batch(piece)[0]
                target = output[scale * y : scale * (y + side), scale * x : scale * (x + side)]
                rows, columns = target.shape[:2]
                target[...] = result[first : first + rows, first : first + columns]
        return output

    def _network(self, side: int) -> Any:
        if side not in self._networks:
            self._networks[side] = self._model.keras_model()
        return self._networks[side]
