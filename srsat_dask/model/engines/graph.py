"""An OpenVINO graph of the network for one sub-tile, built operation by operation.

Upsampling gathers four pixels per axis and adds them in a fixed order, and a convolution adds its
products in one order for every pixel: so a pixel has the same bits in every sub-tile. Measured
(AVX2): equal across offsets, sides of sub-tiles and numbers of threads.
"""

from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from srsat_dask.model.archive import Weights
from srsat_dask.model.bicubic import TAPS, upsampling_taps
from srsat_dask.model.engines.folding import fold, folding_pays
from srsat_dask.model.spec import ModelSpec


def build_graph(spec: ModelSpec, weights: Weights, side: int, folded: bool | None = None) -> Any:
    """Build the network for one sub-tile.

    Parameters
    ----------
    spec : ModelSpec
        Scale and layers.
    weights : list of (kernel, bias)
        float32 (kh, kw, in, out) and (out,).
    side : int
        LR pixels of the core.
    folded : bool, optional
        Whether the upsampling is folded into the first layer; by default where that pays.

    Returns
    -------
    openvino.Model
        float32 (1, bands, side + 2 * halo, …) in [0, 1] to (1, bands, scale * side, …). A static
        shape: with dynamic ones the folded graph gains nothing.
    """
    if folded is None:
        folded = folding_pays(spec.kernels[0], spec.scale)
    padded = side + 2 * spec.halo
    lr = ops.parameter([1, spec.bands, padded, padded], np.float32)
    layers = [(*layer, index < len(weights) - 1) for index, layer in enumerate(weights)]
    if folded:
        values = _folded(lr, spec, layers, side)
        if spec.residual:
            values = ops.add(values, _upsample(lr, spec, side, margin=0))
    else:
        upsampled = values = _upsample(lr, spec, side, margin=spec.margin)
        for layer in layers:
            values = _convolve(values, *layer)
        if spec.residual:
            values = ops.add(values, _crop(upsampled, spec.margin // 2, spec.scale * side))
    return ov.Model([values], [lr], "srcnn")


_Layer = tuple[NDArray[np.float32], NDArray[np.float32], bool]


def _folded(lr: Any, spec: ModelSpec, layers: list[_Layer], side: int) -> Any:
    # Layers of one pixel belong to a phase, and the HR image is put together after them.
    by_phase = 1
    while by_phase < len(layers) and spec.kernels[by_phase] == 1:
        by_phase += 1
    radius = sum(kernel - 1 for kernel in spec.kernels[by_phase:]) // 2
    # Whole LR pixels are computed around the core; of the outermost, only what the later layers
    # read is exact, and the zeros added here reach only what is cropped.
    around = -(-radius // spec.scale)
    phases = fold(layers[0][0], spec.scale)
    reach = max(max(-p.y, p.y + p.weights.shape[0] - 1) for p in phases)
    zeros = max(around + reach - spec.halo, 0)
    frame = [0, 0, zeros, zeros]
    wide = ops.pad(lr, frame, frame, "constant", ops.constant(np.float32(0)))
    origin, cells = zeros + spec.halo - around, side + 2 * around
    parts = []
    for phase in phases:
        rows, columns = phase.weights.shape[:2]
        values = _slice(
            wide,
            (origin + phase.y, origin + phase.x),
            (cells + rows - 1, cells + columns - 1),
        )
        values = _convolve(values, phase.weights, *layers[0][1:])
        for layer in layers[1:by_phase]:
            values = _convolve(values, *layer)
        parts.append(values)
    values = ops.depth_to_space(ops.concat(parts, 1), "blocks_first", spec.scale)
    # The pixels beyond the margin of the later layers go first: they cost time and nothing else.
    values = _crop(values, spec.scale * around - radius, spec.scale * side + 2 * radius)
    for layer in layers[by_phase:]:
        values = _convolve(values, *layer)
    return values


def _convolve(
    values: Any, kernel: NDArray[np.float32], bias: NDArray[np.float32], relu: bool
) -> Any:
    filters = ops.constant(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))
    values = ops.convolution(values, filters, [1, 1], [0, 0], [0, 0], [1, 1])
    values = ops.add(values, ops.constant(bias.reshape(1, -1, 1, 1)))
    return ops.relu(values) if relu else values


def _upsample(lr: Any, spec: ModelSpec, side: int, margin: int) -> Any:
    # Only the HR pixels that are read: the core and half the margin around it. The halo holds all
    # their taps, so the edge of the sub-tile is never met.
    begin = spec.scale * spec.halo - margin // 2
    end = begin + spec.scale * side + margin
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


def _crop(values: Any, begin: int, side: int) -> Any:
    return _slice(values, (begin, begin), (side, side))


def _slice(values: Any, begin: tuple[int, int], size: tuple[int, int]) -> Any:
    end = [begin[0] + size[0], begin[1] + size[1]]
    return ops.slice(
        values,
        ops.constant(list(begin)),
        ops.constant(end),
        ops.constant([1, 1]),
        ops.constant([2, 3]),
    )
