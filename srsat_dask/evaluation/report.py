"""The evaluation of a model on images: scores per image and their means."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from srsat_dask.errors import InputError
from srsat_dask.evaluation.figure import draw
from srsat_dask.evaluation.held_out import held_out_mask
from srsat_dask.evaluation.measure import Compared, Mask, Sums, compare
from srsat_dask.model.degradation import BICUBIC, Degradation
from srsat_dask.model.engines import Upscaler, get_upscaler
from srsat_dask.model.file import ModelFile, require_scale
from srsat_dask.mosaic.inputs import ReadableScene, open_inputs
from srsat_dask.runtime.progress import track

if TYPE_CHECKING:
    from os import PathLike

    import keras


@dataclass(frozen=True)
class Scores:
    """Scores of one image, or means over images; dB on [0, 1] after rounding to 8 bits."""

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

    def as_dict(self) -> dict[str, float | None]:
        """Return the scores as JSON values; an infinite PSNR (no difference) is None."""
        return {name: v if math.isfinite(v) else None for name, v in asdict(self).items()}


@dataclass(frozen=True)
class Evaluation:
    """How well a model upscales images, with bicubic beside it."""

    scale: int
    """Pixels of the image per pixel that the model saw."""
    model: str
    """Name of the model."""
    images: dict[str, Scores]
    """Scores by name of the image."""
    held_out: tuple[str, ...] = ()
    """Images that the model was trained on, judged on the blocks held out from it only."""
    degradation: Degradation = BICUBIC
    """How the images were made coarser."""

    @property
    def mean(self) -> Scores:
        """Means over the images, each of the same weight."""
        return Scores(
            *(
                float(np.mean([getattr(scores, f.name) for scores in self.images.values()]))
                for f in fields(Scores)
            )
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "scale": self.scale,
            "model": self.model,
            "degradation": str(self.degradation),
            "images": [
                {"name": name, **scores.as_dict(), "held_out_only": name in self.held_out}
                for name, scores in self.images.items()
            ],
            "mean": self.mean.as_dict(),
        }

    def to_json(self, path: str | Path) -> None:
        """Write the report as one JSON document."""
        document = json.dumps(self.as_dict(), indent=2, allow_nan=False)
        check_target(path).write_text(f"{document}\n", encoding="utf-8")

    def table(self) -> Table:
        """Return the report as a table for a terminal."""
        table = Table(
            title=f"×{self.scale}, {self.model}, degraded by {self.degradation}:"
            " PSNR in dB, bicubic beside the model"
        )
        table.add_column("image")
        for title in ("bicubic", "model", "gain", "bicubic Y", "model Y", "SSIM bicubic", "SSIM"):
            table.add_column(title, justify="right")
        for name, scores in [*self.images.items(), ("mean", self.mean)]:
            marked = f"{name} (held-out blocks)" if name in self.held_out else name
            table.add_row(
                marked,
                f"{scores.psnr_bicubic:.2f}",
                f"{scores.psnr:.2f}",
                f"{scores.psnr - scores.psnr_bicubic:+.2f}",
                f"{scores.psnr_y_bicubic:.2f}",
                f"{scores.psnr_y:.2f}",
                f"{scores.ssim_bicubic:.4f}",
                f"{scores.ssim:.4f}",
            )
        return table


def evaluate(
    inputs: "str | Path | Sequence[str | Path]",
    model: "str | PathLike[str] | keras.Model | ModelFile | None" = None,
    *,
    scale: int | None = None,
    degradation: str | Degradation | None = None,
    figure: str | Path | None = None,
    engine: str = "auto",
    progress: bool = True,
) -> Evaluation:
    """Degrade images, upscale them again and compare, with bicubic beside the model.

    A border of ``scale`` pixels and missing pixels are left out. Of a mosaic scene that the model
    was trained on, only the blocks held out from training count.

    Parameters
    ----------
    inputs : str, Path or sequence of them
        Mosaic stores, ``STORE/SCENE``, or images of three uint8 bands that GDAL reads; they need
        no georeference.
    model : str, path, keras.Model or ModelFile, optional
        A ``.keras`` file, the name of a bundled model, or what :func:`srsat_dask.train` returned;
        by default the bundled model of the scale.
    scale : int, optional
        Scale of the default model (4), or to check that the model is made for it.
    degradation : str or Degradation, optional
        How images are made coarser, such as ``bicubic`` or ``mtf:0.25+noise:2``; by default as the
        model's training did it.
    figure : str or Path, optional
        PNG to draw: original, low resolution, bicubic and model, with a zoomed part.
    engine : {"auto", "openvino", "keras"}
        What computes the network.
    progress : bool
        Show progress on stderr.

    Returns
    -------
    Evaluation
        Scores per image and their means.

    Raises
    ------
    InputError
        No image, or one that cannot be used or is too small; or one that the model was trained
        on and that has changed since, so that its held-out blocks are not known.
    ModelError
        The model cannot be read or is made for another scale.
    """
    paths = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    if not paths:
        raise InputError("no image to judge by: give a store, STORE/SCENE, a raster or a PNG")
    if figure is not None:
        check_target(figure)
    file = ModelFile.open(f"srcnn-x{4 if scale is None else scale}" if model is None else model)
    if scale is not None:
        require_scale(file.spec, scale)
    degraded_by = (
        Degradation.recorded(file.spec.metadata)
        if degradation is None
        else Degradation.of(degradation)
    )
    scenes = [scene for path in paths for scene in open_inputs(path, georeferenced=False)]
    upscaler = get_upscaler(file, engine)
    images: dict[str, Scores] = {}
    judged_on_held_out: list[str] = []
    shown: Compared | None = None
    with track("evaluate", len(scenes), shown=progress) as bar:
        for scene in scenes:
            counts = held_out_mask(scene, file)
            scores, best = _scores(scene, upscaler, counts, degraded_by)
            name = _unused(scene.name, images)
            images[name] = scores
            judged_on_held_out += [name] if counts else []
            shown = best if shown is None else shown
            bar.advance(note=f"{scores.psnr:.2f} dB, bicubic {scores.psnr_bicubic:.2f}")
    if figure is not None and shown is not None:
        draw(shown, file.spec.scale, figure)
    return Evaluation(
        file.spec.scale, _name(model, file), images, tuple(judged_on_held_out), degraded_by
    )


def check_target(path: str | Path) -> Path:
    """Return the path of a file to write.

    Raises
    ------
    InputError
        The folder does not exist, or the path is one.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError(f"{target} is a folder: give the path of a file")
    if not target.parent.is_dir():
        raise InputError(f"{target.parent} is not a folder: make it first")
    return target


