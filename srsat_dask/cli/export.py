"""``srsat export``: a scene as a GeoTIFF."""

import argparse

from srsat_dask.cli.common import DONE, add_allow_partial, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("store", metavar="STORE", help="store with one scene, or STORE/SCENE")
    parser.add_argument("output", metavar="OUT.tif")
    add_allow_partial(parser)


def run(options: argparse.Namespace) -> int:
    """Write a scene as a Cloud-Optimized GeoTIFF."""
    from srsat_dask.products.cog import export as export_cog

    made = export_cog(options.store, options.output, allow_partial=options.allow_partial)
    say(f"{made} is written")
    return DONE
