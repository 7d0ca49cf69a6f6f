"""Inference on CPUs by OpenVINO, from the arrays of the model file.

The graph is built operation by operation, so neither Keras nor TensorFlow is imported. Upsampling
gathers four pixels per axis and adds them in a fixed order, and convolutions add their products
in one order for every pixel: so a pixel has the same bits in every sub-tile. Measured (AVX2):
equal across offsets, sides of sub-tiles and numbers of threads.
"""

import threading
from collections import deque
from typing import Any

import numpy as np
import openvino as ov
from dask.system import CPU_COUNT
from numpy.typing import NDArray
from openvino import opset13 as ops

from srsat_dask.model.bicubic import TAPS, upsampling_taps
from srsat_dask.model.engines.tiling import choose_side, core_size, cut, origins, tile_sides
from srsat_dask.model.file import ModelFile, Weights
from srsat_dask.model.spec import ModelSpec

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


def build_graph(spec: ModelSpec, weights: Weights, side: int) -> Any:
    """Build the network for one sub-tile.

    Parameters
    ----------
    spec : ModelSpec
        Scale and layers.
    weights : list of (kernel, bias)
        float32 (kh, kw, in, out) and (out,).
    side : int
        LR pixels of the core.

    Returns
    -------
    openvino.Model
        float32 (1, bands, side + 2 * halo, …) in [0, 1] to (1, bands, scale * side, …).
    """
    padded = side + 2 * spec.halo
    lr = ops.parameter([1, spec.bands, padded, padded], np.float32)
    upsampled = _upsample(lr, spec, side)
    values = upsampled
    for layer, (kernel, bias) in enumerate(weights):
        filters = ops.constant(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))
        values = ops.convolution(values, filters, [1, 1], [0, 0], [0, 0], [1, 1])
        values = ops.add(values, ops.constant(bias.reshape(1, -1, 1, 1)))
        if layer < len(weights) - 1:
            values = ops.relu(values)
    if spec.residual:
        begin = spec.margin // 2
        end = begin + spec.scale * side
        values = ops.add(values, _slice(upsampled, begin, end))
    return ov.Model([values], [lr], "srcnn")


def _upsample(lr: Any, spec: ModelSpec, side: int) -> Any:
    # Only the HR pixels that the convolutions read: the core and half the margin around it. The
    # halo holds all their taps, so the edge of the sub-tile is never met.
    begin = spec.scale * spec.halo - spec.margin // 2
    end = begin + spec.scale * side + spec.margin
    indices, weights = upsampling_taps(side + 2 * spec.halo, spec.scale)
    values = lr
    for axis in (3, 2):
        along = [1, 1, 1, 1]
        along[axis] = -1
        terms = [
            ops.multiply(
                ops.gather(
                    values,
                    ops.constant(indices[begin:end, tap].astype(np.int32)),
                    ops.constant(np.int32(axis)),
                ),
                ops.constant(weights[begin:end, tap].reshape(along)),
            )
            for tap in range(TAPS)
        ]
        values = terms[0]
        for term in terms[1:]:
            values = ops.add(values, term)
    return values


def _slice(values: Any, begin: int, end: int) -> Any:
    begins, ends = ops.constant([begin, begin]), ops.constant([end, end])
    return ops.slice(values, begins, ends, ops.constant([1, 1]), ops.constant([2, 3]))
