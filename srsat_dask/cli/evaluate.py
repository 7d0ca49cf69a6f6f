"""``srsat evaluate``: a model judged, bicubic beside it."""

import argparse

from srsat_dask.cli.common import DONE, add_engine, check_bundled, print_rich


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="store, STORE/SCENE, raster or PNG"
    )
    parser.add_argument(
        "--model",
        help="a .keras file or a bundled model's name; default: the bundled srcnn-x4, or that of"
        " the scale, when this version has one",
    )
    parser.add_argument("--scale", type=int, help="default: the model's, or 4")
    parser.add_argument(
        "--degradation",
        metavar="HOW",
        help="how images are made coarser, see srsat train; default: as the model's training did",
    )
    parser.add_argument("--json", metavar="OUT.json", help="write the report as JSON")
    parser.add_argument("--figure", metavar="OUT.png", help="draw original, low, bicubic and SRCNN")
    add_engine(parser)


def run(options: argparse.Namespace) -> int:
    """Judge a model on images, bicubic beside it."""
    from srsat_dask.evaluation.report import check_target
    from srsat_dask.evaluation.report import evaluate as judge

    if options.json:
        check_target(options.json)  # before minutes of work, not after
    if options.model is None:
        check_bundled(f"srcnn-x{options.scale or 4}", options.scale or 4)
    report = judge(
        options.inputs,
        options.model,
        scale=options.scale,
        degradation=options.degradation,
        figure=options.figure,
        engine=options.engine,
    )
    if options.json:
        report.to_json(options.json)
    print_rich(report.table())
    return DONE
