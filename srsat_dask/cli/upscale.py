"""``srsat upscale``: a whole scene made finer, or a part of it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srsat_dask.cli.common import (
    DONE,
    RECORDED_FAILURES,
    add_allow_partial,
    add_bbox,
    add_cluster,
    add_engine,
    add_report,
    numbers,
    on_cluster,
    say,
)
from srsat_dask.errors import InputError

if TYPE_CHECKING:
    from srsat_dask.upscaling.plan import UpscalePlan

SCALE = 4
"""The scale of the bundled model that is taken when nothing is said."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("input", metavar="INPUT", help="store, STORE/SCENE or raster")
    parser.add_argument("output", metavar="OUTPUT", help="ends in .zarr or .tif")
    parser.add_argument(
        "--model",
        help="a .keras file or a bundled model's name; default: the bundled srcnn-x4, or that of"
        " --scale",
    )
    parser.add_argument("--scale", type=int, help="output pixels per input pixel; the model's")
    add_engine(parser)
    part = parser.add_mutually_exclusive_group()
    add_bbox(part)
    part.add_argument(
        "--window",
        nargs=4,
        type=int,
        metavar=("ROW", "COL", "HEIGHT", "WIDTH"),
        help="upscale this part only: first row and column from the top left, in input pixels. A"
        " part, here or by --bbox (snapped outward to whole pixels), equals the same part of the"
        " whole bit for bit",
    )
    parser.add_argument(
        "--range",
        nargs="+",
        metavar=("LOW", "HIGH"),
        help="values that the model sees as black and white, or auto: the 0.1 %% and 99.9 %%"
        " quantiles of the input; default: all of a whole type, 0 to 1 of floats. Recorded; values"
        " beyond are not clipped",
    )
    parser.add_argument(
        "--bands",
        type=numbers,
        metavar="R,G,B",
        help="numbers, from 1, of the bands to upscale, or of one, as grey; default 1,2,3",
    )
    parser.add_argument(
        "--other-bands", choices=["bicubic"], help="upsample all other bands too; default: none"
    )
    parser.add_argument(
        "--ensemble",
        action="store_true",
        help="average over the 8 rotations and flips of the input: a little better, 8 times the"
        " computing",
    )
    parser.add_argument(
        "--consistency",
        action="store_true",
        help="write a layer 'consistency' beside the result: the result degraded again, less the"
        " input; twice the computing. For .zarr and 8 bits",
    )
    parser.add_argument(
        "--check-seams",
        action="store_true",
        help="make strips across shard borders again at the end and compare them bit for bit, as"
        " srsat verify --seams does",
    )
    parser.add_argument(
        "--shard",
        type=int,
        metavar="PIXELS",
        help="side of an output shard, what a task holds in memory; default 2048 (1536 at x3)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check everything, say what would be done and how"
        " long it would take on this machine, by a short measurement",
    )
    add_allow_partial(parser)
    add_cluster(parser)
    add_report(parser)


