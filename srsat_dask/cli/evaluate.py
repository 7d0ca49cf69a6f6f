"""``srsat evaluate``: a model judged, bicubic beside it."""

import argparse
from contextlib import nullcontext

from srsat_dask.cli.common import DONE, add_engine, on_cluster, print_rich

CONVENTION = """\
How it is measured:
  Images are cropped to a multiple of the scale, degraded, upscaled, rounded to 8 bits and compared
  in red, green and blue. A border of SCALE pixels and missing pixels are left out, and of what the
  model was trained on, all but the held-out pixels. PSNR is of one image, then averaged ("mean"),
  and of all pixels of all images together ("pooled", as the article has it). Y is BT.601 luma, 16
  to 235 on a peak of 255. SSIM has a uniform window of 7 x 7. Consistency is the PSNR of the output
  degraded again, without noise, against what it was made from.
  Without --group, images are grouped by the folder or store they lie in; where all lie in one, the
  squares of 128 pixels that they consist of are, in thirds by edge density.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.epilog = CONVENTION
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="store, STORE/SCENE, raster, PNG, or a folder of PNGs and GeoTIFFs, searched with the"
        " folders in it",
    )
    parser.add_argument(
        "--model",
        help="a .keras file or a bundled model's name; default: the bundled srcnn-x4, or that of"
        " the scale",
    )
    parser.add_argument(
        "--scale",
        type=int,
        help="default: the model's, or 4; which one, of a model trained for several",
    )
    parser.add_argument(
        "--degradation",
        metavar="HOW",
        help="how images are made coarser, see srsat train; default: as the model's training did",
    )
    parser.add_argument(
        "--group",
        action="append",
        default=[],
        metavar="NAME=CLASS,CLASS",
        help="score classes or images together, such as urban=airplane,buildings or"
        " 'homes=*residential'; may be given again; or a YAML file of NAME: [CLASS, CLASS]",
    )
    parser.add_argument("--json", metavar="OUT.json", help="write the report as JSON")
    parser.add_argument("--html", metavar="OUT.html", help="write it as one page with pictures")
    parser.add_argument("--figure", metavar="OUT.png", help="draw original, low, bicubic and SRCNN")
    parser.add_argument(
        "--cluster",
        metavar="PROFILE",
        help="measure on a Dask cluster: local, threads, a scheduler address, or a YAML file;"
        " default: threads of this process",
    )
    add_engine(parser)


def run(options: argparse.Namespace) -> int:
    """Judge a model on images, bicubic beside it."""
    from srsat_dask.evaluation.report import check_target
    from srsat_dask.evaluation.report import evaluate as judge

    for target in (options.json, options.html, options.figure):
        if target:
            check_target(target)  # before minutes of work, not after
    with on_cluster(options.cluster) if options.cluster else nullcontext():
        report = judge(
            options.inputs,
            options.model,
            scale=options.scale,
            degradation=options.degradation,
            groups=options.group,
            figure=options.figure,
            html=options.html,
            engine=options.engine,
        )
    if options.json:
        report.to_json(options.json)
    print_rich(report.table())
    return DONE
