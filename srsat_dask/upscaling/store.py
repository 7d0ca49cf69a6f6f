"""Store-to-store upscaling: one task per output shard, resumable, in memory that stays the same.

A task reads the window of its shard and a margin from the input, runs the engine and writes the
shard and its ledger entry. A shard without a single valid pixel needs no engine. Running it again
does what is missing; an output made from other inputs, weights or settings is refused.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from srsat_dask import __version__
from srsat_dask.errors import InputError, StoreError
from srsat_dask.model.engines import get_upscaler, resolve_engine
from srsat_dask.model.file import ModelFile
from srsat_dask.model.inference import upscale_window
from srsat_dask.mosaic.inputs import ReadableScene, check_finished, open_inputs, read_mirrored
from srsat_dask.mosaic.ledger import done_shards, write_shard
from srsat_dask.mosaic.store import Lineage, StoreScene, create_scene, scenes_of, shard_side
from srsat_dask.mosaic.windows import Window
from srsat_dask.runtime.clusters import current_client
from srsat_dask.runtime.progress import track
from srsat_dask.runtime.runner import ShardKey, run_shards
from srsat_dask.upscaling.lazy import threads_here

if TYPE_CHECKING:
    from os import PathLike

    import keras


@dataclass
class UpscaleReport:
    """What an upscaling did."""

    store: str
    """The super-resolved store."""
    scenes: list[str]
    """Names of its scenes."""
    shards: int = 0
    """Shards of all the scenes."""
    computed: int = 0
    """Shards that this run made; the others were there."""
    pixels: int = 0
    """Output pixels that this run made."""
    seconds: float = 0.0
    """Wall time of the run."""


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


def upscale_store(
    source: "str | Path",
    output: "str | Path",
    model: "str | PathLike[str] | keras.Model | ModelFile" = "srcnn-x4",
    *,
    engine: str = "auto",
    allow_partial: bool = False,
    progress: bool = True,
) -> UpscaleReport:
    """Super-resolve a mosaic store or a raster into a store, on the current Dask client.

    Parameters
    ----------
    source : str or Path
        A mosaic store, ``STORE/SCENE``, or a raster of three uint8 bands with a CRS.
    output : str or Path
        The store to make, or to go on with.
    model : str, path, keras.Model or ModelFile
        A ``.keras`` file, the name of a bundled model, or what :func:`srsat_dask.train` returned.
    engine : {"auto", "openvino", "keras"}
        What computes the network.
    allow_partial : bool
        Take scenes with shards that are not done too; what is missing there stays missing.
    progress : bool
        Show progress on stderr.

    Returns
    -------
    UpscaleReport
        Shards, pixels and time.

    Raises
    ------
    InputError
        Something cannot be used; nothing has been computed.
    StoreError
        A scene is not done, or the output holds something else, or was made from other inputs,
        weights or settings.
    ShardError
        A task failed; run it again to go on from there.
    """
    start = time.monotonic()
    plan = plan_upscale(source, model, engine, allow_partial=allow_partial)
    if Path(source).resolve() == Path(output).resolve():
        raise InputError(f"{output} is the input itself: give another path for the output")
    _refuse_others(output, plan)
    report = UpscaleReport(str(output), [scene.name for scene in plan.scenes], plan.shards)
    shards: list[tuple[ShardKey, tuple[ReadableScene, StoreScene, Window]]] = []
    for scene in plan.scenes:
        finer = create_scene(
            output,
            scene.name,
            georeference=scene.georeference.finer(plan.scale),
            lineage=plan.lineage(scene),
            shard=plan.shard,
        )
        done = done_shards(finer)
        shards += [
            ((scene.name, *index), (scene, finer, window))
            for index, window in finer.shards()
            if not done[index]
        ]
    with current_client() as client, track("upscale", len(shards), shown=progress) as bar:
        for _, pixels in run_shards(
            client, upscale_shard, shards, prefix="upscale-shard", shared=(plan.model, plan.engine)
        ):
            report.computed += 1
            report.pixels += pixels
            bar.advance(note=f"{report.pixels / 1e6 / (time.monotonic() - start):.2f} Mpx/s")
    report.seconds = time.monotonic() - start
    return report


def _refuse_others(output: "str | Path", plan: UpscalePlan) -> None:
    """Refuse an output with scenes that this plan does not make: they would be mixed."""
    place = Path(output)
    if not (place.is_dir() and any(place.iterdir())):
        return
    names = {scene.name for scene in plan.scenes}
    others = [
        scene.name
        for scene in scenes_of(place)
        if scene.name not in names or scene.lineage.get("kind") != "upscale"
    ]
    if others:
        raise StoreError(
            f"{output} holds scenes that are not made from this input: {', '.join(others)};"
            " delete it or give another path"
        )


def upscale_shard(
    shared: tuple[ModelFile, str], scene: ReadableScene, finer: StoreScene, window: Window
) -> int:
    """Make one shard of the output; runs on a worker.

    Returns
    -------
    int
        Pixels written.
    """
    file, engine = shared
    scale, margin = file.spec.scale, 2 * file.spec.halo
    image, valid = read_mirrored(scene, window.coarsened(scale), margin)
    height, width = window.shape
    pixels = np.zeros((file.spec.bands, height, width), dtype=np.uint8)
    mask: npt.NDArray[np.uint8] | None = None
    if valid[margin:-margin, margin:-margin].any():
        pixels, mask = upscale_window(image, valid, get_upscaler(file, engine, threads_here()))
    write_shard(finer, window, pixels, np.zeros_like(pixels[0]) if mask is None else mask)
    return height * width
