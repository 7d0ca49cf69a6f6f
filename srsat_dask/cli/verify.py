"""``srsat verify``: whether a store is what was written."""

import argparse
from typing import TYPE_CHECKING, Any

from srsat_dask.cli.common import DONE, RECORDED_FAILURES, print_json, say

if TYPE_CHECKING:
    from srsat_dask.upscaling.seams import SeamReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("--repair", action="store_true", help="make torn shards pending again")
    parser.add_argument(
        "--seams",
        action="store_true",
        help="of a super-resolved store: make random strips across shard borders again from its"
        " input and model, and compare them bit for bit",
    )
    parser.add_argument("--strips", type=int, default=24, help="strips to make; default 24")
    parser.add_argument("--input", help="where the input is now; default: where it was")
    parser.add_argument("--model", help="default: the one that the store keeps")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def run(options: argparse.Namespace) -> int:
    """Compare every written shard with its digest, and on request look for seams."""
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
    seams = _check_seams(options) if options.seams else None
    if options.json:
        found = {} if seams is None else {"seams": seams.as_dict()}
        print_json({"store": options.store, "scenes": report, **found})
    else:
        _say_shards(report, bad, repaired=options.repair)
        if seams is not None:
            _say_seams(seams)
    return RECORDED_FAILURES if bad or not (seams is None or seams.exact) else DONE


def _check_seams(options: argparse.Namespace) -> "SeamReport":
    from srsat_dask.upscaling.seams import check_seams

    return check_seams(
        options.store, source=options.input, model=options.model, strips=options.strips
    )


def _say_shards(report: list[dict[str, Any]], bad: int, *, repaired: bool) -> None:
    for entry in report:
        said = f"torn: {entry['torn']}" if entry["torn"] else "all as they were written"
        say(f"{entry['name']}: {entry['shards']} shards, {said}; {entry['pending']} pending")
    if bad:
        next_step = "pending again" if repaired else "--repair makes them pending again"
        say(f"{bad} torn shard(s), {next_step}: the command that made them mends them")


def _say_seams(seams: "SeamReport") -> None:
    said = f"{seams.strips} strips made again, {seams.borders} across borders of shards"
    if seams.exact:
        say(f"{said}: {seams.pixels} pixels, every bit the same")
        return
    for found in seams.differences:
        at = found.window
        say(
            f"{found.scene}: rows {at.y0} to {at.y1 - 1}, columns {at.x0} to {at.x1 - 1}:"
            f" {found.pixels} pixels differ, by up to {found.largest:g}"
        )
    say(f"{said}: {len(seams.differences)} are not what their input and model make")
