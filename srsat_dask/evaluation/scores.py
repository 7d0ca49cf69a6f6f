"""Scores of one image, or of many: as means over them and as pooled sums."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from srsat_dask.evaluation.measure import Cell
from srsat_dask.evaluation.metrics import Sums


@dataclass(frozen=True)
class Scores:
    """Scores of bicubic and of the model; dB on [0, 1] after rounding to 8 bits."""

    psnr_bicubic: float
    """PSNR of bicubic upsampling, red, green and blue together."""
    psnr: float
    """PSNR of the model."""
    psnr_y_bicubic: float
    """PSNR of bicubic upsampling, BT.601 luma."""
    psnr_y: float
    """PSNR of the model, BT.601 luma."""
    ssim_bicubic: float
    """SSIM of bicubic upsampling."""
    ssim: float
    """SSIM of the model."""
    consistency_bicubic: float = math.nan
    """PSNR of bicubic upsampling degraded again, against what it was made from, in dB."""
    consistency: float = math.nan
    """The same of the model."""
    consistency_rmse_bicubic: float = math.nan
    """The root mean square of the same difference, in 8-bit digital numbers."""
    consistency_rmse: float = math.nan
    """The same of the model."""

    @classmethod
    def pooled(cls, cells: Sequence[Cell]) -> "Scores":
        """Return the scores of all pixels of the cells together: PSNR of the pooled MSE."""
        bicubic = Sums.total([cell.bicubic for cell in cells])
        model = Sums.total([cell.model for cell in cells])
        return cls(
            bicubic.psnr,
            model.psnr,
            bicubic.psnr_y,
            model.psnr_y,
            bicubic.mean_ssim,
            model.mean_ssim,
            bicubic.consistency,
            model.consistency,
            bicubic.consistency_rmse,
            model.consistency_rmse,
        )

    @classmethod
    def mean(cls, scores: Sequence["Scores"]) -> "Scores":
        """Return the means of scores, each of the same weight."""
        return cls(*(_mean([getattr(one, f.name) for one in scores]) for f in fields(cls)))

    @property
    def gain(self) -> float:
        """PSNR of the model less that of bicubic, in dB; NaN where neither is finite."""
        return self.psnr - self.psnr_bicubic

    def as_dict(self) -> dict[str, float | None]:
        """Return the scores as JSON values; an infinite PSNR (no difference) is None."""
        return {name: finite(value) for name, value in asdict(self).items()}


def finite(value: float) -> float | None:
    """Return a number as JSON has it: None if it is infinite or not one."""
    return value if math.isfinite(value) else None


def _mean(values: Sequence[float]) -> float:
    # Not of the sum of floats in their order alone: the same in whatever order they come.
    if not all(map(math.isfinite, values)):
        return sum(values) / len(values)
    return math.fsum(values) / len(values) if values else math.nan
