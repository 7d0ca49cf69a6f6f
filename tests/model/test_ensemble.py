"""The ensemble is the mean of eight, and has no seams of its own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from srsat_dask.model.engines import get_upscaler
from srsat_dask.model.ensemble import EnsembleUpscaler
from srsat_dask.model.file import ModelFile

MakeModel = Callable[..., Any]


@pytest.mark.parametrize("scale", [2, 3])
def test_mean_of_all_rotations_and_flips(
    scale: int, make_model: MakeModel, rng: np.random.Generator
) -> None:
    """NumPy's rot90 and fliplr are the oracle, an engine that was not asked for the pixels."""
    network = get_upscaler(ModelFile.open(make_model(scale, filters=(8, 8))), "keras")
    image = rng.random((31, 24, 3), dtype=np.float32)
    results = []
    for turns in range(4):
        turned = np.ascontiguousarray(np.rot90(image, turns))
        results.append(np.rot90(network(turned), -turns))
        flipped = np.ascontiguousarray(np.fliplr(turned))
        results.append(np.rot90(np.fliplr(network(flipped)), -turns))
    np.testing.assert_allclose(
        EnsembleUpscaler(network)(image), np.mean(results, axis=0), atol=1e-5, rtol=0
    )


def test_windows_of_it_equal_the_whole(make_model: MakeModel, rng: np.random.Generator) -> None:
    """The same bits, whatever window a pixel is computed in."""
    network = get_upscaler(ModelFile.open(make_model(4, filters=(8, 8))), "openvino")
    ensemble, halo = EnsembleUpscaler(network), network.halo
    image = rng.random((70, 90, 3), dtype=np.float32)
    whole = ensemble(image)
    part = ensemble(np.ascontiguousarray(image[11:50, 23:71]))
    scale = network.scale
    np.testing.assert_array_equal(
        part, whole[scale * 11 : scale * (50 - 2 * halo), scale * 23 : scale * (71 - 2 * halo)]
    )
