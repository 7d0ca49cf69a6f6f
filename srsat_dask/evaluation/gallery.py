"""Pictures of an evaluation: which parts of which images are worth a look, and their pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from srsat_dask.evaluation.images import Image
from srsat_dask.evaluation.measure import Cell
from srsat_dask.evaluation.work import Judge


@dataclass(frozen=True)
class Gallery:
    """Where the pictures come from; they are made when they are asked for."""

    judge: Judge
    """The model and the degradation."""
    images: Mapping[str, Image]
    """All images by name."""
    cells: Mapping[str, Sequence[Cell]]
    """What was measured, by name of the image."""
