"""The Keras network against a plain NumPy loop, and its arguments."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srsat_dask.errors import ModelError
from srsat_dask.model import SRCNN, ModelSpec, upsample


def convolve_by_loops(image: np.ndarray, weights: list[tuple[np.ndarray, np.ndarray]]) -> Any:
    """Run valid convolutions, one output pixel after the other, in double precision."""
    values = image.astype(np.float64)
    for layer, (kernel, bias) in enumerate(weights):
        height, width = values.shape[0] - len(kernel) + 1, values.shape[1] - len(kernel) + 1
        output = np.empty((height, width, kernel.shape[3]))
        for y in range(height):
            for x in range(width):
                window = values[y : y + len(kernel), x : x + len(kernel)]
                output[y, x] = np.tensordot(window, kernel.astype(np.float64), 3) + bias
        values = output if layer == len(weights) - 1 else np.maximum(output, 0)
    return values


def pairs(model: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    arrays = model.get_weights()
    return list(zip(arrays[::2], arrays[1::2], strict=True))


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize(
    ("scale", "layers"),
    [
        (4, {"filters": (64, 32), "kernels": (9, 1, 5)}),
        (3, {"filters": (8, 6), "kernels": (9, 5, 5)}),
        (2, {"filters": (7, 5), "kernels": (5, 3, 3)}),
        (3, {"filters": (4,), "kernels": (3, 3)}),
    ],
)
def test_network_is_upsampling_then_convolutions(
    make_model: Callable[..., Any],
    rng: np.random.Generator,
    scale: int,
    layers: dict[str, tuple[int, ...]],
    residual: bool,
) -> None:
    """Output, margin and residual equal the definition written out in NumPy."""
    model = make_model(scale, residual=residual, **layers)
    lr = rng.random((1, 9, 8, 3), dtype=np.float32)
    upsampled = upsample(lr[0], scale)
    expected = convolve_by_loops(upsampled, pairs(model))
    radius = model.spec.margin // 2
    if residual:
        expected += upsampled[radius:-radius, radius:-radius]
    result = model.predict_on_batch(lr)[0]
    assert result.shape == model.compute_output_shape(lr.shape)[1:]
    np.testing.assert_allclose(result, expected, atol=2e-5)


def test_training_starts_at_bicubic(rng: np.random.Generator) -> None:
    """A fresh residual model gives nearly what bicubic gives."""
    lr = rng.random((1, 12, 12, 3), dtype=np.float32)
    result = SRCNN(4).predict_on_batch(lr)[0]
    np.testing.assert_allclose(result, upsample(lr[0], 4)[6:-6, 6:-6], atol=0.1)


def test_only_the_convolutions_are_trained() -> None:
    """The upsampling has no weights; 9-1-5 has 20,099 and 20,000 multiplications a pixel."""
    model = SRCNN(4)
    assert model.count_params() == model.spec.parameters == 20_099
    assert len(model.trainable_weights) == 6
    assert model.spec.macs_per_pixel == 20_000
    luminance = SRCNN(4, luminance=True)
    assert luminance.count_params() == luminance.spec.parameters == 8_129
    assert luminance.spec.macs_per_pixel == 81 * 64 + 64 * 32 + 25 * 32
    assert luminance.spec.halo == model.spec.halo == 3


def test_plain_keras_reads_the_file(
    make_model: Callable[..., Any], tmp_path: Path, rng: np.random.Generator
) -> None:
    """`keras.saving.load_model` rebuilds the model from the file, metadata included."""
    import keras

    model = make_model(3, filters=(5,), kernels=(3, 3), metadata={"area": (1, 2)})
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    lr = rng.random((1, 6, 7, 3), dtype=np.float32)
    assert again.metadata == {"area": [1, 2]}
    assert again.spec == model.spec
    assert np.array_equal(again.predict_on_batch(lr), model.predict_on_batch(lr))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 5}, "scale 5"),
        ({"scale": 1}, "scale 1 is not one of"),
        ({"scale": 2.0}, "scale 2.0"),
        ({"scale": True}, "scale True"),
        ({"kernels": (9, 2, 5)}, "kernel of 2"),
        ({"kernels": (9, 1)}, "2 kernels"),
        ({"kernels": (), "filters": ()}, "0 kernels"),
        ({"kernels": (3,) * 17, "filters": (2,) * 16}, "17 kernels"),
        ({"kernels": (33, 1, 5)}, "kernels 33"),
        ({"kernels": "915"}, "kernels '915'"),
        ({"filters": (64, 0)}, "filters 0"),
        ({"filters": (64, "32")}, "filters '32'"),
        ({"filters": (4096, 4096)}, "parameters"),
        ({"bands": 0}, "bands 0"),
        ({"residual": 1}, "residual 1"),
        ({"luminance": "yes"}, "luminance 'yes'"),
        ({"luminance": True, "bands": 4}, "luminance with 4 bands"),
        ({"metadata": {"when": object()}}, "metadata cannot be written"),
        ({"metadata": [1]}, "metadata is a list"),
    ],
)
def test_arguments_are_named_when_refused(arguments: dict[str, Any], message: str) -> None:
    """Each argument out of its range is refused before anything is built."""
    with pytest.raises(ModelError, match=message):
        ModelSpec(**{"scale": 4, **arguments})


def test_the_network_checks_its_arguments() -> None:
    """`SRCNN` refuses what `ModelSpec` refuses."""
    with pytest.raises(ModelError, match="scale 7"):
        SRCNN(7)
