"""Store-to-store upscaling: one task per output shard, resumable, in memory that stays the same.

A task reads the window of its shard and a margin from the input, runs the engine and writes the
shard and its ledger entry. A shard without a single valid pixel needs no engine. Running it again
does what is missing, and what was made from shards of a mosaic that have changed since; an output
made from other inputs, weights or settings is refused.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from srsat_dask.errors import InputError, StoreError
from srsat_dask.mosaic.grid import Box
from srsat_dask.mosaic.inputs import MosaicScene
from srsat_dask.mosaic.origin import INPUT, carried_attributes, input_seen_from
from srsat_dask.mosaic.shard_states import upscale_grid
from srsat_dask.mosaic.store import StoreScene, create_scene, scenes_of
from srsat_dask.mosaic.windows import Window
from srsat_dask.runtime.clusters import current_client
from srsat_dask.runtime.events import Outcome, ShardState
from srsat_dask.runtime.progress import track
from srsat_dask.runtime.runner import run_shards
from srsat_dask.upscaling.consistency import create_layer
from srsat_dask.upscaling.kept import keep_model
from srsat_dask.upscaling.plan import ScenePart, UpscalePlan, plan_upscale
from srsat_dask.upscaling.recipe import Range
from srsat_dask.upscaling.seams import SeamReport, check_seams
from srsat_dask.upscaling.shard import upscale_shard

if TYPE_CHECKING:
    from os import PathLike

    import keras

    from srsat_dask.model.file import ModelFile


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
    seams: SeamReport | None = None
    """What a search for seams found, if one was asked for."""


def upscale_store(
    source: "str | Path",
    output: "str | Path",
    model: "str | PathLike[str] | keras.Model | ModelFile" = "srcnn-x4",
    *,
    engine: str = "auto",
    value_range: "Range | Literal['auto'] | None" = None,
    bands: Sequence[int] | None = None,
    other_bands: str | None = None,
    bbox: Box | None = None,
    window: Window | None = None,
    ensemble: bool = False,
    consistency: bool = False,
    shard: int | None = None,
    seams: int = 0,
    allow_partial: bool = False,
    progress: bool = True,
) -> UpscaleReport:
    """Super-resolve a mosaic store or a raster into a store, on the current Dask client.

    Parameters
    ----------
    source : str or Path
        A mosaic store, ``STORE/SCENE``, or a raster with a CRS; uint8, uint16 or float.
    output : str or Path
        The store to make, or to go on with. Its pixels are of the input's type.
    model : str, path, keras.Model or ModelFile
        A ``.keras`` file, the name of a bundled model, or what :func:`srsat_dask.train` returned.
    engine : {"auto", "openvino", "keras"}
        What computes the network.
    value_range : tuple of float or "auto", optional
        Values for black and white, by default those of the integer type, and 0 and 1 for floats;
        ``"auto"`` takes robust quantiles of the whole input. Recorded, and the same for every
        shard. What lies beyond is not clipped.
    bands : sequence of int, optional
        Numbers, from 1, of red, green and blue, or of one band, which the model then sees as grey;
        by default the first three, or the only one.
    other_bands : {"bicubic"}, optional
        What to do with the other bands; by default they are left out.
    bbox : tuple of float, optional
        West, south, east, north in degrees (EPSG:4326): upscale this part only, snapped outward to
        whole input pixels. It equals the same part of the whole, bit for bit.
    window : Window, optional
        The part in input pixels: rows ``y0 <= y < y1`` and columns ``x0 <= x < x1``.
    ensemble : bool
        Average over the eight rotations and flips of the input: a little better, at eight times
        the computing.
    consistency : bool
        Write a layer ``consistency`` too: the result degraded as the model's training images were,
        less the input, at the input's resolution; uint8 only, at twice the computing.
    shard : int, optional
        Side of an output shard in pixels, by default 2048 (1536 at ×3): what a task holds.
    seams : int
        Strips across shard borders to make again at the end, and to compare bit for bit.
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
    plan = plan_upscale(
        source,
        model,
        engine,
        value_range=value_range,
        bands=bands,
        other_bands=other_bands,
        bbox=bbox,
        window=window,
        ensemble=ensemble,
        consistency=consistency,
        shard=shard,
        allow_partial=allow_partial,
    )
    report = run_upscale(plan, output, progress=progress)
    if seams:
        report.seams = check_seams(output, strips=seams)
    return report


def run_upscale(plan: UpscalePlan, output: "str | Path", *, progress: bool = True) -> UpscaleReport:
    """Do what a plan says, on the current Dask client.

    Raises
    ------
    StoreError
        The output holds something else, or was made from other inputs, weights or settings.
    ShardError
        A task failed; run it again to go on from there.
    """
    start = time.monotonic()
    _refuse_others(output, plan)
    report = UpscaleReport(str(output), [part.name for part in plan.parts], plan.shards)
    todo = [
        (part, finer, plan.shards_to_do(part, finer))
        for part, finer in ((part, _finer(plan, part, output)) for part in plan.parts)
    ]
    report.shards = sum(missing.size for *_, missing in todo)
    count = sum(int(missing.sum()) for *_, missing in todo)
    shards = (
        ((part.name, *index), (part, finer, under))
        for part, finer, missing in todo
        for index, under in finer.shards()
        if missing[index]
    )
    keep_model(output, plan.recipe.model)
    shared = (plan.recipe, plan.margin, plan.consistency)
    with current_client() as client, track("upscale", count, shown=progress) as bar:
        for _, pixels in run_shards(
            client,
            upscale_shard,
            shards,
            prefix="upscale-shard",
            shared=shared,
            scenes=[upscale_grid(part.name, missing) for part, _, missing in todo],
            outcome=_outcome,
        ):
            report.computed += 1
            report.pixels += pixels
            bar.advance(note=f"{report.pixels / 1e6 / (time.monotonic() - start):.2f} Mpx/s")
    report.seconds = time.monotonic() - start
    return report


def _outcome(pixels: int) -> Outcome:
    return Outcome(ShardState.UPSCALED, pixels=pixels)


def _finer(plan: UpscalePlan, part: ScenePart, output: "str | Path") -> StoreScene:
    """Make the template of a part's output, or take it up again."""
    finer = create_scene(
        output,
        part.name,
        georeference=part.georeference.finer(plan.scale),
        lineage=plan.lineage(part),
        bands=plan.recipe.bands,
        dtype=part.scene.dtype,
        shard=plan.shard,
        from_shards=True,
        attributes={**carried_attributes(part.scene), INPUT: input_seen_from(output, part.scene)},
    )
    if plan.consistency:
        create_layer(finer, part.georeference, plan.scale, plan.recipe.bands)
    return finer


def _refuse_others(output: "str | Path", plan: UpscalePlan) -> None:
    """Refuse an output with scenes that this plan does not make: they would be mixed."""
    place = Path(output)
    if not (place.is_dir() and any(place.iterdir())):
        return
    for part in plan.parts:
        scene = part.scene
        if isinstance(scene, MosaicScene) and Path(scene.store).resolve() == place.resolve():
            raise InputError(f"{output} is the input itself: give another path for the output")
    names = {part.name for part in plan.parts}
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
