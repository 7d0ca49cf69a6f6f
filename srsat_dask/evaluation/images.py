"""The images that a model is judged on: what they are called, and to which class they belong."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from srsat_dask.errors import InputError
from srsat_dask.evaluation.held_out import held_out_mask
from srsat_dask.evaluation.measure import Mask
from srsat_dask.model.file import ModelFile
from srsat_dask.mosaic.inputs import (
    MosaicScene,
    RasterScene,
    ReadableScene,
    is_image_folder,
    open_folder,
    open_inputs,
)


@dataclass(frozen=True)
class Image:
    """An image to judge by."""

    name: str
    """Its name, which no other image of the evaluation has."""
    folder: str
    """Name of the folder or the store that it lies in: its class."""
    scene: ReadableScene
    """Its pixels."""
    counts: Mask | None = None
    """Which of them were held out of the model's training; None if it never saw the image."""


def open_images(paths: Sequence[str | Path], file: ModelFile) -> list[Image]:
    """Return the images that the inputs of an evaluation name.

    Parameters
    ----------
    paths : sequence of str or Path
        Mosaic stores, ``STORE/SCENE``, rasters, or folders of PNGs and GeoTIFFs, which are
        searched with the folders in them.
    file : ModelFile
        The model; of what it was trained on, only the held-out pixels count.

    Raises
    ------
    InputError
        No input, or one that cannot be used.
    """
    if not paths:
        raise InputError(
            "no image to judge by: give a store, STORE/SCENE, a raster, a PNG or a folder of them"
        )
    images: list[Image] = []
    taken: set[str] = set()
    for path in paths:
        scenes = (
            open_folder(path) if is_image_folder(path) else open_inputs(path, georeferenced=False)
        )
        for scene in scenes:
            unused = _unused(scene.name, taken)
            taken.add(unused)
            images.append(Image(unused, _folder(scene), scene, held_out_mask(scene, file)))
    return images


def _folder(scene: ReadableScene) -> str:
    if isinstance(scene, MosaicScene):
        return Path(scene.store).name
    if isinstance(scene, RasterScene):
        return Path(scene.path).absolute().parent.name
    return ""


def _unused(name: str, taken: set[str]) -> str:
    number = 1
    unused = name
    while unused in taken:
        number += 1
        unused = f"{name} ({number})"
    return unused
