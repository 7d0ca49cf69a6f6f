"""``srsat demo``: the whole pipeline against a server on this machine."""

import argparse

from srsat_dask.cli.common import add_cluster, add_report, list_failures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument(
        "--scene",
        nargs="+",
        action="extend",
        metavar="FILE.tif",
        help="GeoTIFFs to serve in place of the procedural landscape",
    )
    parser.add_argument("--scale", type=int, choices=(2, 3, 4), default=4, help="default 4")
    parser.add_argument("--train-minutes", type=float, default=2.0, metavar="M", help="default 2")
    parser.add_argument("--output", default="srsat-demo", metavar="DIR", help="default srsat-demo")
    add_cluster(parser)
    add_report(parser)


def run(options: argparse.Namespace) -> int:
    """Run the whole pipeline against the sandbox."""
    from srsat_dask.demo import run_demo

    failures = run_demo(
        options.output,
        scenes=options.scene or [],
        scale=options.scale,
        train_minutes=options.train_minutes,
        cluster=options.cluster,
        report=options.report,
    )
    return list_failures(failures)
