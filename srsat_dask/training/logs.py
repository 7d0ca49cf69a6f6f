"""What a training tells while it runs: a CSV line and a curve after each epoch, TensorBoard."""

import csv
import time
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from srsat_dask.errors import InputError
from srsat_dask.training.fit import Epoch
from srsat_dask.training.history import curve_path, draw_curve, summary, write_whole

REDRAW = 15.0
"""Least seconds between two drawings of the curve, each of which takes a fifth of one."""


def log_path(model_path: str | Path) -> Path:
    """Return where the log of a model lies: ``OUT.history.csv`` for ``OUT.keras``."""
    return Path(model_path).with_suffix(".history.csv")


class Logs:
    """Logs of one run, a context manager.

    Parameters
    ----------
    model_path : str or Path, optional
        ``OUT.keras``: ``OUT.history.csv`` and ``OUT.curve.png`` are kept beside it.
    tensorboard : str or Path, optional
        Folder of TensorBoard event files.
    before : sequence of Epoch
        Epochs of a run that goes on.
    bicubic : float
        Bicubic PSNR of the validation patches in dB.

    Raises
    ------
    InputError
        A file cannot be written, or TensorBoard's package is not installed.
    """

    def __init__(
        self,
        model_path: str | Path | None,
        tensorboard: str | Path | None,
        before: Sequence[Epoch],
        bicubic: float,
    ) -> None:
        self._path = None if model_path is None else Path(model_path)
        self._bicubic = bicubic
        self._drawn = time.monotonic()
        self._rows = None if self._path is None else _Rows(log_path(self._path), before)
        self._events = None if tensorboard is None else _events(tensorboard)

    def __enter__(self) -> "Logs":
        return self

    def __exit__(self, *_: object) -> None:
        if self._rows is not None:
            self._rows.close()
        if self._events is not None:
            self._events.close()

    def tell(self, epochs: Sequence[Epoch]) -> None:
        """Take in the last of the epochs."""
        last = epochs[-1]
        if self._rows is not None:
            self._rows.add(len(epochs), last)
        if self._path is not None and time.monotonic() - self._drawn >= REDRAW:
            write_whole(curve_path(self._path), draw_curve(summary(epochs, self._bicubic)))
            self._drawn = time.monotonic()
        if self._events is not None:
            for name, value in asdict(last).items():
                if name != "steps":
                    self._events.add_scalar(name, value, last.steps)
            gain = last.val_psnr - self._bicubic
            self._events.add_scalar("val_gain_over_bicubic", gain, last.steps)
            self._events.flush()


def check_tensorboard() -> None:
    """Refuse to write event files without TensorBoard's package.

    Raises
    ------
    InputError
        It is not installed.
    """
    try:
        import tensorboard.summary  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise InputError(
            "TensorBoard event files need a package: pip install 'srsat-dask[tensorboard]'"
        ) from error


class _Rows:
    """A CSV file that grows by a line an epoch."""

    def __init__(self, path: Path, before: Sequence[Epoch]) -> None:
        try:
            # Anew: a run that goes on may have told an epoch that its checkpoint does not hold.
            self._file = path.open("w", newline="")
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}") from error
        names = ["epoch", *(field.name for field in fields(Epoch))]
        self._writer = csv.DictWriter(self._file, names)
        self._writer.writeheader()
        for number, epoch in enumerate(before, 1):
            self.add(number, epoch)
        self._file.flush()

    def add(self, number: int, epoch: Epoch) -> None:
        self._writer.writerow({"epoch": number, **asdict(epoch)})
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _events(folder: str | Path) -> Any:
    from tensorboard.summary import Writer

    try:
        return Writer(str(folder))
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}") from error
