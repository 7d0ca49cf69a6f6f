"""``srsat harvest``: tiles into a mosaic store."""

import argparse
import math

from srsat_dask.cli.common import (
    DONE,
    add_bbox,
    add_cluster,
    add_report,
    add_source,
    list_failures,
    on_cluster,
    say,
    search_scenes,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("store", metavar="STORE", help="mosaic store (.zarr) to make or go on with")
    which = parser.add_mutually_exclusive_group()
    add_bbox(which)
    which.add_argument("--scene", nargs="+", action="extend", metavar="ID", help="scenes by id")
    add_source(parser)
    parser.add_argument(
        "--zoom",
        type=int,
        help="default 17: 0.97 m per pixel at 35.7° N; of a raster, that nearest to its pixels",
    )
    parser.add_argument("--sample", type=int, metavar="N", help="draw N of the scenes")
    parser.add_argument("--seed", type=int, default=0, help="of the draw; default 0")
    parser.add_argument("--max-tiles", type=int, metavar="N", help="most tiles of a scene, central")
    parser.add_argument(
        "--rate",
        type=float,
        default=50.0,
        metavar="R",
        help="most requests per second of the whole cluster; default 50, 0 for no limit",
    )
    parser.add_argument(
        "--concurrency",
        type=int,
        default=64,
        metavar="N",
        help="most requests under way at once over the whole cluster; default 64",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    add_cluster(parser)
    add_report(parser)


def run(options: argparse.Namespace) -> int:
    """Harvest scenes into a mosaic store."""
    from srsat_dask.harvesting import run
    from srsat_dask.harvesting.plan import SHARD_MEMORY, plan_harvest
    from srsat_dask.harvesting.politeness import Politeness
    from srsat_dask.harvesting.scene import draw
    from srsat_dask.harvesting.sources import open_source

    pace = Politeness(options.rate or math.inf, options.concurrency)
    by_id = options.scene is not None
    found = run.scenes_named(options.scene, options.source) if by_id else search_scenes(options)
    source = open_source(options.source)
    zoom = options.zoom
    if zoom is None:
        zoom = 17 if source.native_zoom is None else source.native_zoom
        if source.native_zoom is not None:
            say(f"zoom {zoom}, nearest to the pixels of {options.source}")
    if options.sample is not None:
        found = draw(found, options.sample, options.seed)
    plan = plan_harvest(
        found,
        options.store,
        zoom=zoom,
        source=source,
        max_tiles=options.max_tiles,
    )
    say(
        f"{len(plan.scenes)} scene(s), {plan.tiles} tiles in {plan.shards} shards,"
        f" {plan.nbytes / 1e6:.0f} MB before compression"
    )
    say(
        f"{plan.pending_shards} shards to do with {plan.requests} requests,"
        f" {plan.seconds(pace.rate):.0f} s or more at {pace.rate:g} per second;"
        f" {SHARD_MEMORY / 1e6:.0f} MB for each thread of a worker"
    )
    if options.dry_run:
        return DONE
    with on_cluster(options.cluster, options.report):
        report = run.harvest(
            found,
            options.store,
            zoom=zoom,
            max_tiles=options.max_tiles,
            rate=pace.rate,
            concurrency=pace.concurrency,
        )
    counts = ", ".join(f"{count} {state}" for state, count in sorted(report.states.items()))
    say(f"{report.fetched} tiles in {report.seconds:.1f} s ({counts or 'nothing to do'})")
    return list_failures(report.failures)
