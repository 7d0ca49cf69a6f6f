"""``srsat verify``: whether a store is what was written."""

import argparse

from srsat_dask.cli.common import DONE, RECORDED_FAILURES, print_json, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("--repair", action="store_true", help="make torn shards pending again")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def run(options: argparse.Namespace) -> int:
    """Compare every written shard with its digest."""
    from srsat_dask.mosaic.ledger import forget_shards, torn_shards, written_shards
    from srsat_dask.mosaic.store import scenes_of

    report = []
    bad = 0
    for scene in scenes_of(options.store):
        torn = torn_shards(scene)
        bad += len(torn)
        written = written_shards(scene)
        report.append(
            {
                "name": scene.name,
                "shards": int(written.sum()),
                "pending": int((~written).sum()),
                "torn": torn,
            }
        )
        if options.repair:
            forget_shards(scene, torn)
    if options.json:
        print_json({"store": options.store, "scenes": report})
    else:
        for entry in report:
            said = f"torn: {entry['torn']}" if entry["torn"] else "all as they were written"
            say(f"{entry['name']}: {entry['shards']} shards, {said}; {entry['pending']} pending")
        if bad:
            next_step = "pending again" if options.repair else "--repair makes them pending again"
            say(f"{bad} torn shard(s), {next_step}: the command that made them mends them")
    return RECORDED_FAILURES if bad else DONE
