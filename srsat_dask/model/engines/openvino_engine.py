"""Inference on CPUs by OpenVINO, from the arrays of the model file.

Neither Keras nor TensorFlow is imported: the graph is built from the arrays.
"""

import threading
from collections import deque
from typing import Any

import numpy as np
import openvino as ov
from dask.system import CPU_COUNT
from numpy.typing import NDArray

from srsat_dask.model.engines.graph import build_graph
from srsat_dask.model.engines.tiling import choose_side, core_size, cut, origins, tile_sides
from srsat_dask.model.file import ModelFile

MAX_LANES = 4
"""Sub-tiles computed at once; each keeps about 100 MB of activations. One thread to a lane was
15 % faster than two threads on one; beyond this many, threads share lanes."""


class OpenVINOUpscaler:
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

    def __call__(self, lr: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (scale * y, scale * x, bands) for (y + 2 * halo, x + 2 * halo, bands)."""
        height, width = core_size(lr, self.halo, self.bands)
        side = choose_side(height, width, tile_sides(self.scale), self._lanes)
        scale, padded = self.scale, side + 2 * self.halo
        output = np.empty((self.bands, scale * height, scale * width), np.float32)
        idle = deque(self._requests(side))
        busy: deque[tuple[Any, int, int]] = deque()

        def collect() -> None:
            request, y, x = busy.popleft()
            request.wait()
            target = output[:, scale * y : scale * (y + side), scale * x : scale * (x + side)]
            result = request.get_output_tensor().data[0]
            target[...] = result[:, : target.shape[1], : target.shape[2]]
            idle.append(request)

        try:
            for y in origins(height, side):
                for x in origins(width, side):
                    if not idle:
                        collect()
                    request = idle.popleft()
                    piece = cut(lr, y, x, padded)
                    request.get_input_tensor().data[0] = piece.transpose(2, 0, 1)
                    request.start_async()
                    busy.append((request, y, x))
            while busy:
                collect()
        finally:
            # An interrupted call must not leave requests running for the next one.
            for request, _, _ in busy:
                request.wait()
        return output.transpose(1, 2, 0)

    def _requests(self, side: int) -> list[Any]:
        requests: dict[int, list[Any]] = self._local.__dict__.setdefault("requests", {})
        if side not in requests:
            with self._lock:
                if side not in self._compiled:
                    self._compiled[side] = self._compile(side)
                compiled = self._compiled[side]
            requests[side] = [compiled.create_infer_request() for _ in range(self._lanes)]
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
