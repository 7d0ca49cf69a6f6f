"""The same file and the same steps on each backend of Keras, each in a process of its own."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srsat_dask.model import ModelFile, get_upscaler, save_model
from srsat_dask.training.presets import PRESETS

OTHERS = ("jax", "torch")
"""Backends beside TensorFlow, which all other tests run on."""

NETWORKS = {
    "rgb": {"scale": 4, "filters": (6, 5), "kernels": (9, 1, 5)},
    "luma": {"scale": 3, "filters": (7,), "kernels": (5, 3), "luminance": True},
    "whole": {"scale": 2, "filters": (), "kernels": (5,), "residual": False},
}

KNOWN = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
"""What NumPy 2 says of Keras' variables on every backend; pyproject.toml ignores it too."""

SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from srsat_dask.model import ModelFile, get_upscaler
from srsat_dask.training import record
from tests.model.test_backends import losses_of

folder = Path(sys.argv[1])
results = {"backend": record.provenance()["backend"]}
for path in folder.glob("*.keras"):
    lr, target = (np.load(path.with_suffix(f".{name}.npy")) for name in ("lr", "hr"))
    model = ModelFile.open(path)
    results[path.stem] = get_upscaler(model, "keras")(lr)
    results[f"{path.stem}-losses"] = losses_of(model, lr, target)
np.savez(folder / "results.npz", **results)
"""


def losses_of(model: ModelFile, lr: np.ndarray, target: np.ndarray) -> list[float]:
    """Train on one image, a stripe of it missing, and return the loss and PSNR of each step."""
    from srsat_dask.training.objective import training_model

    fitted = training_model(model.keras_model(), PRESETS["default"])
    weight = np.ones((1, *target.shape[:2]), np.float32)
    weight[:, :9] = 0
    batch = (lr[None], target[None])
    steps = [
        fitted.train_on_batch(*batch, sample_weight=weight, return_dict=True) for _ in range(6)
    ]
    steps.append(fitted.test_on_batch(*batch, sample_weight=weight, return_dict=True))
    return [float(step[name]) for step in steps for name in ("loss", "psnr")]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("backend", OTHERS)
def test_backends_agree_and_train(
    backend: str, make_model: Callable[..., Any], tmp_path: Path, rng: np.random.Generator
) -> None:
    """A file gives the same pixels to 1e-5, and training takes the same steps downhill."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: pip install srsat-dask[{backend}]")
    expected: dict[str, Any] = {}
    for name, arguments in NETWORKS.items():
        model = ModelFile.open(make_model(**arguments))
        halo, scale = model.spec.halo, model.spec.scale
        lr = rng.random((16 + 2 * halo, 12 + 2 * halo, 3), dtype=np.float32)
        target = rng.random((16 * scale, 12 * scale, 3), dtype=np.float32)
        save_model(model, tmp_path / f"{name}.keras")
        np.save(tmp_path / f"{name}.lr.npy", lr)
        np.save(tmp_path / f"{name}.hr.npy", target)
        expected[name] = get_upscaler(model, "openvino")(lr)
        expected[f"{name}-losses"] = losses_of(model, lr, target)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", KNOWN, "-c", SCRIPT, str(tmp_path)],
        env={**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).parents[2],
        check=False,
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "results.npz")
    assert found["backend"] == backend
    for name in NETWORKS:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5, rtol=1e-5)
        losses = found[f"{name}-losses"]
        np.testing.assert_allclose(losses, expected[f"{name}-losses"], rtol=1e-4)
        assert losses[-2] < losses[0]


@pytest.mark.skipif(os.environ.get("CI") != "true", reason="only where everything is installed")
def test_another_backend_is_there_in_ci() -> None:
    """Skipping them all would prove nothing."""
    assert any(importlib.util.find_spec(backend) for backend in OTHERS)
