"""The history of a training run, written beside its model: a JSON document and a curve."""

import io
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from srsat_dask.errors import InputError
from srsat_dask.training.fit import Epoch


def history_path(model_path: str | Path) -> Path:
    """Return where the history of a model lies: ``OUT.history.json`` for ``OUT.keras``."""
    return Path(model_path).with_suffix(".history.json")


def curve_path(model_path: str | Path) -> Path:
    """Return where the curve of a model lies: ``OUT.curve.png`` for ``OUT.keras``."""
    return Path(model_path).with_suffix(".curve.png")


def check_model_path(model_path: str | Path) -> None:
    """Refuse, before hours of training, a path that a model cannot be written to.

    Raises
    ------
    InputError
        It does not end in ``.keras``, or its folder does not exist or may not be written to.
    """
    path = Path(model_path)
    if path.suffix != ".keras":
        raise InputError(f"model {path} must end in .keras")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(f"model {path}: its folder does not exist or may not be written to")


def history(
    epochs: Sequence[Epoch], bicubic: float, *, batch_pixels: int, settings: dict[str, Any]
) -> dict[str, Any]:
    """Return the history of a training run as a JSON document.

    Parameters
    ----------
    epochs : sequence of Epoch
        At least one.
    bicubic : float
        Bicubic PSNR of the validation patches in dB.
    batch_pixels : int
        HR pixels in a batch.
    settings : dict
        The model's metadata.

    Returns
    -------
    dict
        The settings, ``bicubic_val_psnr`` (dB), ``timing`` (seconds, HR megapixels per second
        with validation) and ``epochs``.
    """
    last = epochs[-1]
    return {
        **settings,
        "timing": {
            "seconds": last.seconds,
            "steps": last.steps,
            "megapixels_per_second": last.steps * batch_pixels / last.seconds / 1e6,
        },
        **summary(epochs, bicubic),
    }


def summary(epochs: Sequence[Epoch], bicubic: float) -> dict[str, Any]:
    """Return what a curve shows: the epochs, the best one's PSNR and bicubic's (dB)."""
    return {
        "bicubic_val_psnr": bicubic,
        "best_val_psnr": max(epoch.val_psnr for epoch in epochs),
        "epochs": [{"epoch": n, **asdict(epoch)} for n, epoch in enumerate(epochs, 1)],
    }


def write_history(model_path: str | Path, document: dict[str, Any]) -> None:
    """Write the history and its curve beside a model, each whole or not at all.

    Parameters
    ----------
    model_path : str or Path
        ``OUT.keras``.
    document : dict
        From `history`.
    """
    write_whole(history_path(model_path), json.dumps(document, indent=2).encode())
    write_whole(curve_path(model_path), draw_curve(document))


def draw_curve(document: dict[str, Any]) -> bytes:
    """Draw PSNR with the bicubic line, and the loss below, over the steps.

    Parameters
    ----------
    document : dict
        From `history` or `summary`.

    Returns
    -------
    bytes
        A PNG image.
    """
    # Figure, not pyplot: no window system, no global state.
    from matplotlib.figure import Figure

    epochs = document["epochs"]
    steps = [epoch["steps"] for epoch in epochs]
    figure = Figure(figsize=(7, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    upper.plot(steps, [e["psnr"] for e in epochs], ".-", color="0.6", label="training")
    upper.plot(steps, [e["val_psnr"] for e in epochs], ".-", color="tab:blue", label="validation")
    bicubic = document["bicubic_val_psnr"]
    upper.axhline(bicubic, color="tab:orange", ls="--", label=f"bicubic, validation {bicubic:.2f}")
    best = document["best_val_psnr"]
    upper.set_title(f"best validation {best:.2f} dB, {best - bicubic:+.2f} dB over bicubic")
    upper.set_ylabel("PSNR (dB)")
    upper.legend()
    lower.plot(steps, [e["loss"] for e in epochs], ".-", color="0.6", label="training")
    lower.plot(steps, [e["val_loss"] for e in epochs], ".-", color="tab:blue", label="validation")
    lower.set_yscale("log")
    lower.set_ylabel("mean squared error")
    lower.set_xlabel("step")
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    return image.getvalue()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all; one that is there is replaced.

    Raises
    ------
    InputError
        It cannot be written.
    """
    # Always the same name: what a killed process leaves behind, the next one takes away.
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"cannot write {path}: {error.strerror}") from error
