"""Inference on CPUs by OpenVINO, from the arrays of the model file.

Neither Keras nor TensorFlow is imported: the graph is built from the arrays.
"""

import threading
from collections import deque
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from dask.system import CPU_COUNT
from numpy.typing import NDArray

from srsat_dask.model.engines.graph import build_graph
from srsat_dask.model.engines.silent import openvino as ov
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

MAX_LANES = 4
"""Sub-tiles computed at once; each keeps about 100 MB of activations. One thread to a lane was
15 % faster than two threads on one; beyond this many, threads share lanes."""


class OpenVINOUpscaler(TiledUpscaler):
    """An `Upscaler` on the CPU; see `srsat_dask.model.engines`.

    Parameters
    ----------
    model : ModelFile
        Network and weights.
    threads : int, optional
        CPU threads of all calls together; by default every core the process may use.
    """

    def __init__(self, model: ModelFile, threads: int | None = None) -> None:
        self.scale = model.spec.scale
        self.halo = model.spec.halo
        self.bands = model.spec.bands
        self._model = model
        self._threads = CPU_COUNT if threads is None else threads
        self._lanes = min(self._threads, MAX_LANES)
        self._compiled: dict[int, Any] = {}
        self._lock = threading.Lock()
        # A request is not thread-safe, and a new one per call would allocate its tensors again.
        self._local = threading.local()

    def tiles(self, lr: NDArray[np.float32]) -> Iterator[Tile]:
        """Yield rows, columns and values (bands, y, x) of each sub-tile."""
        height, width = core_size(lr, self.halo, self.bands)
        side = choose_side(height, width, tile_sides(self.scale), self._lanes)
        idle = deque(self._requests(side))
        busy: deque[tuple[Any, int, int]] = deque()
        try:
            for y, x in product(origins(height, side), origins(width, side)):
                if not idle:
                    yield self._collect(busy[0], height, width, side)
                    idle.append(busy.popleft()[0])
                request = idle.popleft()
                piece = cut(lr, y, x, side + 2 * self.halo)
                request.get_input_tensor().data[0] = piece.transpose(2, 0, 1)
                request.start_async()
                busy.append((request, y, x))
            while busy:
                yield self._collect(busy[0], height, width, side)
                busy.popleft()
        finally:
            # A call cut short must not leave requests running for the next one.
            for request, _, _ in busy:
                request.wait()

    def _collect(self, started: tuple[Any, int, int], height: int, width: int, side: int) -> Tile:
        request, y, x = started
        request.wait()
        rows, columns = (
            slice(self.scale * at, self.scale * min(at + side, size))
            for at, size in ((y, height), (x, width))
        )
        values = request.get_output_tensor().data[0]
        return rows, columns, values[:, : rows.stop - rows.start, : columns.stop - columns.start]

    def _requests(self, side: int) -> list[Any]:
        requests: dict[int, list[Any]] = self._local.__dict__.setdefault("requests", {})
        if side not in requests:
            with self._lock:
                if side not in self._compiled:
                    self._compiled[side] = self._compile(side)
                compiled = self._compiled[side]
            # One more than lanes: no lane waits while its result is being taken away.
            requests[side] = [compiled.create_infer_request() for _ in range(self._lanes + 1)]
        return requests[side]

    def _compile(self, side: int) -> Any:
        graph = build_graph(self._model.spec, self._model.weights(), side)
        settings = {
            # Pinned, the workers of one machine land on the same cores.
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": self._lanes,
            # Where the CPU offers bfloat16, the default would use it.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        return ov.Core().compile_model(graph, "CPU", settings)
