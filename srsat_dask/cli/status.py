"""``srsat status``: what a store holds and what is left to do."""

import argparse

from srsat_dask.cli.common import DONE, print_json, print_rich, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def run(options: argparse.Namespace) -> int:
    """Say what a store holds and what is left to do."""
    from dataclasses import asdict

    from rich.table import Table

    from srsat_dask.mosaic.ledger import done_shards, failed_tiles, state_counts, tiles_to_do
    from srsat_dask.mosaic.store import scenes_of

    report = []
    for scene in scenes_of(options.store):
        done = done_shards(scene)
        harvested = scene.lineage["kind"] == "harvest"
        report.append(
            {
                "name": scene.name,
                "kind": scene.lineage["kind"],
                "shape": list(scene.shape),
                "shards": {"total": done.size, "done": int(done.sum())},
                "tiles": state_counts(scene),
                "failed": [asdict(tile) for tile in failed_tiles(scene)],
                "to_fetch": int(tiles_to_do(scene).sum()) if harvested else 0,
            }
        )
    if options.json:
        print_json({"store": options.store, "scenes": report})
        return DONE
    table = Table(title=options.store)
    for title in ("scene", "kind", "px", "shards done", "tiles", "a re-run fetches"):
        table.add_column(title)
    for entry in report:
        tiles = ", ".join(f"{count} {state}" for state, count in entry["tiles"].items() if count)
        table.add_row(
            entry["name"],
            entry["kind"],
            " × ".join(map(str, entry["shape"])),
            f"{entry['shards']['done']} of {entry['shards']['total']}",
            tiles,
            str(entry["to_fetch"]),
        )
    print_rich(table)
    for entry in report:
        for tile in entry["failed"]:
            place = f"row {tile['row']}, column {tile['column']}"
            say(f"failed: {entry['name']}, tile in {place}: {tile['reason']}")
    return DONE
