"""Cheaper forms of the network: upsampling folded into a layer, a layer split in two."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from srsat_dask.model import ModelFile, upsample
from srsat_dask.model.engines.folding import fold, folding_pays
from srsat_dask.model.engines.splitting import split, splitting_pays


def _convolve(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolve (y, x, in) by a plain sum over windows, valid, in float64."""
    windows = np.lib.stride_tricks.sliding_window_view(
        image.astype(np.float64), kernel.shape[:2], (0, 1)
    )
    return np.einsum("yxiab,abio->yxo", windows, kernel.astype(np.float64), optimize=True)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [1, 3, 5, 9])
def test_folded_is_upsampling_and_convolution(
    scale: int, size: int, rng: np.random.Generator
) -> None:
    """Away from the edge, spreading every LR pixel gives what the two steps give."""
    kernel = rng.normal(size=(size, size, 3, 2)).astype(np.float32)
    image = rng.random((13, 12, 3), dtype=np.float32)
    expected = _convolve(upsample(image, scale), kernel)
    folded = fold(kernel, scale)
    taps, offset = len(folded.weights), 4 * scale + size
    spread = np.zeros((scale * 13 + 2 * offset + taps, scale * 12 + 2 * offset + taps, 2))
    for y, x in np.ndindex(13, 12):
        at_y, at_x = (scale * place + folded.first + offset for place in (y, x))
        spread[at_y : at_y + taps, at_x : at_x + taps] += np.einsum(
            "i,abio->abo", image[y, x], folded.weights
        )
    begin, edge = offset + size // 2, 4 * scale
    result = spread[begin : begin + expected.shape[0], begin : begin + expected.shape[1]]
    inner = slice(edge, -edge)
    np.testing.assert_allclose(result[inner, inner], expected[inner, inner], atol=1e-5)


def test_folding_pays_for_wide_kernels() -> None:
    """A 9×9 kernel shrinks at every scale, to 6×6 at ×4; a 3×3 at none."""
    assert fold(np.ones((9, 9, 1, 1), np.float32), 4).weights.shape == (24, 24, 1, 1)
    assert [folding_pays(9, scale) for scale in (2, 3, 4)] == [True] * 3
    assert [folding_pays(3, scale) for scale in (2, 3, 4)] == [False] * 3


@pytest.mark.parametrize("shape", [(5, 5, 4, 3), (3, 3, 2, 1), (7, 7, 1, 9)])
def test_split_is_the_whole_convolution(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    """Rows, then columns, give what the kernel gives; outputs between fill whole registers."""
    kernel = rng.normal(size=shape).astype(np.float32)
    image = rng.random((15, 17, shape[2]), dtype=np.float32)
    rows, columns = split(kernel)
    assert rows.shape[3] % 8 == 0
    result = _convolve(_convolve(image, rows), columns)
    np.testing.assert_allclose(result, _convolve(image, kernel), rtol=1e-12)


def test_splitting_pays_for_few_outputs() -> None:
    """The last layer gains from it, others and the narrow ones do not."""
    assert splitting_pays((5, 5, 32, 3))
    assert splitting_pays((5, 5, 32, 1))
    assert not splitting_pays((5, 5, 64, 32))
    assert not splitting_pays((1, 1, 64, 3))
    assert not splitting_pays((3, 3, 4, 3))


@pytest.mark.parametrize("side", [7, 32])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(
    "layers",
    [
        {"filters": (8, 6), "kernels": (9, 1, 5)},
        {"filters": (16, 12), "kernels": (5, 3, 3)},
        {"filters": (6, 4, 4), "kernels": (3, 1, 1, 7), "residual": False},
        {"filters": (4,), "kernels": (7, 1)},
        {"filters": (), "kernels": (9,)},
        {"filters": (4, 3), "kernels": (7, 1, 3), "luminance": True},
        {"filters": (4,), "kernels": (5, 3), "luminance": True, "residual": False},
    ],
)
def test_cheap_and_plain_graphs_agree(
    make_model: Callable[..., Any],
    rng: np.random.Generator,
    layers: dict[str, Any],
    scale: int,
    side: int,
) -> None:
    """Both forms of the graph give the same to 1e-5, up to the corners of the sub-tile."""
    import openvino as ov

    from srsat_dask.model.engines.graph import build_graph

    model = ModelFile.open(make_model(scale, **layers))
    padded = side + 2 * model.spec.halo
    lr = rng.random((1, 3, padded, padded), dtype=np.float32)
    results = []
    for plain in (True, False):
        graph = build_graph(model.spec, model.weights(), side, plain=plain)
        compiled = ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        results.append(compiled(lr)[0])
    assert results[0].shape == (1, 3, scale * side, scale * side)
    np.testing.assert_allclose(results[1], results[0], atol=1e-5)
