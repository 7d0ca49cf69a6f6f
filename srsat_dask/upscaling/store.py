"""Store-to-store upscaling: one task per output shard, resumable, in memory that stays the same.

A task reads the window of its shard and a margin from the input, runs the engine and writes the
shard and its ledger entry. A shard without a single valid pixel needs no engine. Running it again
does what is missing; an output made from other inputs, weights or settings is refused.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from srsat_dask.errors import InputError, StoreError
from srsat_dask.model.file import ModelFile
from srsat_dask.mosaic.inputs import ReadableScene
from srsat_dask.mosaic.ledger import done_shards
from srsat_dask.mosaic.store import StoreScene, create_scene, scenes_of
from srsat_dask.mosaic.windows import Window
from srsat_dask.runtime.clusters import current_client
from srsat_dask.runtime.progress import track
from srsat_dask.runtime.runner import ShardKey, run_shards
from srsat_dask.upscaling.plan import UpscalePlan, plan_upscale
from srsat_dask.upscaling.shard import upscale_shard

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