def _scores(
    scene: ReadableScene, upscaler: Upscaler, counts: Mask | None, degradation: Degradation
) -> tuple[Scores, Compared]:
    bicubic, model = Sums(), Sums()
    best: Compared | None = None
    for compared in compare(scene, upscaler, counts, degradation):
        bicubic.add(compared.original, compared.bicubic, compared.counted, compared.core)
        model.add(compared.original, compared.upscaled, compared.counted, compared.core)
        if best is None or compared.interest > best.interest:
            best = compared
    if best is None:
        raise InputError(
            f"{scene.name} has no pixel to judge by: all are missing, or within the border of"
            f" {upscaler.scale} px that is left out; give a larger or fuller image"
        )
    return (
        Scores(
            bicubic.psnr,
            model.psnr,
            bicubic.psnr_y,
            model.psnr_y,
            bicubic.mean_ssim,
            model.mean_ssim,
        ),
        best,
    )


def _name(model: Any, file: ModelFile) -> str:
    if isinstance(model, str | Path):
        return Path(model).name
    return f"srcnn-x{file.spec.scale}" if model is None else file.sha256[:12]


def _unused(name: str, taken: dict[str, Scores]) -> str:
    number = 1
    unused = name
    while unused in taken:
        number += 1
        unused = f"{name} ({number})"
    return unused
