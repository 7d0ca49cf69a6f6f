"""Engines that run a model file: one contract, one upscaler per process.

An engine is imported when it is first asked for, so a worker that runs OpenVINO never imports
TensorFlow. Compiled models do not pickle: send the `ModelFile`, and let each process build its
own upscaler with `get_upscaler`.
"""

import importlib.util
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from srsat_dask.errors import InputError
from srsat_dask.model.file import ModelFile

ENGINES = ("auto", "openvino", "keras")


@runtime_checkable
class Upscaler(Protocol):
    """LR -> HR in memory, for an input of any size, from any thread.

    Seam-exact: an output pixel depends on the LR pixels around it, never on the window or the
    sub-tile that it was computed in.
    """

    scale: int
    """HR pixels per LR pixel."""

    halo: int
    """LR pixels needed on each side of the core."""

    bands: int
    """Bands of the input and of the output."""

    def __call__(self, lr: NDArray[np.float32]) -> NDArray[np.float32]:
        """Upscale a core and its halo.

        Parameters
        ----------
        lr : float32 (y + 2 * halo, x + 2 * halo, bands)
            In [0, 1]; `y` and `x` at least 1.

        Returns
        -------
        float32 (scale * y, scale * x, bands)
            In the same unit, neither rounded nor clipped.

        Raises
        ------
        InputError
            If the shape is another.
        """
        ...

    def tiles(self, lr: NDArray[np.float32]) -> Iterator[tuple[slice, slice, NDArray[np.float32]]]:
        """Upscale a core and its halo piece by piece, so that no output of all of it is held.

        Parameters
        ----------
        lr : float32 (y + 2 * halo, x + 2 * halo, bands)
            In [0, 1]; `y` and `x` at least 1.

        Yields
        ------
        rows, columns : slice
            Where the piece lies in the (scale * y, scale * x) of the output. Together they cover
            it; where two overlap they are equal.
        values : float32 (bands, rows, columns)
            In the same unit; to be read before the next piece is asked for.

        Raises
        ------
        InputError
            If the shape is another.
        """
        ...


_upscalers: dict[tuple[str, str, int | None], Upscaler] = {}
_lock = threading.Lock()


def get_upscaler(model: ModelFile, engine: str = "auto", threads: int | None = None) -> Upscaler:
    """Return this process' upscaler of a model, building it the first time.

    Parameters
    ----------
    model : ModelFile
        Network and weights.
    engine : {"auto", "openvino", "keras"}
        ``auto`` is resolved by `resolve_engine`, in this process.
    threads : int, optional
        CPU threads for OpenVINO; by default every core the process may use. Keras' backends are
        set up through their own environment variables.

    Returns
    -------
    Upscaler
        The same object for the same arguments; not to be pickled.

    Raises
    ------
    InputError
        If `engine` is unknown or not installed, or `threads` is not positive.
    """
    resolved = resolve_engine(engine)
    if threads is not None and threads < 1:
        raise InputError(f"{threads} threads cannot compute; give at least 1")
    if not _installed(resolved):
        raise InputError(f"engine {resolved!r} is not installed: pip install {resolved}")
    key = (model.sha256, resolved, threads)
    with _lock:
        if key not in _upscalers:
            _upscalers[key] = _build(model, resolved, threads)
        return _upscalers[key]


def resolve_engine(engine: str) -> str:
    """Return the engine that ``auto`` stands for on this machine; any other as it is.

    To be called once for a whole image, where the work is planned: engines differ in the last
    bits, so workers that chose for themselves could mix them.

    Parameters
    ----------
    engine : {"auto", "openvino", "keras"}
        ``auto`` takes OpenVINO where it is installed and no GPU can be used, else Keras.

    Raises
    ------
    InputError
        If `engine` is unknown.
    """
    if engine not in ENGINES:
        raise InputError(f"engine {engine!r} is unknown: give one of {', '.join(ENGINES)}")
    if engine != "auto":
        return engine
    return "openvino" if _installed("openvino") and not gpu_usable() else "keras"


def gpu_usable() -> bool:
    """Whether Keras could use an NVIDIA GPU, found without importing a framework.

    The device must be there and not hidden, and the CUDA wheels installed: without them
    TensorFlow, JAX and PyTorch compute on the CPU, where OpenVINO is faster.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    hidden = chosen is not None and chosen.strip() in {"", "-1"}
    return not hidden and Path("/dev/nvidiactl").exists() and _installed("nvidia.cudnn")


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


def _build(model: ModelFile, engine: str, threads: int | None) -> Upscaler:
    if engine == "openvino":
        from srsat_dask.model.engines.openvino_engine import OpenVINOUpscaler

        return OpenVINOUpscaler(model, threads)
    from srsat_dask.model.engines.keras_engine import GPU_BATCH, KerasUpscaler

    return KerasUpscaler(model, GPU_BATCH if gpu_usable() else 1)
