"""``srsat train``: a model from mosaics and images."""

import argparse
from collections.abc import Callable
from typing import Any

from srsat_dask.cli.common import (
    DONE,
    add_cluster,
    add_report,
    fractions,
    numbers,
    on_cluster,
    say,
)
from srsat_dask.errors import InputError
from srsat_dask.training.presets import AUGMENTATIONS, OPTIMIZERS, PRESETS

SETTINGS: tuple[tuple[str, str, Callable[[str], Any] | None, str], ...] = (
    ("batch", "batch", int, "patches per step"),
    ("patch", "size", int, "side of a patch in HR pixels"),
    ("validation-patch", "validation_size", int, "side of a validation patch"),
    ("validation-patches", "validation_patches", int, "most patches to validate on"),
    ("steps-per-epoch", "steps_per_epoch", int, "steps between two validations"),
    ("rate", "first_rate", float, "learning rate at the first step"),
    ("last-rate", "last_rate", float, "and at the last one; a cosine between"),
    ("optimizer", "optimizer", str, " or ".join(OPTIMIZERS)),
    ("momentum", "momentum", float, "of sgd"),
    ("last-layer-rate", "last_layer_rate", float, "the last layer's rate, a share of it; sgd"),
    ("summed-loss", "summed_loss", None, "rates are of the error summed over a patch; sgd"),
    ("initial-deviation", "initial_deviation", float, "of all first weights; else He's"),
    ("augment", "augment", str, " or ".join(AUGMENTATIONS)),
    ("contrast-stretch", "contrast_stretch", None, "the article's defect in its inputs"),
    ("pooled-psnr", "pooled_psnr", None, "PSNR of a batch's pooled error, as the article's"),
)
"""Options that change a preset, its fields, how they are read (None: a flag) and what they are."""

