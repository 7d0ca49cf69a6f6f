"""Recipes: what a file says, what the command line says, and which of them wins."""

import argparse

import pytest

from srsat_dask.cli import train as command
from srsat_dask.errors import InputError

RECIPE = """
inputs: [images, town.tif]
model: out/town.keras
scale: 2
epochs: 60
steps-per-epoch: 200
rate: 1e-4
filters: [16, 8]
kernels: 5,1,3
residual: false
held-out: [0.1, 0.2]
optimizer: sgd
cluster: threads
"""


def gathered(*words):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.gathered(parser.parse_args(list(map(str, words))))


@pytest.fixture
def recipe(tmp_path):
    """Write a recipe beside a folder of images."""
    (tmp_path / "images").mkdir()
    path = tmp_path / "town.yaml"
    path.write_text(RECIPE)
    return path


def test_a_recipe_holds_any_option(recipe):
    """Every key comes as its option would give it, paths relative to the file."""
    cluster, arguments = gathered("--recipe", recipe)
    assert cluster == "threads"
    assert arguments["inputs"] == [str(recipe.parent / name) for name in ("images", "town.tif")]
    assert arguments["model_path"] == str(recipe.parent / "out/town.keras")
    assert (arguments["scale"], arguments["epochs"]) == (2, 60)
    assert (arguments["filters"], arguments["kernels"]) == ((16, 8), (5, 1, 3))
    assert arguments["residual"] is False
    assert arguments["held_out"] == (0.1, 0.2)
    assert arguments["settings"] == {
        "steps_per_epoch": 200,
        "first_rate": 1e-4,
        "optimizer": "sgd",
    }
    assert arguments["recipe_file"]["steps-per-epoch"] == 200


def test_the_command_line_wins(recipe):
    """Inputs, values, flags and the length given there replace the recipe's."""
    _, arguments = gathered(
        *("other.tif", "--recipe", recipe, "--minutes", 3, "--residual", "--rate", 0.5)
    )
    assert arguments["inputs"] == ["other.tif"]
    assert arguments["minutes"] == 3
    assert "epochs" not in arguments
    assert arguments["residual"] is True
    assert arguments["settings"]["first_rate"] == 0.5
    assert arguments["scale"] == 2


def test_without_a_recipe_the_defaults_are_those_of_train():
    """Nothing is passed on that was not given."""
    cluster, arguments = gathered("a.zarr", "--model", "m.keras")
    assert cluster == "local"
    assert arguments == {
        "inputs": ["a.zarr"],
        "model_path": "m.keras",
        "settings": {},
        "recipe_file": None,
    }


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("scales: 4", "'scales' is unknown: did you mean 'scale'"),
        ("xyz: 4", "'xyz' is unknown: choose of inputs, model"),
        ("recipe: other.yaml", "'recipe' is unknown"),
        ("scale: four", "scale 'four' cannot be used"),
        ("residual: 1", "residual 1 must be true or false"),
        ("scale: true", "scale True must be a value"),
        ("filters: [a, b]", "filters .* is not a list of whole"),
        ("inputs: [3]", "3 is no path"),
        ("- scale", "must be a mapping"),
        ("scale: [", "cannot be read"),
    ],
)
def test_a_recipe_that_cannot_be_used_is_refused(tmp_path, text, match):
    """The message names the file, the key and what would do."""
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=match):
        gathered("x.tif", "--model", "m.keras", "--recipe", path)


def test_what_is_missing_is_named(tmp_path):
    """An input and the model must come from somewhere; a recipe that is not there is told."""
    with pytest.raises(InputError, match="INPUT is missing"):
        gathered("--model", "m.keras")
    with pytest.raises(InputError, match=r"--model OUT\.keras is missing"):
        gathered("a.zarr")
    with pytest.raises(InputError, match=r"none\.yaml cannot be read"):
        gathered("--recipe", tmp_path / "none.yaml")
