"""What a store-to-store upscaling will do, and every reason not to, before anything is computed.

Nothing here grows with the number of shards but a digest of 32 bytes for each.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, replace
from math import lcm
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import numpy.typing as npt

from srsat_dask.errors import BoundsError, InputError
from srsat_dask.mosaic.georeference import Georeference
from srsat_dask.mosaic.grid import Box, check_box
from srsat_dask.mosaic.inputs import (
    DTYPES,
    Bands,
    MosaicScene,
    ReadableScene,
    check_finished,
    open_inputs,
    read_mirrored,
)
from srsat_dask.mosaic.ledger import shard_digests, written_shards
from srsat_dask.mosaic.origin import input_identity
from srsat_dask.mosaic.store import CHUNK, Lineage, StoreScene, shard_side
from srsat_dask.mosaic.windows import Window, mirrored
from srsat_dask.upscaling.degraded import check_degradation, degradation_reach
from srsat_dask.upscaling.ranges import scene_range
from srsat_dask.upscaling.recipe import Range, Recipe, check_other_bands, make_recipe

if TYPE_CHECKING:
    from os import PathLike

    import keras

    from srsat_dask.model.file import ModelFile


@dataclass(frozen=True)
class ScenePart:
    """The part of a scene that is upscaled: all of it, or a window; cheap to send to workers."""

    scene: ReadableScene
    """The scene."""
    window: Window
    """The pixels of the scene to upscale."""

    @property
    def name(self) -> str:
        """Name of the scene, and of what is made of it."""
        return self.scene.name

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in input pixels."""
        return self.window.shape

    @property
    def is_whole(self) -> bool:
        """Whether the window is the whole scene."""
        return self.shape == self.scene.shape

    @property
    def georeference(self) -> Georeference:
        """Where the part lies on the ground."""
        return self.scene.georeference.part(self.window)

    def read(self, window: Window, margin: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Read a window of the part with a margin, from outside the part where the scene has it."""
        return read_mirrored(self.scene, self.in_scene(window), margin)

    def input_digest(self, window: Window, margin: int) -> bytes:
        """Return the SHA-256 of the digests of the input shards under a window and its margin.

        32 zero bytes for a raster, whose identity holds its pixels already.
        """
        if not isinstance(self.scene, MosaicScene):
            return bytes(32)
        wide = self.in_scene(window).expanded(margin)
        height, width = self.scene.shape
        rows = _shards_under(wide.y0, wide.y1, height, self.scene.shard)
        columns = _shards_under(wide.x0, wide.x1, width, self.scene.shard)
        return hashlib.sha256(shard_digests(self.scene, rows, columns).tobytes()).digest()

    def input_digests(self, side: int, margin: int) -> npt.NDArray[np.uint8]:
        """Return the :meth:`input_digest` of all windows of ``side`` pixels, (row, column, 32)."""
        heights, widths = (range(0, size, side) for size in self.shape)
        found = np.zeros((len(heights), len(widths), 32), dtype=np.uint8)
        if not isinstance(self.scene, MosaicScene):
            return found
        digests, across = shard_digests(self.scene), self.scene.shard
        spans = [
            [
                _shards_under(
                    at + start - margin,
                    at + min(start + side, size) + margin,
                    whole,
                    across,
                )
                for start in starts
            ]
            for starts, at, size, whole in zip(
                (heights, widths),
                (self.window.y0, self.window.x0),
                self.shape,
                self.scene.shape,
                strict=True,
            )
        ]
        for row, rows in enumerate(spans[0]):
            for column, columns in enumerate(spans[1]):
                block = digests[rows, columns].tobytes()
                found[row, column] = np.frombuffer(hashlib.sha256(block).digest(), np.uint8)
        return found

    def in_scene(self, window: Window) -> Window:
        """Return a window of the part as one of the scene."""
        return window.shifted(self.window.y0, self.window.x0)


def _shards_under(start: int, stop: int, size: int, side: int) -> slice:
    """Return the shards along an axis that a range touches, mirrored where it leaves the axis."""
    reached = mirrored(start, stop, size)
    return slice(int(reached.min()) // side, int(reached.max()) // side + 1)


@dataclass(frozen=True)
class UpscalePlan:
    """What an upscaling will do, before anything is computed."""

    parts: tuple[ScenePart, ...] = field(repr=False)
    """The inputs."""
    recipe: Recipe
    """How they become finer."""
    shard: int
    """Side of an output shard in pixels."""
    consistency: bool = False
    """Whether a layer says how true the result is to its input."""

    @property
    def scale(self) -> int:
        """Output pixels per input pixel, along one axis."""
        return self.recipe.scale

    @property
    def halo(self) -> int:
        """Input pixels that the network needs around a shard, from its kernels and its scale."""
        return self.recipe.halo

    @property
    def shards(self) -> int:
        """Output shards of all the scenes."""
        return sum(
            -(-height * self.scale // self.shard) * -(-width * self.scale // self.shard)
            for height, width in (part.shape for part in self.parts)
        )

    @property
    def pixels(self) -> int:
        """Output pixels of all the scenes."""
        return sum(height * width for height, width in (part.shape for part in self.parts)) * (
            self.scale**2
        )

    @property
    def bytes(self) -> int:
        """Bytes of the output before compression, the mask included."""
        return sum(
            (self.recipe.bands * part.scene.dtype.itemsize + 1)
            * (part.shape[0] * part.shape[1] * self.scale**2)
            for part in self.parts
        )

    @property
    def margin(self) -> int:
        """Input pixels around a shard that decide what is written of it."""
        if not self.consistency:
            return self.recipe.margin
        return self.recipe.margin + degradation_reach(self.recipe.model)

    @property
    def work(self) -> int:
        """How often each output pixel is computed: the consistency layer computes it again."""
        return 2 if self.consistency else 1

    def lineage(self, part: ScenePart) -> Lineage:
        """Return what decides the pixels of a scene's output."""
        window = {} if part.is_whole else {"window": list(astuple(part.window))}
        return {
            "kind": "upscale",
            "scene": part.name,
            "input": input_identity(part.scene),
            "bands": list(part.scene.numbers),
            **window,
            "consistency": self.consistency,
            **self.recipe.lineage(),
        }

    def shards_to_do(self, part: ScenePart, finer: StoreScene) -> npt.NDArray[np.bool_]:
        """Return which shards are missing, or made from input that has changed since.

        Returns
        -------
        numpy.ndarray of bool, shape (shard_y, shard_x)
        """
        done = written_shards(finer)
        if not done.any():
            return ~done
        wanted = part.input_digests(finer.shard // self.scale, self.margin)
        kept = shard_digests(finer, name="input_digest")
        missing: npt.NDArray[np.bool_] = ~done | (kept != wanted).any(axis=-1)
        return missing


def plan_upscale(
    source: "str | Path",
    model: "str | PathLike[str] | keras.Model | ModelFile",
    engine: str = "auto",
    *,
    value_range: "Range | Literal['auto'] | None" = None,
    bands: Sequence[int] | None = None,
    other_bands: str | None = None,
    bbox: Box | None = None,
    window: Window | None = None,
    ensemble: bool = False,
    consistency: bool = False,
    shard: int | None = None,
    allow_partial: bool = False,
) -> UpscalePlan:
    """Check the arguments of an upscaling and say what it will do.

    Parameters are those of :func:`srsat_dask.upscale_store`.

    Raises
    ------
    InputError
        The input, the model, the engine or a setting cannot be used, or an image is smaller than
        the halo.
    StoreError
        A scene of a mosaic store that is not done, unless ``allow_partial``.
    """
    check_other_bands(other_bands)
    chosen = Bands(None if bands is None else tuple(bands), others=other_bands is not None)
    scenes = open_inputs(source, bands=chosen, dtypes=DTYPES)
    kinds = {(scene.dtype, len(scene.numbers)) for scene in scenes}
    if len(kinds) > 1:
        names = ", ".join(f"{s.name} ({s.dtype}, {len(s.numbers)} bands)" for s in scenes)
        raise InputError(f"scenes of different types or bands: give one as {source}/SCENE: {names}")
    dtype, count = kinds.pop()
    fixed = None if isinstance(value_range, str) else value_range
    recipe = make_recipe(model, dtype, count, engine=engine, value_range=fixed, ensemble=ensemble)
    parts = _parts(scenes, bbox, window)
    for part in parts:
        check_finished(part.scene, allow_partial=allow_partial)
        height, width = part.scene.shape
        if min(height, width) < recipe.halo:
            raise InputError(
                f"{part.name} has {height} × {width} px, fewer than the model's halo of"
                f" {recipe.halo} px: give a larger image"
            )
    if isinstance(value_range, str):
        recipe = replace(recipe, value_range=scene_range(scenes, value_range))
    if consistency:
        check_degradation(recipe.model, dtype)
    return UpscalePlan(parts, recipe, _shard_side(recipe.scale, shard), consistency)


def _parts(
    scenes: Sequence[ReadableScene], bbox: Box | None, window: Window | None
) -> tuple[ScenePart, ...]:
    whole = [Window(0, scene.shape[0], 0, scene.shape[1]) for scene in scenes]
    if window is None and bbox is None:
        return tuple(ScenePart(*pair) for pair in zip(scenes, whole, strict=True))
    if window is not None:
        if bbox is not None:
            raise InputError("a box and a window: give one of them")
        return (_part_of(scenes, window),)
    box = check_box(cast("Box", bbox))
    found = [(scene, scene.georeference.window(box)) for scene in scenes]
    parts = tuple(ScenePart(scene, under) for scene, under in found if under is not None)
    if not parts:
        raise BoundsError(f"box {box} (W S E N, degrees) touches no pixel of the input")
    return parts


def _part_of(scenes: Sequence[ReadableScene], window: Window) -> ScenePart:
    if len(scenes) > 1:
        names = ", ".join(scene.name for scene in scenes)
        raise InputError(f"a window is of one scene, give STORE/SCENE: {names}")
    height, width = scenes[0].shape
    if not (0 <= window.y0 < window.y1 <= height and 0 <= window.x0 < window.x1 <= width):
        raise BoundsError(
            f"window of rows {window.y0} to {window.y1} and columns {window.x0} to {window.x1} is"
            f" empty or leaves {scenes[0].name} of {height} × {width} px"
        )
    return ScenePart(scenes[0], window)


def _shard_side(scale: int, shard: int | None) -> int:
    if shard is None:
        return shard_side(scale)
    step = lcm(CHUNK, scale)
    if shard < step or shard % step:
        raise BoundsError(
            f"a shard of {shard} px will not do at ×{scale}: give a multiple of {step}"
        )
    return shard
