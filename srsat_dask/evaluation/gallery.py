"""Pictures of an evaluation: which parts of which images are worth a look, and their pixels."""

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from PIL import Image as Pillow

from srsat_dask.evaluation.groups import Group
from srsat_dask.evaluation.images import Image
from srsat_dask.evaluation.measure import Cell, Compared
from srsat_dask.evaluation.metrics import Pixels, busiest, decibel, differences
from srsat_dask.evaluation.scores import Scores
from srsat_dask.evaluation.work import Judge

SIDE = 128
"""Side of a picture in pixels of the true image, rounded down to a multiple of the scale."""

ERROR_PEAK = 64
"""Error in 8-bit digital numbers that is drawn brightest."""

QUALITY = 92
"""WebP quality of the pictures: scores are of the pixels, not of these."""

CHOICES = ("largest gain", "median gain", "smallest gain")
"""Which of a group are shown."""


@dataclass(frozen=True)
class Picture:
    """One part of an image, in all its versions."""

    image: str
    """Name of the image."""
    choice: str
    """Why it is shown."""
    gain: float
    """Gain of the whole image, or of the stratum's square, in dB."""
    at: tuple[int, int]
    """Row and column of the part in the image, in pixels."""
    side: tuple[int, int]
    """Height and width of the part in pixels."""
    pictures: Mapping[str, str]
    """``original``, ``low``, ``bicubic``, ``model``, ``bicubic error`` and ``model error`` as
    data addresses."""
    psnr: Mapping[str, float]
    """PSNR of ``bicubic`` and ``model`` in this part, in dB."""


@dataclass(frozen=True)
class Gallery:
    """Where the pictures come from; they are made when they are asked for."""

    judge: Judge
    """The model and the degradation."""
    images: Mapping[str, Image]
    """All images by name."""
    cells: Mapping[str, Sequence[Cell]]
    """What was measured, by name of the image."""

    def of_group(self, group: Group) -> list[Picture]:
        """Return the pictures of a group: the largest, the median and the smallest gain."""
        if group.kind == "stratum":
            low, high = group.edges or (0.0, 0.0)
            return self._shown(
                (name, [cell])
                for name, cells in self.cells.items()
                for cell in cells
                if low <= cell.edges <= high
            )
        return self._shown((name, self.cells[name]) for name in group.members)

    def of_all(self) -> list[Picture]:
        """Return the pictures of all images together, where there are no groups."""
        return self._shown(self.cells.items())

    def _shown(self, candidates: Iterable[tuple[str, Sequence[Cell]]]) -> list[Picture]:
        ranked = [
            (gain, name, cells)
            for name, cells in candidates
            if math.isfinite(gain := Scores.pooled(cells).gain)
        ]
        if not ranked:
            return []
        ranked.sort(key=lambda one: -one[0])
        places = dict(zip((0, len(ranked) // 2, len(ranked) - 1), CHOICES, strict=True))
        if len(places) == 1:
            return [self._picture(*ranked[0], "all of it")]
        return [self._picture(*ranked[place], choice) for place, choice in places.items()]

    def _picture(self, gain: float, name: str, cells: Sequence[Cell], choice: str) -> Picture:
        image = self.images[name]
        cell = max(cells, key=lambda one: one.edges * one.model.pixels)
        compared = self.judge.compare(image.scene, cell.window, image.counts)
        if compared is None:
            raise ValueError(f"{name} has changed since it was measured")
        scale = self.judge.file.spec.scale
        low = _part(compared, scale)
        fine = tuple(slice(axis.start * scale, axis.stop * scale) for axis in low)
        core = {
            "original": compared.original[compared.core][fine],
            "bicubic": compared.bicubic[compared.core][fine],
            "model": compared.upscaled[compared.core][fine],
        }
        counted = compared.counted[compared.core][fine]
        pictures = {kind: _address(pixels) for kind, pixels in core.items()}
        pictures["low"] = _address(compared.low[low])
        psnr = {}
        for kind in ("bicubic", "model"):
            pictures[f"{kind} error"] = _address(_error(core["original"], core[kind], counted))
            squares, _, pixels = differences(core["original"], core[kind], counted)
            psnr[kind] = decibel(squares, 3 * pixels)
        at = (cell.window.y0 + fine[0].start, cell.window.x0 + fine[1].start)
        return Picture(name, choice, gain, at, core["original"].shape[:2], pictures, psnr)


def _part(compared: Compared, scale: int) -> tuple[slice, slice]:
    """Return the busiest part of a window, in LR pixels."""
    height, width = (min(side, SIDE // scale) for side in compared.low.shape[:2])
    shown = np.where(compared.low_counted[..., None], compared.low, compared.low.min())
    return busiest(shown, height, width)


def _error(original: Pixels, other: Pixels, counted: npt.NDArray[np.bool_]) -> Pixels:
    error = np.abs(original.astype(np.int16) - other).mean(axis=2) * counted
    colours = colormaps["inferno"](np.clip(error / ERROR_PEAK, 0, 1), bytes=True)
    return np.asarray(colours[..., :3])


def _address(pixels: Pixels) -> str:
    kept = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(pixels)).save(kept, "WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(kept.getvalue()).decode()}"