def run(options: argparse.Namespace) -> int:
    """Super-resolve a scene into a store or a GeoTIFF."""
    from srsat_dask.products.cog import check_target, holds_export
    from srsat_dask.products.cog import export as export_cog
    from srsat_dask.upscaling.seams import check_seams
    from srsat_dask.upscaling.store import run_upscale

    output = Path(options.output)
    to_raster = output.suffix.lower() in {".tif", ".tiff"}
    if not to_raster and output.suffix != ".zarr":
        raise InputError(f"{output} must end in .zarr or .tif")
    if output.exists() and output.resolve() == Path(options.input).resolve():
        raise InputError(f"{output} is the input itself: give another path for the output")
    if to_raster and options.consistency:
        raise InputError("--consistency writes a layer beside the result: give an OUTPUT.zarr")
    plan = _plan(options)
    if to_raster:
        check_target(output)
        if len(plan.parts) > 1:
            names = ", ".join(part.name for part in plan.parts)
            raise InputError(f"a GeoTIFF takes one scene, give {options.input}/SCENE: {names}")
        if holds_export(output, plan.lineage(plan.parts[0])):
            say(f"{output} is done already")
            return DONE
    _describe(plan, options.model or f"srcnn-x{plan.scale}")
    if options.dry_run:
        _estimate(plan)
        return DONE
    store = output.with_suffix(".partial.zarr") if to_raster else output
    with on_cluster(options.cluster, options.report):
        report = run_upscale(plan, store)
    say(
        f"{report.computed} of {report.shards} shards, {report.pixels / 1e6:.1f} Mpx"
        f" in {report.seconds:.1f} s"
    )
    exact = True
    if options.check_seams:
        seams = check_seams(store)
        exact = seams.exact
        say(f"{seams.strips} strips made again, {len(seams.differences)} of them differ")
    if to_raster:
        import shutil

        export_cog(store / plan.parts[0].name, output)
        shutil.rmtree(store)  # what a run cut short would have gone on from
    say(f"{output} is written")
    return DONE if exact else RECORDED_FAILURES


def _plan(options: argparse.Namespace) -> "UpscalePlan":
    from srsat_dask.model.file import ModelFile
    from srsat_dask.mosaic.windows import Window
    from srsat_dask.upscaling.plan import plan_upscale

    name = options.model or f"srcnn-x{options.scale or SCALE}"
    model: str | ModelFile = name
    if options.scale is not None:
        model = ModelFile.open(name).at_scale(options.scale)
    window = None
    if options.window:
        row, column, height, width = options.window
        window = Window(row, row + height, column, column + width)
    return plan_upscale(
        options.input,
        model,
        options.engine,
        value_range=_range(options.range),
        bands=options.bands,
        other_bands=options.other_bands,
        bbox=tuple(options.bbox) if options.bbox else None,
        window=window,
        ensemble=options.ensemble,
        consistency=options.consistency,
        shard=options.shard,
        allow_partial=options.allow_partial,
    )


def _range(words: list[str] | None) -> Any:
    if words is None or words == ["auto"]:
        return None if words is None else "auto"
    try:
        low, high = (float(word) for word in words)
    except ValueError:
        raise InputError(
            f"--range {' '.join(words)}: give two numbers, black and white, or auto"
        ) from None
    return low, high


def _describe(plan: "UpscalePlan", model: str) -> None:
    low, high = plan.recipe.value_range
    say(
        f"×{plan.scale} by {model}: {plan.pixels / 1e6:.1f} Mpx"
        f" in {plan.shards} shards of {plan.shard} px,"
        f" halo {plan.halo} px, {plan.bytes / 1e6:.0f} MB before compression"
    )
    dtype = plan.parts[0].scene.dtype
    if dtype.name != "uint8":
        say(f"{dtype}, black {low:g} and white {high:g}; --range says otherwise")
    for part in plan.parts:
        if not part.is_whole:
            at = part.window
            say(
                f"{part.name}: rows {at.y0} to {at.y1 - 1}, columns {at.x0} to {at.x1 - 1} of"
                f" {part.scene.shape[0]} × {part.scene.shape[1]} px"
            )


def _estimate(plan: "UpscalePlan") -> None:
    """Say what the run will take on this machine."""
    from dask.system import CPU_COUNT

    from srsat_dask.upscaling.estimate import measure_speed, worker_bytes

    speed = measure_speed(plan.recipe)
    seconds = plan.work * plan.pixels / speed
    clock = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 3600:.1f} h"
    if 120 <= seconds < 7200:
        clock = f"{seconds / 60:.0f} min"
    say(
        f"{plan.recipe.engine} makes {speed / 1e6:.2f} Mpx/s on the {CPU_COUNT} cores of this"
        f" machine: about {clock}, on which reading and writing come; about"
        f" {worker_bytes(plan, 1) / 1e6:.0f} MB for a worker of one thread,"
        f" {worker_bytes(plan, 2) / 1e6:.0f} MB for one of two"
    )
