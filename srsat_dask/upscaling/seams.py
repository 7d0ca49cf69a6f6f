"""The proof that a super-resolved store has no seams: strips across shard borders, made again.

A strip is read, filled and inferred as a window of its own, in other sub-tiles than the shards it
crosses. If shards or sub-tiles showed, it would differ; every bit must be the same. All that is
needed lies in the store: the lineage, the model's file, and where the input was.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from srsat_dask.errors import InputError, ModelError, StoreError
from srsat_dask.model.file import ModelFile
from srsat_dask.mosaic.inputs import DTYPES, Bands, open_inputs
from srsat_dask.mosaic.origin import kept_input
from srsat_dask.mosaic.store import StoreScene, refuse_other_lineage, scenes_of
from srsat_dask.mosaic.windows import Window
from srsat_dask.upscaling.kept import kept_model
from srsat_dask.upscaling.plan import ScenePart, UpscalePlan
from srsat_dask.upscaling.recipe import Recipe

if TYPE_CHECKING:
    from os import PathLike

    import keras

STRIPS = 24
"""Strips made again, unless another number is asked for."""

LENGTH = 64
"""Input pixels along a border that a strip takes."""


@dataclass(frozen=True)
class SeamDifference:
    """A strip that is not what its shards hold."""

    scene: str
    """Name of the scene."""
    window: Window
    """The strip, in output pixels."""
    pixels: int
    """Pixels of it that differ, in value or in being there."""
    largest: float
    """Largest difference of a value."""


@dataclass(frozen=True)
class SeamReport:
    """What a search for seams found."""

    strips: int
    """Strips made again."""
    borders: int
    """Those of them that cross a border of shards; the others lie inside one, if it is the only."""
    pixels: int
    """Pixels compared."""
    differences: tuple[SeamDifference, ...]
    """The strips that differ; none if the store is free of seams."""

    @property
    def exact(self) -> bool:
        """Whether every bit was the same."""
        return not self.differences

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "exact": self.exact,
            "strips": self.strips,
            "across_borders": self.borders,
            "pixels": self.pixels,
            "differing": [
                {
                    "scene": found.scene,
                    "rows": [found.window.y0, found.window.y1],
                    "columns": [found.window.x0, found.window.x1],
                    "pixels": found.pixels,
                    "largest": found.largest,
                }
                for found in self.differences
            ],
        }


def check_seams(
    store: "str | Path",
    *,
    source: "str | Path | None" = None,
    model: "str | PathLike[str] | keras.Model | ModelFile | None" = None,
    strips: int = STRIPS,
    seed: int = 0,
) -> SeamReport:
    """Make random strips of a super-resolved store again and compare them bit for bit.

    Parameters
    ----------
    store : str or Path
        A store made by :func:`srsat_dask.upscale_store`, on a processor like this one: another
        may round the last bit of a float otherwise.
    source : str or Path, optional
        Where its input is now; by default where it was.
    model : str, path, keras.Model or ModelFile, optional
        By default the one kept in the store. Its digest must be the recorded one.
    strips : int
        How many, over all scenes.
    seed : int
        Of their places.

    Returns
    -------
    SeamReport

    Raises
    ------
    StoreError
        Not a super-resolved store, nothing in it is made of the input as it is now, or the input
        is another.
    ModelError
        The model is another.
    """
    if strips < 1:
        raise InputError(f"{strips} strips prove nothing: give at least 1")
    scenes = [scene for scene in scenes_of(store) if scene.lineage.get("kind") == "upscale"]
    if not scenes:
        raise StoreError(f"{store} holds no super-resolved scene: make one with 'srsat upscale'")
    file = kept_model(store) if model is None else ModelFile.open(model)
    rng = np.random.default_rng(seed)
    compared = crossing = pixels = 0
    differences: list[SeamDifference] = []
    for number, finer in enumerate(scenes):
        plan = _plan_again(finer, file, source)
        (part,) = plan.parts
        share = strips // len(scenes) + (number < strips % len(scenes))
        for window, crosses in _draw(rng, plan, part, finer, share):
            compared, crossing = compared + 1, crossing + crosses
            pixels += window.shape[0] * window.shape[1]
            differences += _difference(plan.recipe, part, finer, window)
    return SeamReport(compared, crossing, pixels, tuple(differences))


def _plan_again(finer: StoreScene, file: ModelFile, source: "str | Path | None") -> UpscalePlan:
    """Return the plan that a scene was made by, from its lineage; refuse what has changed."""
    lineage = finer.lineage
    if file.sha256 != lineage["model"]:
        raise ModelError(
            f"{finer.store}/{finer.name} was made by the model {lineage['model'][:12]}, this is"
            f" {file.sha256[:12]}: give the one that made it"
        )
    place = Path(source) if source is not None else kept_input(finer)
    numbers = tuple(lineage["bands"])
    scenes = open_inputs(place, bands=Bands(numbers), dtypes=DTYPES)
    scene = next((scene for scene in scenes if scene.name == finer.name), None)
    if scene is None:
        raise StoreError(f"{place} holds no scene {finer.name!r}: give the input with --input")
    window = Window(*lineage.get("window", (0, scene.shape[0], 0, scene.shape[1])))
    low, high = lineage["range"]
    recipe = Recipe(
        file, lineage["engine"], (low, high), len(numbers), ensemble=lineage["ensemble"]
    )
    plan = UpscalePlan(
        (ScenePart(scene, window),), recipe, finer.shard, consistency=lineage["consistency"]
    )
    now = dict(plan.lineage(plan.parts[0]))
    refuse_other_lineage(finer, {**now, "version": lineage["version"]})
    return plan


def _draw(
    rng: np.random.Generator, plan: UpscalePlan, part: ScenePart, finer: StoreScene, count: int
) -> Iterator[tuple[Window, bool]]:
    """Yield strips of shards that are made of the input as it is now, and if they cross a border.

    Every other one lies along a border of rows of shards, the others along one of columns.
    """
    ready = ~plan.shards_to_do(part, finer)
    if not ready.any():
        raise StoreError(
            f"{finer.store}/{finer.name} has no shard made of the input as it is now:"
            " run 'srsat upscale' again"
        )
    side = finer.shard // plan.scale
    depth = 2 * plan.halo
    shape = part.shape
    drawn = 0
    for attempt in range(50 * count):
        if drawn == count:
            return
        axis = attempt % 2
        across, along = shape[axis], shape[1 - axis]
        borders = np.arange(side, across, side)
        middle = int(rng.choice(borders)) if borders.size else int(rng.integers(across))
        start = int(rng.integers(max(along - LENGTH, 0) + 1))
        rows, columns = (middle - depth, middle + depth), (start, start + LENGTH)
        if axis:
            rows, columns = columns, rows
        coarse = Window(*rows, *columns).clipped(shape)
        under = tuple(
            slice(first // side, -(-last // side))
            for first, last in ((coarse.y0, coarse.y1), (coarse.x0, coarse.x1))
        )
        if ready[under].all():
            drawn += 1
            yield coarse.scaled(plan.scale), bool(borders.size)


def _difference(
    recipe: Recipe, part: ScenePart, finer: StoreScene, window: Window
) -> list[SeamDifference]:
    image, valid = part.read(window.coarsened(recipe.scale), recipe.margin)
    pixels, mask = recipe.apply(image, valid)
    kept, there = finer.read(window)
    other: npt.NDArray[np.bool_] = (pixels != kept).any(axis=0) | ((mask != 0) != there)
    if not other.any():
        return []
    largest = np.abs(pixels.astype(np.float64) - kept).max()
    return [SeamDifference(finer.name, window, int(other.sum()), float(largest))]
