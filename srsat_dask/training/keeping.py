"""How a run is kept while it goes on: where its checkpoint and logs lie, when they are written."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srsat_dask.errors import InputError
from srsat_dask.training.checkpoint import checkpoint_path, read_checkpoint, write_checkpoint
from srsat_dask.training.fit import Run, State, Trainer
from srsat_dask.training.history import check_model_path
from srsat_dask.training.logs import check_tensorboard

CHECKPOINT_MINUTES = 5.0
"""Time between checkpoints within an epoch, unless another is asked for."""


@dataclass(frozen=True)
class Keeping:
    """What to keep of a run, and when to stop it early.

    Raises
    ------
    InputError
        A value out of its range, a path that cannot be written to, or a package that is missing.
    """

    model_path: str | os.PathLike[str] | None = None
    """``OUT.keras``; without it there is no checkpoint."""
    fresh: bool = False
    """Start over, whatever checkpoint there is."""
    checkpoint_minutes: float = CHECKPOINT_MINUTES
    """Time between checkpoints within an epoch."""
    patience: int | None = None
    """Epochs without a better validation PSNR after which to stop."""
    tensorboard: str | os.PathLike[str] | None = None
    """Folder of TensorBoard event files."""

    def __post_init__(self) -> None:
        if self.model_path is not None:
            check_model_path(Path(self.model_path))
        if not (math.isfinite(self.checkpoint_minutes) and self.checkpoint_minutes > 0):
            raise InputError(
                f"checkpoint minutes {self.checkpoint_minutes} must be more than 0, such as 5"
            )
        if self.patience is not None and self.patience < 1:
            raise InputError(f"patience {self.patience} must be 1 or more epochs")
        if self.tensorboard is not None:
            check_tensorboard()

    @property
    def checkpoint(self) -> Path | None:
        """Where the checkpoint lies."""
        return None if self.model_path is None else checkpoint_path(Path(self.model_path))

    def begin(self, settings: dict[str, Any]) -> tuple[Run, State | None]:
        """Return the run to go on from and its state, or a new run.

        Raises
        ------
        InputError
            The checkpoint is damaged, or of a training with other settings.
        """
        if self.checkpoint is None:
            return Run(), None
        if self.fresh:
            self.checkpoint.unlink(missing_ok=True)
        return read_checkpoint(self.checkpoint, settings) or (Run(), None)

    def keeper(self, settings: dict[str, Any], trainer: Trainer) -> Callable[[Run], None]:
        """Return what writes a checkpoint of a trainer's run."""
        path = self.checkpoint
        if path is None:
            return lambda _: None
        return lambda run: write_checkpoint(path, settings, run, trainer.state())

    def end(self) -> None:
        """Take the checkpoint away: the model is written."""
        if self.checkpoint is not None:
            self.checkpoint.unlink(missing_ok=True)
