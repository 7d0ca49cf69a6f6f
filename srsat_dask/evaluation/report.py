"""Images degraded, upscaled again and compared: the workflow from inputs to a report."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srsat_dask.errors import InputError
from srsat_dask.evaluation import groups as grouping
from srsat_dask.evaluation.figure import draw
from srsat_dask.evaluation.gallery import Gallery
from srsat_dask.evaluation.images import open_images
from srsat_dask.evaluation.measure import windows_of
from srsat_dask.evaluation.result import Evaluation, check_target
from srsat_dask.evaluation.scores import Scores
from srsat_dask.evaluation.work import Judge, Measured, measure_images
from srsat_dask.model.degradation import Degradation
from srsat_dask.model.file import ModelFile

if TYPE_CHECKING:
    from os import PathLike

    import keras


def evaluate(
    inputs: "str | Path | Sequence[str | Path]",
    model: "str | PathLike[str] | keras.Model | ModelFile | None" = None,
    *,
    scale: int | None = None,
    degradation: str | Degradation | None = None,
    groups: "grouping.Members | str | Path | Iterable[str | Path] | None" = None,
    figure: str | Path | None = None,
    html: str | Path | None = None,
    engine: str = "auto",
    progress: bool = True,
) -> Evaluation:
    """Degrade images, upscale them again and compare, with bicubic beside the model.

    A border of ``scale`` pixels and missing pixels are left out. Of what the model was trained on,
    only the pixels held out from training count. The work is spread over the workers of the
    current Dask client, or over threads of this process without one; the scores are the same.

    Parameters
    ----------
    inputs : str, Path or sequence of them
        Mosaic stores, ``STORE/SCENE``, images of three uint8 bands that GDAL reads, or folders
        of PNGs and GeoTIFFs; they need no georeference. The class of an image is the folder, or
        the store, that it lies in.
    model : str, path, keras.Model or ModelFile, optional
        A ``.keras`` file, the name of a bundled model, or what :func:`srsat_dask.train` returned;
        by default the bundled model of the scale.
    scale : int, optional
        Scale of the default model (4), or which one of a model trained for several.
    degradation : str or Degradation, optional
        How images are made coarser, such as ``bicubic`` or ``mtf:0.25+noise:2``; by default as the
        model's training did it.
    groups : mapping, str, Path or iterable of them, optional
        Groups to score apart, such as ``{"urban": ["airplane", "buildings"]}``, by class or by
        name; also ``"urban=airplane,buildings"``, or a YAML file. By default the classes, or,
        where all images lie in one folder, thirds of their squares by edge density.
    figure : str or Path, optional
        PNG to draw: original, low resolution, bicubic and model, with a zoomed part.
    html : str or Path, optional
        Page to write, with pictures; see `Evaluation.to_html`.
    engine : {"auto", "openvino", "keras"}
        What computes the network.
    progress : bool
        Show progress on stderr.

    Returns
    -------
    Evaluation
        Scores per image and group, their means, and those of all pixels pooled.

    Raises
    ------
    InputError
        No image, or one that cannot be used or is too small; or one that the model was trained
        on and that has changed since, so that its held-out blocks are not known.
    ModelError
        The model cannot be read or is made for another scale.
    ShardError
        A task failed for good.
    """
    paths = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    for target in (figure, html):
        if target is not None:
            check_target(target)
    wanted = grouping.read_groups(groups)
    file = ModelFile.open(f"srcnn-x{4 if scale is None else scale}" if model is None else model)
    file = file.at_scale(scale)
    degraded_by = (
        Degradation.recorded(file.spec.metadata)
        if degradation is None
        else Degradation.of(degradation)
    )
    images = open_images(paths, file)
    grouping.check_groups(wanted, images)
    judge = Judge.of(file, engine, degraded_by)
    by_class = len({image.folder for image in images}) > 1
    measured = measure_images(judge, images, by_cell=not (wanted or by_class), progress=progress)
    cells = {
        image.name: found
        for image, windows in zip(images, measured, strict=True)
        if (found := [cell for window in windows for cell in window])
    }
    left_out = [image for image in images if image.name not in cells]
    for image in left_out:
        if image.counts is None or not cells:
            raise InputError(
                f"{image.name} has no pixel to judge by: all are missing, trained on, or within"
                f" the border of {file.spec.scale} px that is left out; give a larger or fuller"
                " image, or one that the model has not seen"
            )
    gallery = Gallery(judge, {image.name: image for image in images}, cells)
    if figure is not None:
        _draw(gallery, measured, figure)
    classes = grouping.classes(images, cells)
    everything = [cell for image in cells.values() for cell in image]
    report = Evaluation(
        file.spec.scale,
        _name(model, file),
        {name: Scores.pooled(found) for name, found in cells.items()},
        tuple(i.name for i in images if i.counts is not None and i.name in cells),
        degraded_by,
        Scores.pooled(everything),
        grouping.named_groups(wanted, images, cells) or classes or grouping.strata(everything),
        classes,
        tuple(image.name for image in left_out),
        {**file.spec.metadata, "sha256": file.sha256},
        gallery,
    )
    if html is not None:
        report.to_html(html)
    return report


def _draw(gallery: Gallery, measured: Sequence[Measured], path: str | Path) -> None:
    """Draw the busiest window of the first image that is judged."""
    image, windows = next(
        (image, windows)
        for image, windows in zip(gallery.images.values(), measured, strict=True)
        if any(windows)
    )
    scale = gallery.judge.file.spec.scale
    interest = [sum(cell.edges * cell.model.pixels for cell in window) for window in windows]
    best = max(range(len(windows)), key=lambda place: (bool(windows[place]), interest[place]))
    compared = gallery.judge.compare(
        image.scene, windows_of(image.scene, scale)[best], image.counts
    )
    if compared is not None:
        draw(compared, scale, path)


def _name(model: Any, file: ModelFile) -> str:
    if isinstance(model, str | Path):
        return Path(model).name
    return f"srcnn-x{file.spec.scale}" if model is None else file.sha256[:12]


__all__ = ["Evaluation", "Scores", "check_target", "evaluate"]
