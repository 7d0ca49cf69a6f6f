"""The models that ship with the package."""

from importlib import resources
from pathlib import Path

import pytest
import yaml

from srsat_dask.evaluation.report import evaluate
from srsat_dask.model.file import ModelFile, bundled_models

NAMES = ("srcnn-x2", "srcnn-x3", "srcnn-x4")


def test_three_models_ship_with_recipe_and_card() -> None:
    """Each is small, of the scale that it is named after, and made by the recipe beside it."""
    assert bundled_models() == NAMES
    folder = resources.files("srsat_dask.model") / "bundled"
    card = (folder / "README.md").read_text()
    for name in NAMES:
        file = ModelFile.open(name)
        recipe = yaml.safe_load((folder / f"{name}.yaml").read_text())
        made = file.spec.metadata
        assert len(file.data) < 200_000
        assert name == f"srcnn-x{file.spec.scale}" == f"srcnn-x{recipe['scale']}"
        assert made["recipe"]["augment"] == recipe["augment"]
        assert made["recipe"]["steps"] == recipe["epochs"] * made["recipe"]["steps_per_epoch"]
        assert f"`{name}`" in card


@pytest.mark.drill
@pytest.mark.imagery
@pytest.mark.parametrize(("name", "town", "tiles"), [(NAMES[0], 0.9, 1.9), (NAMES[2], 0.5, 1.0)])
def test_gain_over_bicubic_on_what_was_set_aside(
    name: str, town: float, tiles: float, imagery: Path
) -> None:
    """The card's gains, on images and blocks that training never looked at."""
    for path, least in [("banepa_z17.tif", town), ("ucmerced", tiles)]:
        mean = evaluate(imagery / path, name, progress=False).mean
        assert mean.psnr - mean.psnr_bicubic >= least
