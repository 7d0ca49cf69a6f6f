"""What several commands share: arguments, the cluster, words for people and for programs."""

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from srsat_dask.errors import InputError

DONE, RECORDED_FAILURES, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


@contextmanager
def on_cluster(profile: str, report: str | None = None) -> Iterator[None]:
    """Run the body on the cluster of a profile, with Dask's report of it in a file if asked for."""
    from srsat_dask.runtime.clusters import connect, reported

    with connect(profile) as client:
        say(f"dashboard {client.dashboard_link}")
        try:
            with reported(report):
                yield
        except KeyboardInterrupt:
            # Workers are stopped in the middle of their tasks: that they say so is of no use.
            logging.getLogger("distributed").setLevel(logging.CRITICAL)
            raise


def list_failures(failures: Sequence[Any]) -> int:
    """List the tiles that failed, and return the exit status that says so."""
    for failure in failures:
        say(f"failed: {failure.scene} {failure.zoom}/{failure.x}/{failure.y}: {failure.reason}")
    return RECORDED_FAILURES if failures else DONE


def search_scenes(options: argparse.Namespace) -> list[Any]:
    """Return the scenes that ``--source`` has in ``--bbox``; that there are none is an error."""
    from srsat_dask.harvesting.sources import search

    box = tuple(options.bbox) if options.bbox else None
    found = search(box, options.source)
    if not found:
        raise InputError(f"no scenes of {options.source} in the box {box}: widen it")
    return found


def add_bbox(parser: Any) -> None:
    """Add ``--bbox``."""
    parser.add_argument(
        "--bbox",
        nargs=4,
        type=float,
        metavar=("W", "S", "E", "N"),
        help="box in degrees (EPSG:4326); rasters may do without",
    )


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add ``--source``."""
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


def add_cluster(parser: argparse.ArgumentParser, default: str | None = "local") -> None:
    """Add ``--cluster``."""
    parser.add_argument(
        "--cluster",
        default=default,
        metavar="PROFILE",
        help="local (default), threads, a scheduler address, or a YAML file",
    )


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add ``--report``."""
    parser.add_argument(
        "--report",
        metavar="FILE.html",
        help="write Dask's performance report: task stream, profile, bandwidth",
    )


def add_allow_partial(parser: argparse.ArgumentParser) -> None:
    """Add ``--allow-partial``."""
    parser.add_argument(
        "--allow-partial",
        action="store_true",
        help="take scenes that are not harvested whole; what is missing stays missing",
    )


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add ``--engine``."""
    parser.add_argument(
        "--engine", default="auto", help="auto (default), openvino or keras computes the network"
    )


def numbers(text: str) -> tuple[int, ...]:
    """Parse whole numbers such as ``64,32``."""
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a list of whole numbers such as 64,32"
        ) from None


def fractions(text: str) -> tuple[float, float]:
    """Parse two fractions such as ``0.1,0.15``."""
    try:
        validation, test = (float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not two fractions such as 0.1,0.15"
        ) from None
    return validation, test


def iso(moment: Any) -> str | None:
    """Return a moment in ISO 8601, if there is one."""
    return moment.isoformat() if moment is not None else None


def say(line: str) -> None:
    """Tell a person a line, on stderr."""
    sys.stderr.write(f"{line}\n")


def print_json(document: Any) -> None:
    """Print a result for programs, on stdout."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def print_rich(renderable: Any) -> None:
    """Print a result for people, on stdout."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # no terminal to fit: cut nothing
    console.print(renderable)
