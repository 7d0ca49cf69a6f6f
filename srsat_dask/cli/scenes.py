"""``srsat scenes``: what a source has in a box."""

import argparse

from srsat_dask.cli.common import (
    DONE,
    add_bbox,
    add_source,
    iso,
    print_json,
    print_rich,
    search_scenes,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    add_bbox(parser)
    add_source(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def run(options: argparse.Namespace) -> int:
    """List the scenes in a box."""
    from dataclasses import asdict

    from rich.table import Table

    found = search_scenes(options)
    if options.json:
        records = [asdict(scene) for scene in found]
        print_json([{**record, "acquired": iso(record["acquired"])} for record in records])
        return DONE
    table = Table(title=f"{len(found)} scene(s)")
    for title in ("id", "acquired", "clouds %", "west", "south", "east", "north"):
        table.add_column(title)
    for scene in found:
        clouds = "" if scene.cloud_cover is None else f"{scene.cloud_cover:g}"
        corners = [f"{degrees:.4f}" for degrees in scene.bounds]
        table.add_row(scene.id, iso(scene.acquired) or "", clouds, *corners)
    print_rich(table)
    return DONE
