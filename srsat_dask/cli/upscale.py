"""``srsat upscale``: a whole scene made finer."""

import argparse
from pathlib import Path

from srsat_dask.cli.common import (
    DONE,
    add_allow_partial,
    add_cluster,
    add_engine,
    check_bundled,
    on_cluster,
    say,
)
from srsat_dask.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("input", metavar="INPUT", help="store, STORE/SCENE or raster")
    parser.add_argument("output", metavar="OUTPUT", help="ends in .zarr or .tif")
    parser.add_argument(
        "--model",
        help="a .keras file or a bundled model's name; default: the bundled srcnn-x4, or that of"
        " the scale, when this version has one",
    )
    parser.add_argument(
        "--scale",
        type=int,
        help="of the bundled model, 2, 3 or 4 (default); or one of a model trained for several",
    )
    add_engine(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    add_allow_partial(parser)
    add_cluster(parser)


def run(options: argparse.Namespace) -> int:
    """Super-resolve a scene into a store or a GeoTIFF."""
    from srsat_dask.model.file import ModelFile
    from srsat_dask.products.cog import check_target, holds_export
    from srsat_dask.products.cog import export as export_cog
    from srsat_dask.upscaling.plan import plan_upscale
    from srsat_dask.upscaling.store import run_upscale

    output = Path(options.output)
    to_raster = output.suffix.lower() in {".tif", ".tiff"}
    if not to_raster and output.suffix != ".zarr":
        raise InputError(f"{output} must end in .zarr or .tif")
    if output.exists() and output.resolve() == Path(options.input).resolve():
        raise InputError(f"{output} is the input itself: give another path for the output")
    bundled = f"srcnn-x{options.scale or 4}"
    if options.model is None:
        check_bundled(bundled, options.scale or 4)
    model = options.model or bundled
    if options.scale is not None:
        model = ModelFile.open(model).at_scale(options.scale)
    plan = plan_upscale(options.input, model, options.engine, allow_partial=options.allow_partial)
    if to_raster:
        check_target(output)
        if len(plan.parts) > 1:
            names = ", ".join(part.name for part in plan.parts)
            raise InputError(f"a GeoTIFF takes one scene, give {options.input}/SCENE: {names}")
        if holds_export(output, plan.lineage(plan.parts[0])):
            say(f"{output} is done already")
            return DONE
    say(
        f"×{plan.scale}: {plan.pixels / 1e6:.1f} Mpx in {plan.shards} shards of {plan.shard} px,"
        f" halo {plan.halo} px, {plan.bytes / 1e6:.0f} MB before compression"
    )
    if options.dry_run:
        return DONE
    store = output.with_suffix(".partial.zarr") if to_raster else output
    with on_cluster(options.cluster):
        report = run_upscale(plan, store)
    say(
        f"{report.computed} of {report.shards} shards, {report.pixels / 1e6:.1f} Mpx"
        f" in {report.seconds:.1f} s"
    )
    if to_raster:
        import shutil

        export_cog(store / plan.parts[0].name, output)
        shutil.rmtree(store)  # what a run cut short would have gone on from
    say(f"{output} is written")
    return DONE
