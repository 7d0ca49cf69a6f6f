"""The ``srsat`` command: parse, call, print.

Exit status: 0 all done; 1 finished with recorded failures; 2 bad arguments or input. Progress and
errors go to stderr, results to stdout; with ``--json`` stdout is one JSON document.
"""

import argparse
import json
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich_argparse import RawDescriptionRichHelpFormatter

import srsat_dask
from srsat_dask.errors import InputError, SrsatError

DONE, RECORDED_FAILURES, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

MODEL = "srcnn-x4"
"""The bundled model that upscaling takes when none is given."""

Handler = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        Arguments after the program's name; by default those of the process.
    """
    # TensorFlow and its C++ libraries are talkative at start-up; errors still come through.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    options = _parser().parse_args(arguments)
    try:
        handler: Handler = options.handler
        return handler(options)
    except SrsatError as error:
        sys.stderr.write(f"srsat: error: {' '.join(str(error).split())}\n")
        return error.exit_status
    except OSError as error:  # a full disk, a folder without permission
        said = f"{error.strerror}: {error.filename}" if error.filename else str(error)
        sys.stderr.write(f"srsat: error: {' '.join(said.split())}\n")
        return BAD_INPUT
    except KeyboardInterrupt:
        resumes = options.handler in (harvest, upscale)
        goes_on = "; the same command again goes on from here" if resumes else ""
        sys.stderr.write(f"srsat: interrupted{goes_on}\n")
        return INTERRUPTED


def demo(options: argparse.Namespace) -> int:
    """Run the whole pipeline against the sandbox."""
    from srsat_dask.demo import run_demo

    failures = run_demo(
        options.output,
        scenes=options.scene or [],
        scale=options.scale,
        train_minutes=options.train_minutes,
        cluster=options.cluster,
    )
    return _list_failures(failures)


def sandbox(options: argparse.Namespace) -> int:
    """Serve rasters, or a landscape, as Tellus would."""
    from srsat_dask.sandbox import Sandbox, open_scenes

    scenes = open_scenes(options.files) if options.files else None
    with Sandbox(
        scenes,
        port=options.port,
        token=options.token,
        latency=options.latency,
        faults=options.faults,
    ) as running:
        _say(f"serving {len(running.scenes)} scene(s) at {running.url}, until Ctrl-C")
        for scene in running.scenes:
            west, south, east, north = scene.bounds
            _say(f"  {scene.entity_id}  --bbox {west:.5f} {south:.5f} {east:.5f} {north:.5f}")
        _say(f"in another shell: export SRSAT_TELLUS_URL={running.url} SRSAT_TELLUS_TOKEN=…")
        running.serve_forever()
    return DONE


def scenes(options: argparse.Namespace) -> int:
    """List the scenes in a box."""
    from dataclasses import asdict

    from rich.table import Table

    found = _search(options)
    if options.json:
        records = [asdict(scene) for scene in found]
        _print_json([{**record, "acquired": _iso(record["acquired"])} for record in records])
        return DONE
    table = Table(title=f"{len(found)} scene(s)")
    for title in ("id", "acquired", "clouds %", "west", "south", "east", "north"):
        table.add_column(title)
    for scene in found:
        clouds = "" if scene.cloud_cover is None else f"{scene.cloud_cover:g}"
        corners = [f"{degrees:.4f}" for degrees in scene.bounds]
        table.add_row(scene.id, _iso(scene.acquired) or "", clouds, *corners)
    _print(table)
    return DONE


def harvest(options: argparse.Namespace) -> int:
    """Harvest scenes into a mosaic store."""
    from srsat_dask.harvesting import run
    from srsat_dask.harvesting.plan import SHARD_MEMORY, plan_harvest
    from srsat_dask.harvesting.scene import draw
    from srsat_dask.harvesting.sources import open_source

    by_id = options.scene is not None
    found = run.scenes_named(options.scene, options.source) if by_id else _search(options)
    source = open_source(options.source)
    zoom = options.zoom
    if zoom is None:
        zoom = 17 if source.native_zoom is None else source.native_zoom
        if source.native_zoom is not None:
            _say(f"zoom {zoom}, nearest to the pixels of {options.source}")
    if options.sample is not None:
        found = draw(found, options.sample, options.seed)
    plan = plan_harvest(
        found,
        options.store,
        zoom=zoom,
        source=source,
        max_tiles=options.max_tiles,
    )
    rate = options.rate or math.inf
    _say(
        f"{len(plan.scenes)} scene(s), {plan.tiles} tiles in {plan.shards} shards,"
        f" {plan.nbytes / 1e6:.0f} MB before compression"
    )
    _say(
        f"{plan.pending_shards} shards to do with {plan.requests} requests,"
        f" {plan.seconds(rate):.0f} s or more at {rate:g} per second;"
        f" {SHARD_MEMORY / 1e6:.0f} MB for each thread of a worker"
    )
    if options.dry_run:
        return DONE
    with _cluster(options.cluster):
        report = run.harvest(
            found,
            options.store,
            zoom=zoom,
            max_tiles=options.max_tiles,
            rate=rate,
            concurrency=options.concurrency,
        )
    counts = ", ".join(f"{count} {state}" for state, count in sorted(report.states.items()))
    _say(f"{report.fetched} tiles in {report.seconds:.1f} s ({counts or 'nothing to do'})")
    return _list_failures(report.failures)


def status(options: argparse.Namespace) -> int:
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
        _print_json({"store": options.store, "scenes": report})
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
    _print(table)
    for entry in report:
        for tile in entry["failed"]:
            place = f"row {tile['row']}, column {tile['column']}"
            _say(f"failed: {entry['name']}, tile in {place}: {tile['reason']}")
    return DONE


def verify(options: argparse.Namespace) -> int:
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
        _print_json({"store": options.store, "scenes": report})
    else:
        for entry in report:
            said = f"torn: {entry['torn']}" if entry["torn"] else "all as they were written"
            _say(f"{entry['name']}: {entry['shards']} shards, {said}; {entry['pending']} pending")
        if bad:
            next_step = "pending again" if options.repair else "--repair makes them pending again"
            _say(f"{bad} torn shard(s), {next_step}: the command that made them mends them")
    return RECORDED_FAILURES if bad else DONE


def train(options: argparse.Namespace) -> int:
    """Train a model on mosaic stores."""
    from srsat_dask.training import train as fit

    with _cluster(options.cluster):
        fit(
            options.stores,
            scale=options.scale,
            preset=options.preset,
            epochs=options.epochs,
            minutes=options.minutes,
            filters=options.filters,
            kernels=options.kernels,
            model_path=options.model,
            seed=options.seed,
        )
    _say(f"{options.model} is written, with its history (JSON) and curve (PNG) beside it")
    return DONE


def evaluate(options: argparse.Namespace) -> int:
    """Judge a model on images, bicubic beside it."""
    from srsat_dask.evaluation.report import check_target
    from srsat_dask.evaluation.report import evaluate as judge

    if options.json:
        check_target(options.json)  # before minutes of work, not after
    if options.model is None:
        _check_bundled(f"srcnn-x{options.scale or 4}", options.scale or 4)
    report = judge(
        options.inputs,
        options.model,
        scale=options.scale,
        figure=options.figure,
        engine=options.engine,
    )
    if options.json:
        report.to_json(options.json)
    _print(report.table())
    return DONE


def upscale(options: argparse.Namespace) -> int:
    """Super-resolve a scene into a store or a GeoTIFF."""
    from srsat_dask.products.cog import check_target, holds_export
    from srsat_dask.products.cog import export as export_cog
    from srsat_dask.upscaling.store import plan_upscale, upscale_store

    output = Path(options.output)
    to_raster = output.suffix.lower() in {".tif", ".tiff"}
    if not to_raster and output.suffix != ".zarr":
        raise InputError(f"{output} must end in .zarr or .tif")
    if output.exists() and output.resolve() == Path(options.input).resolve():
        raise InputError(f"{output} is the input itself: give another path for the output")
    if options.model == MODEL and not Path(MODEL).exists():
        _check_bundled(MODEL, 4)
    plan = plan_upscale(
        options.input, options.model, options.engine, allow_partial=options.allow_partial
    )
    if to_raster:
        check_target(output)
        if len(plan.scenes) > 1:
            names = ", ".join(scene.name for scene in plan.scenes)
            raise InputError(f"a GeoTIFF takes one scene, give {options.input}/SCENE: {names}")
        if holds_export(output, plan.lineage(plan.scenes[0])):
            _say(f"{output} is done already")
            return DONE
    _say(
        f"×{plan.scale}: {plan.pixels / 1e6:.1f} Mpx in {plan.shards} shards of {plan.shard} px,"
        f" halo {plan.halo} px, {3 * plan.pixels / 1e6:.0f} MB before compression"
    )
    if options.dry_run:
        return DONE
    store = output.with_suffix(".partial.zarr") if to_raster else output
    with _cluster(options.cluster):
        report = upscale_store(
            options.input,
            store,
            plan.model,
            engine=options.engine,
            allow_partial=options.allow_partial,
        )
    _say(
        f"{report.computed} of {report.shards} shards, {report.pixels / 1e6:.1f} Mpx"
        f" in {report.seconds:.1f} s"
    )
    if to_raster:
        import shutil

        export_cog(store / plan.scenes[0].name, output)
        shutil.rmtree(store)  # what a run cut short would have gone on from
    _say(f"{output} is written")
    return DONE


def export(options: argparse.Namespace) -> int:
    """Write a scene as a Cloud-Optimized GeoTIFF."""
    from srsat_dask.products.cog import export as export_cog

    made = export_cog(options.store, options.output, allow_partial=options.allow_partial)
    _say(f"{made} is written")
    return DONE


@contextmanager
def _cluster(profile: str) -> Iterator[None]:
    from srsat_dask.runtime.clusters import connect

    with connect(profile) as client:
        _say(f"dashboard {client.dashboard_link}")
        try:
            yield
        except KeyboardInterrupt:
            # Workers are stopped in the middle of their tasks: that they say so is of no use.
            logging.getLogger("distributed").setLevel(logging.CRITICAL)
            raise


def _list_failures(failures: Sequence[Any]) -> int:
    for failure in failures:
        _say(f"failed: {failure.scene} {failure.zoom}/{failure.x}/{failure.y}: {failure.reason}")
    return RECORDED_FAILURES if failures else DONE


def _check_bundled(name: str, scale: int) -> None:
    """Say how to come by a model where this version brings none of that name."""
    from srsat_dask.model.file import bundled_models

    if name not in bundled_models():
        raise InputError(
            f"this version has no bundled model {name!r}: make one with"
            f" 'srsat train STORE --scale {scale} --model OUT.keras', then give --model OUT.keras"
        )


def _search(options: argparse.Namespace) -> list[Any]:
    from srsat_dask.harvesting.sources import search

    box = tuple(options.bbox) if options.bbox else None
    found = search(box, options.source)
    if not found:
        raise InputError(f"no scenes of {options.source} in the box {box}: widen it")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="srsat",
        description="Whole-scene satellite super-resolution on Dask.",
        formatter_class=RawDescriptionRichHelpFormatter,
        epilog="Exit status: 0 all done; 1 finished with recorded failures; 2 bad input.",
    )
    parser.add_argument("--version", action="version", version=f"srsat {srsat_dask.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, handler: Handler) -> argparse.ArgumentParser:
        made = commands.add_parser(
            name,
            help=(handler.__doc__ or "").rstrip("."),
            description=handler.__doc__,
            formatter_class=RawDescriptionRichHelpFormatter,
        )
        made.set_defaults(handler=handler)
        return made

    one = command("demo", demo)
    one.add_argument(
        "--scene",
        nargs="+",
        action="extend",
        metavar="FILE.tif",
        help="GeoTIFFs to serve in place of the procedural landscape",
    )
    one.add_argument("--scale", type=int, choices=(2, 3, 4), default=4, help="default 4")
    one.add_argument("--train-minutes", type=float, default=2.0, metavar="M", help="default 2")
    one.add_argument("--output", default="srsat-demo", metavar="DIR", help="default srsat-demo")
    _add_cluster(one)

    one = command("sandbox", sandbox)
    one.add_argument("files", nargs="*", metavar="FILE.tif", help="default: a landscape")
    one.add_argument("--port", type=int, default=8717, help="default 8717; 0 takes any free one")
    one.add_argument("--token", help="Bearer token to ask for; default: none is asked for")
    one.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="of each answer")
    one.add_argument("--faults", metavar="FAULTS.yaml", help="what is to go wrong, and when")

    one = command("scenes", scenes)
    _add_bbox(one)
    _add_source(one)
    one.add_argument("--json", action="store_true", help="one JSON document on stdout")

    one = command("harvest", harvest)
    one.add_argument("store", metavar="STORE", help="mosaic store (.zarr) to make or go on with")
    which = one.add_mutually_exclusive_group()
    _add_bbox(which)
    which.add_argument("--scene", nargs="+", action="extend", metavar="ID", help="scenes by id")
    _add_source(one)
    one.add_argument(
        "--zoom",
        type=int,
        help="default 17: 0.97 m per pixel at 35.7° N; of a raster, that nearest to its pixels",
    )
    one.add_argument("--sample", type=int, metavar="N", help="draw N of the scenes")
    one.add_argument("--seed", type=int, default=0, help="of the draw; default 0")
    one.add_argument("--max-tiles", type=int, metavar="N", help="most tiles of a scene, central")
    one.add_argument(
        "--rate",
        type=float,
        default=50.0,
        metavar="R",
        help="most requests per second of the whole cluster; default 50, 0 for no limit",
    )
    one.add_argument(
        "--concurrency",
        type=int,
        default=64,
        metavar="N",
        help="most requests under way at once over the whole cluster; default 64",
    )
    one.add_argument("--dry-run", action="store_true", help="say what would be done")
    _add_cluster(one)

    one = command("status", status)
    one.add_argument("store", metavar="STORE")
    one.add_argument("--json", action="store_true", help="one JSON document on stdout")

    one = command("verify", verify)
    one.add_argument("store", metavar="STORE")
    one.add_argument("--repair", action="store_true", help="make torn shards pending again")
    one.add_argument("--json", action="store_true", help="one JSON document on stdout")

    one = command("train", train)
    one.add_argument("stores", nargs="+", metavar="STORE", help="mosaic stores or STORE/SCENE")
    one.add_argument("--model", required=True, metavar="OUT.keras", help="file to write")
    one.add_argument("--scale", type=int, default=4, help="2, 3 or 4; default 4")
    one.add_argument("--preset", default="default", help="default, paper or article")
    length = one.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=int, metavar="N", help="default: the preset's")
    length.add_argument("--minutes", type=float, metavar="M", help="train for so long instead")
    one.add_argument("--filters", type=_numbers, metavar="64,32", help="channels between layers")
    one.add_argument("--kernels", type=_numbers, metavar="9,1,5", help="kernel widths, HR pixels")
    one.add_argument("--seed", type=int, default=0, help="of split, patches, weights; default 0")
    _add_cluster(one)

    one = command("evaluate", evaluate)
    one.add_argument("inputs", nargs="+", metavar="INPUT", help="store, STORE/SCENE, raster or PNG")
    one.add_argument(
        "--model",
        help="a .keras file or a bundled model's name; default: the bundled srcnn-x4, or that of"
        " the scale, when this version has one",
    )
    one.add_argument("--scale", type=int, help="default: the model's, or 4")
    one.add_argument("--json", metavar="OUT.json", help="write the report as JSON")
    one.add_argument("--figure", metavar="OUT.png", help="draw original, low, bicubic and SRCNN")
    _add_engine(one)

    one = command("upscale", upscale)
    one.add_argument("input", metavar="INPUT", help="store, STORE/SCENE or raster")
    one.add_argument("output", metavar="OUTPUT", help="ends in .zarr or .tif")
    one.add_argument(
        "--model",
        default=MODEL,
        help="a .keras file or a bundled model's name; default: the bundled srcnn-x4, when this"
        " version has one",
    )
    _add_engine(one)
    one.add_argument("--dry-run", action="store_true", help="say what would be done")
    _add_allow_partial(one)
    _add_cluster(one)

    one = command("export", export)
    one.add_argument("store", metavar="STORE", help="store with one scene, or STORE/SCENE")
    one.add_argument("output", metavar="OUT.tif")
    _add_allow_partial(one)
    return parser


def _add_bbox(parser: Any) -> None:
    parser.add_argument(
        "--bbox",
        nargs=4,
        type=float,
        metavar=("W", "S", "E", "N"),
        help="box in degrees (EPSG:4326); rasters may do without",
    )


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source",
        default="tellus",
        help="tellus (default); traveler or traveler:DATASET; a raster or a folder of rasters; a"
        " service's name such as Esri.WorldImagery; or an XYZ template such as"
        " 'https://host/{z}/{x}/{-y}.png?key={token}#size=512&zooms=0-19&attribution=TEXT':"
        " {-y} counts rows from the south, {s} stands for a, b, c, {q} for the quadkey, {token}"
        " for what SRSAT_XYZ_TOKEN holds where tiles are fetched; after # follow tiles of 256 or"
        " 512 px, the service's levels and its credit",
    )


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cluster",
        default="local",
        metavar="PROFILE",
        help="local (default), threads, a scheduler address, or a YAML file",
    )


def _add_allow_partial(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--allow-partial",
        action="store_true",
        help="take scenes that are not harvested whole; what is missing stays missing",
    )


def _add_engine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--engine", default="auto", help="auto (default), openvino or keras computes the network"
    )


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a list of whole numbers such as 64,32"
        ) from None


def _iso(moment: Any) -> str | None:
    return moment.isoformat() if moment is not None else None


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _print_json(document: Any) -> None:
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def _print(renderable: Any) -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # no terminal to fit: cut nothing
    console.print(renderable)


if __name__ == "__main__":
    sys.exit(main())
