"""The folded first layer is upsampling and convolution in one."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from srsat_dask.model import ModelFile, upsample
from srsat_dask.model.engines.folding import fold, folding_pays


def _convolve_at(image: np.ndarray, kernel: np.ndarray, y: int, x: int) -> np.ndarray:
    window = image[y : y + kernel.shape[0], x : x + kernel.shape[1]]
    return np.tensordot(window.astype(np.float64), kernel.astype(np.float64), 3)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [1, 3, 5, 9])
def test_each_phase_is_upsampling_and_convolution(
    scale: int, size: int, rng: np.random.Generator
) -> None:
    """At an LR pixel away from the edge each phase gives what the two steps give."""
    kernel = rng.normal(size=(size, size, 3, 2)).astype(np.float32)
    image = rng.random((19, 19, 3), dtype=np.float32)
    upsampled, centre, radius = upsample(image, scale), 9, size // 2
    for index, phase in enumerate(fold(kernel, scale)):
        y, x = (scale * centre + place for place in divmod(index, scale))
        expected = _convolve_at(upsampled, kernel, y - radius, x - radius)
        result = _convolve_at(image, phase.weights, centre + phase.y, centre + phase.x)
        np.testing.assert_allclose(result, expected, atol=1e-5)


def test_phases_of_the_paper_network() -> None:
    """For ×4 and 9×9 every phase is a 6×6 convolution, half of them one pixel to the right."""
    phases = fold(np.ones((9, 9, 1, 1), np.float32), 4)
    assert {phase.weights.shape[:2] for phase in phases} == {(6, 6)}
    assert [phase.x for phase in phases[:4]] == [-3, -3, -2, -2]


def test_folding_pays_for_wide_kernels() -> None:
    """A 9×9 kernel shrinks at every scale, a 3×3 at none."""
    assert [folding_pays(9, scale) for scale in (2, 3, 4)] == [True] * 3
    assert [folding_pays(3, scale) for scale in (2, 3, 4)] == [False] * 3


@pytest.mark.parametrize("side", [7, 32])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(
    "layers",
    [
        {"filters": (8, 6), "kernels": (9, 1, 5)},
        {"filters": (6, 5), "kernels": (5, 3, 3)},
        {"filters": (6, 4, 4), "kernels": (3, 1, 1, 7), "residual": False},
        {"filters": (4,), "kernels": (7, 1)},
    ],
)
def test_folded_and_unfolded_graphs_agree(
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
    for folded in (False, True):
        graph = build_graph(model.spec, model.weights(), side, folded=folded)
        compiled = ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        results.append(compiled(lr)[0])
    assert results[0].shape == (1, 3, scale * side, scale * side)
    np.testing.assert_allclose(results[1], results[0], atol=1e-5)
