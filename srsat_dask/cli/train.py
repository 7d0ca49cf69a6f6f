"""``srsat train``: a model from mosaics and images."""

import argparse

from srsat_dask.cli.common import DONE, add_cluster, fractions, numbers, on_cluster, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="mosaic stores, STORE/SCENE, rasters, or folders of GeoTIFFs and PNGs",
    )
    parser.add_argument("--model", required=True, metavar="OUT.keras", help="file to write")
    parser.add_argument("--scale", type=int, default=4, help="2, 3 or 4; default 4")
    parser.add_argument("--preset", default="default", help="default, paper or article")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=int, metavar="N", help="default: the preset's")
    length.add_argument("--minutes", type=float, metavar="M", help="train for so long instead")
    parser.add_argument("--filters", type=numbers, metavar="64,32", help="channels between layers")
    parser.add_argument("--kernels", type=numbers, metavar="9,1,5", help="kernel widths, HR pixels")
    parser.add_argument(
        "--residual",
        action=argparse.BooleanOptionalAction,
        help="whether the network predicts what to add to bicubic; default: the preset's",
    )
    parser.add_argument(
        "--luminance",
        action=argparse.BooleanOptionalAction,
        help="whether it sees and corrects luma alone (BT.601), chroma being bicubic; likewise",
    )
    parser.add_argument(
        "--degradation",
        default="bicubic",
        metavar="HOW",
        help="how inputs are made: bicubic (default), area (mean), or mtf:0.25 (Gaussian blur of"
        " that MTF at the Nyquist frequency); +noise:2 after it adds sensor noise of so many"
        " digital numbers",
    )
    parser.add_argument(
        "--held-out",
        type=fractions,
        default=(0.1, 0.15),
        metavar="VALIDATION,TEST",
        help="shares of each scene's blocks that choose the best weights, and that training never"
        " looks at: 'srsat evaluate' judges by them; default 0.1,0.15",
    )
    parser.add_argument(
        "--weights",
        default="area",
        help="area (default): a scene counts by its pixels; even: each scene as much as another",
    )
    parser.add_argument("--seed", type=int, default=0, help="of split, patches, weights; default 0")
    kept = parser.add_argument_group("long runs")
    kept.add_argument(
        "--fresh", action="store_true", help="start over where OUT.checkpoint would go on"
    )
    kept.add_argument(
        "--checkpoint-minutes", type=float, default=5, metavar="M", help="between checkpoints; 5"
    )
    kept.add_argument(
        "--patience", type=int, metavar="EPOCHS", help="stop when validation got no better for"
    )
    kept.add_argument("--tensorboard", metavar="DIR", help="write TensorBoard event files there")
    add_cluster(parser)


def run(options: argparse.Namespace) -> int:
    """Train a model on mosaic stores, rasters and folders of images."""
    from srsat_dask.training import train as fit
    from srsat_dask.training.checkpoint import checkpoint_path

    if not options.fresh and checkpoint_path(options.model).exists():
        say(f"{checkpoint_path(options.model)} is there: going on from it")

    with on_cluster(options.cluster):
        fit(
            options.inputs,
            scale=options.scale,
            preset=options.preset,
            epochs=options.epochs,
            minutes=options.minutes,
            filters=options.filters,
            kernels=options.kernels,
            residual=options.residual,
            luminance=options.luminance,
            degradation=options.degradation,
            model_path=options.model,
            held_out=options.held_out,
            weights=options.weights,
            fresh=options.fresh,
            checkpoint_minutes=options.checkpoint_minutes,
            patience=options.patience,
            tensorboard=options.tensorboard,
            seed=options.seed,
        )
    say(f"{options.model} is written, with its history (JSON) and curve (PNG) beside it")
    return DONE