NETWORK = ("filters", "kernels", "residual", "luminance")
"""Fields of a preset that are arguments of `train` by themselves."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="mosaic stores, STORE/SCENE, rasters, or folders of GeoTIFFs and PNGs",
    )
    parser.add_argument("--model", metavar="OUT.keras", help="file to write")
    parser.add_argument(
        "--recipe",
        metavar="RECIPE.yaml",
        help="take options from a file, such as 'steps-per-epoch: 200', and inputs too, relative"
        " to it; what is given here wins",
    )
    parser.add_argument("--scale", type=int, help="2, 3 or 4; default 4")
    parser.add_argument("--preset", help=f"{', '.join(PRESETS)}: see below; default default")
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
        "--init",
        metavar="MODEL",
        help="start from the weights of a model of the same layers; its scale may be another",
    )
    parser.add_argument(
        "--degradation",
        metavar="HOW",
        help="how inputs are made: bicubic (default), area (mean), or mtf:0.25 (Gaussian blur of"
        " that MTF at the Nyquist frequency); +noise:2 after it adds sensor noise of so many"
        " digital numbers",
    )
    parser.add_argument(
        "--held-out",
        type=fractions,
        metavar="VALIDATION,TEST",
        help="shares of each scene's blocks that choose the best weights, and that training never"
        " looks at: 'srsat evaluate' judges by them; default 0.1,0.15",
    )
    parser.add_argument(
        "--weights",
        help="area (default): a scene counts by its pixels; even: each scene as much as another",
    )
    parser.add_argument(
        "--ranks",
        type=int,
        metavar="N",
        help="learn in so many processes beside the Dask workers, each from its share of a batch,"
        " to the same result; default 1, in this process",
    )
    parser.add_argument("--seed", type=int, help="of split, patches, weights; default 0")
    changed = parser.add_argument_group("preset settings")
    for option, field, read, text in SETTINGS:
        if read is None:
            changed.add_argument(
                f"--{option}", dest=field, action=argparse.BooleanOptionalAction, help=text
            )
        else:
            changed.add_argument(f"--{option}", dest=field, type=read, metavar="N", help=text)
    kept = parser.add_argument_group("long runs")
    kept.add_argument(
        "--fresh",
        action="store_true",
        default=None,
        help="start over where OUT.checkpoint would go on",
    )
    kept.add_argument(
        "--checkpoint-minutes", type=float, metavar="M", help="between checkpoints; default 5"
    )
    kept.add_argument(
        "--patience", type=int, metavar="EPOCHS", help="stop when validation got no better for"
    )
    kept.add_argument("--tensorboard", metavar="DIR", help="write TensorBoard event files there")
    add_cluster(parser, None)  # a recipe may name it
    add_report(parser)
    parser.epilog = preset_table()
    parser.set_defaults(actions=tuple(parser._actions))


def preset_table() -> str:
    """Return every number of every preset, by option."""
    rows = [
        ("preset", *PRESETS),
        *(
            (f"--{option}", *(_text(getattr(preset, field)) for preset in PRESETS.values()))
            for option, field in [
                ("epochs", "epochs"),
                *((name, name) for name in NETWORK),
                *((option, field) for option, field, _, _ in SETTINGS),
            ]
        ),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def run(options: argparse.Namespace) -> int:
    """Train a model on mosaic stores, rasters and folders of images."""
    from srsat_dask.training import train as fit
    from srsat_dask.training.checkpoint import checkpoint_path

    cluster, arguments = gathered(options)
    path = arguments["model_path"]
    if not arguments.get("fresh") and checkpoint_path(path).exists():
        say(f"{checkpoint_path(path)} is there: going on from it")
    with on_cluster(cluster, options.report):
        fit(arguments.pop("inputs"), **arguments)
    say(f"{path} is written, with its history (JSON) and curve (PNG) beside it")
    return DONE


def gathered(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Return the cluster, and the arguments of `train`, from command line and recipe.

    Raises
    ------
    InputError
        Neither names an input or the model, or the recipe cannot be used.
    """
    actions = {
        action.dest: action
        for action in options.actions
        if action.option_strings and action.dest not in ("help", "recipe", "report")
    }
    given = {
        name: value
        for name, value in vars(options).items()
        if (name in actions or name == "inputs") and value not in (None, [])
    }
    values = given
    recipe_file = None
    if options.recipe is not None:
        recipe_file, found = _recipe(options.recipe, actions)
        if "minutes" in given or "epochs" in given:
            found = {key: v for key, v in found.items() if key not in ("minutes", "epochs")}
        values = {**found, **given}
    for name, remedy in (("inputs", "INPUT"), ("model", "--model OUT.keras")):
        if name not in values:
            raise InputError(f"{remedy} is missing: give it, or '{name}' in a recipe")
    fields = {field for _, field, _, _ in SETTINGS}
    arguments = {name: v for name, v in values.items() if name not in (*fields, "cluster", "model")}
    return values.get("cluster", "local"), {
        **arguments,
        "model_path": values["model"],
        "settings": {name: value for name, value in values.items() if name in fields},
        "recipe_file": recipe_file,
    }


def _recipe(
    path: str, actions: dict[str, argparse.Action]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a recipe says, as it stands, and its values as the options would give them."""
    from srsat_dask.training.recipe import read_recipe

    names = {
        action.option_strings[0].lstrip("-").replace("-", "_"): dest
        for dest, action in actions.items()
    }
    document, values = read_recipe(path, ["inputs", *names])
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name == "inputs":
            found[name] = value if isinstance(value, list) else [value]
            continue
        action = actions[names[name]]
        flag = action.nargs == 0
        if flag != isinstance(value, bool):
            kind = "true or false" if flag else "a value"
            raise InputError(f"recipe {path}: {name} {value!r} must be {kind}")
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        try:
            read = action.type if callable(action.type) else str
            found[action.dest] = value if flag else read(text)
        except (ValueError, argparse.ArgumentTypeError) as error:
            raise InputError(f"recipe {path}: {name} {value!r} cannot be used: {error}") from error
    return document, found


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
