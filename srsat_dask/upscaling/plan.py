"""What a store-to-store upscaling will do, and every reason not to, before anything is computed."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from srsat_dask import __version__
from srsat_dask.errors import InputError
from srsat_dask.model.engines import resolve_engine
from srsat_dask.model.file import ModelFile
from srsat_dask.mosaic.inputs import ReadableScene, check_finished, open_inputs
from srsat_dask.mosaic.store import Lineage, shard_side

if TYPE_CHECKING:
    from os import PathLike

    import keras


@dataclass(frozen=True)
class UpscalePlan:
    """What an upscaling will do, before anything is computed."""

    scenes: tuple[ReadableScene, ...] = field(repr=False)
    """The inputs."""
    model: ModelFile
    """The model."""
    engine: str
    """What computes it, on every worker: ``openvino`` or ``keras``."""

    @property
    def scale(self) -> int:
        """Output pixels per input pixel, along one axis."""
        return self.model.spec.scale

    @property
    def halo(self) -> int:
        """Input pixels that the network needs around a shard, from its kernels and its scale."""
        return self.model.spec.halo

    @property
    def shard(self) -> int:
        """Side of an output shard in pixels."""
        return shard_side(self.scale)

    @property
    def shards(self) -> int:
        """Output shards of all the scenes."""
        return sum(
            -(-height * self.scale // self.shard) * -(-width * self.scale // self.shard)
            for height, width in (scene.shape for scene in self.scenes)
        )

    @property
    def pixels(self) -> int:
        """Output pixels of all the scenes."""
        return sum(height * width for height, width in (s.shape for s in self.scenes)) * (
            self.scale**2
        )

    def lineage(self, scene: ReadableScene) -> Lineage:
        """Return what decides the pixels of a scene's output."""
        return {
            "kind": "upscale",
            "scene": scene.name,
            "input": scene.fingerprint(),
            "model": self.model.sha256,
            "scale": self.scale,
            "halo": self.halo,
            "engine": self.engine,
            "version": __version__,
        }


def plan_upscale(
    source: "str | Path",
    model: "str | PathLike[str] | keras.Model | ModelFile",
    engine: str = "auto",
    *,
    allow_partial: bool = False,
) -> UpscalePlan:
    """Check the arguments of an upscaling and say what it will do.

    Raises
    ------
    InputError
        The input, the model or the engine cannot be used, or an image is smaller than the halo.
    StoreError
        A scene of a mosaic store that is not done, unless ``allow_partial``.
    """
    resolved = resolve_engine(engine)
    file = ModelFile.open(model)
    scenes = tuple(open_inputs(source))
    for scene in scenes:
        check_finished(scene, allow_partial=allow_partial)
        height, width = scene.shape
        if min(height, width) < file.spec.halo:
            raise InputError(
                f"{scene.name} has {height} × {width} px, fewer than the model's halo of"
                f" {file.spec.halo} px: give a larger image"
            )
    return UpscalePlan(scenes, file, resolved)
