"""``srsat sweep``: which network and which settings are worth their while."""

import argparse

from srsat_dask.cli.common import DONE, add_cluster, on_cluster, print_rich, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument(
        "grid",
        metavar="GRID.yaml",
        help="alternatives by setting, such as 'filters: [[64, 32], [32, 16]]' and 'scale: [2, 4]':"
        " filters, kernels, residual, luminance, scale, preset, degradation, seed, or a field of a"
        " preset such as batch",
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="as of 'srsat train'")
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="for models, sweep.json and sweep.png"
    )
    parser.add_argument(
        "--epochs", type=int, default=8, metavar="N", help="of those never stopped; default 8"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, metavar="N", help="after each, half of them stop; 3"
    )
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="of each training; default 1"
    )
    add_cluster(parser)


def run(options: argparse.Namespace) -> int:
    """Train the combinations of a grid beside one another, and compare them."""
    from srsat_dask.training.sweep import sweep

    with on_cluster(options.cluster):
        found = sweep(
            options.grid,
            options.inputs,
            options.output,
            epochs=options.epochs,
            rounds=options.rounds,
            threads=options.threads,
        )
    print_rich(found.table())
    say(f"{options.output}/sweep.json and sweep.png say the same; the models lie beside them")
    return DONE
