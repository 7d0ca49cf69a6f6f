"""Folders are classes, users name groups, and scenes without either are cut into strata."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from srsat_dask.errors import InputError, RasterError
from srsat_dask.evaluation.groups import read_groups
from srsat_dask.evaluation.metrics import decibel
from srsat_dask.evaluation.report import Evaluation, evaluate
from srsat_dask.model.file import ModelFile
from srsat_dask.runtime.clusters import connect

MakeModel = Callable[..., Any]

CLASSES = {"forest": 3, "harbor": 2, "runway": 1}


@pytest.fixture(scope="module")
def model(make_model: MakeModel) -> ModelFile:
    return ModelFile.open(make_model(4, filters=(4,), kernels=(5, 3)))


@pytest.fixture
def tiles(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Write small images of a few sizes, by class, and what is no image beside them."""
    for name, count in CLASSES.items():
        folder = tmp_path / "tiles" / name
        folder.mkdir(parents=True)
        for number in range(count):
            size = (64 + 3 * number, 72, 3)
            image = rng.integers(0, 60 * (number + 1), size, dtype=np.uint8)
            Image.fromarray(image).save(folder / f"{name}{number:02}.png")
        (folder / "readme.txt").write_text("no image")
        (folder / ".hidden.png").write_text("no image")
    return tmp_path / "tiles"


def test_folders_are_classes(tiles: Path, model: ModelFile) -> None:
    """Each image once, named by its path; a class is the mean and the pool of its images."""
    report = evaluate(tiles, model, progress=False)
    names = [f"{c}/{c}{number:02}.png" for c, count in CLASSES.items() for number in range(count)]
    assert list(report.images) == names
    assert {name: group.count for name, group in report.groups.items()} == CLASSES
    assert report.classes == report.groups
    for name, group in report.groups.items():
        assert group.kind == "class"
        alone = evaluate(tiles / name, model, progress=False)
        assert group.mean == alone.mean
        assert group.pooled == alone.pooled
    of_image = {image["name"]: image["class"] for image in report.as_dict()["images"]}
    assert of_image == {name: name.partition("/")[0] for name in names}


def test_pooled_is_of_all_pixels_together(tiles: Path, model: ModelFile) -> None:
    """The PSNR of the mean of the mean squared errors, each weighted by its image's pixels."""
    report = evaluate(tiles, model, progress=False)
    squares = pixels = 0.0
    for path, scores in zip(sorted(tiles.rglob("[a-z]*.png")), report.images.values(), strict=True):
        with Image.open(path) as image:
            width, height = (side // 4 * 4 - 8 for side in image.size)
        squares += 255**2 / 10 ** (scores.psnr / 10) * width * height * 3
        pixels += width * height * 3
    assert report.pooled is not None
    assert report.pooled.psnr == pytest.approx(decibel(squares, int(pixels)), abs=1e-6)
    assert report.pooled.psnr < report.mean.psnr, "the mean of unlike images is the higher one"


def test_groups_that_the_user_names(tiles: Path, model: ModelFile, tmp_path: Path) -> None:
    """By class, pattern or image; images outside of them count in the means only."""
    given = ["water=harbor", "flat=run*,forest/forest00.png"]
    report = evaluate(tiles, model, groups=given, progress=False)
    assert {name: group.members for name, group in report.groups.items()} == {
        "water": ("harbor/harbor00.png", "harbor/harbor01.png"),
        "flat": ("forest/forest00.png", "runway/runway00.png"),
    }
    assert report.groups["water"].mean == report.classes["harbor"].mean
    assert len(report.images) == sum(CLASSES.values())

    listed = tmp_path / "groups.yaml"
    listed.write_text("water: [harbor]\nflat: ['run*', forest/forest00.png]\n")
    assert read_groups([listed]) == read_groups(given)
    assert read_groups({"water": ["harbor"]}) == read_groups("water=harbor")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["urban"], "neither NAME=CLASS,CLASS nor a YAML file"),
        (["urban="], "has no name, no members"),
        (["=harbor"], "has no name, no members"),
        (["a=harbor", "a=runway"], "another's name"),
        (["a=harbour"], "'harbour' of group a is neither a class .* forest, harbor, runway"),
        ({"a": "harbor"}, "group a holds 'harbor': give a list"),
        ({"a": []}, "give a list"),
    ],
)
def test_groups_that_cannot_be(tiles: Path, model: ModelFile, given: Any, said: str) -> None:
    """Each mistake is named before anything is computed."""
    with pytest.raises(InputError, match=said):
        evaluate(tiles, model, groups=given, progress=False)


@pytest.mark.parametrize("text", ["- harbor\n", "a: harbor\n", "a: [\n", "a: []\n"])
def test_yaml_that_is_no_groups(tmp_path: Path, text: str) -> None:
    """The file or the group is named."""
    (tmp_path / "g.yaml").write_text(text)
    with pytest.raises(InputError, match=r"g\.yaml is not|group a holds"):
        read_groups(tmp_path / "g.yaml")


def test_scene_is_cut_into_strata(tmp_path: Path, model: ModelFile) -> None:
    """Thirds of its squares by edges; together they are the whole scene."""
    rng = np.random.default_rng(2)
    amplitude = np.kron(rng.permutation(18).reshape(3, 6) * 12 + 5, np.ones((128, 128), int))
    image = rng.integers(0, amplitude[..., None], (*amplitude.shape, 3)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "scene.png")
    report = evaluate(tmp_path / "scene.png", model, progress=False)
    groups = report.groups
    assert {name: group.count for name, group in groups.items()} == {
        "smooth": 6,
        "middle": 6,
        "busy": 6,
    }
    psnr = [group.pooled.psnr_bicubic for group in groups.values()]
    assert psnr == sorted(psnr, reverse=True)
    edges = [edge for group in groups.values() for edge in group.edges or ()]
    assert edges == sorted(edges)
    assert report.classes == {}
    # Cut into squares or not, the sums are those of the scene.
    whole = evaluate(tmp_path / "scene.png", model, groups={"all": ["*"]}, progress=False)
    for name, value in vars(whole.mean).items():
        assert getattr(report.mean, name) == pytest.approx(value, abs=1e-9)


def test_workers_change_no_score(tiles: Path, model: ModelFile) -> None:
    """On threads of a cluster and without a cluster the scores are equal to the last bit."""
    alone = evaluate(tiles, model, progress=False).as_dict()
    with connect("threads"):
        assert evaluate(tiles, model, progress=False).as_dict() == alone


@pytest.mark.drill
def test_processes_change_no_score(tiles: Path, model: ModelFile) -> None:
    """Worker processes judge as this one does."""
    alone = evaluate(tiles, model, progress=False).as_dict()
    with connect("local"):
        assert evaluate(tiles, model, progress=False).as_dict() == alone


def test_folder_without_images_is_refused(tmp_path: Path, model: ModelFile) -> None:
    """So is one with an image that cannot be used: nothing is passed over in silence."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty is a folder with no image in it"):
        evaluate(tmp_path / "empty", model, progress=False)
    Image.new("L", (80, 80)).save(tmp_path / "empty" / "grey.png")
    with pytest.raises(RasterError, match=r"grey\.png has 1 band"):
        evaluate(tmp_path / "empty", model, progress=False)


def test_images_trained_on_whole_are_left_out(
    tiles: Path, model: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are listed, and no score hangs on them; if all were, there is no report."""
    seen = {"forest00"}

    def mask(scene: Any, _file: ModelFile) -> Any:
        return lambda window: np.full(window.shape, Path(scene.path).stem not in seen)

    monkeypatch.setattr("srsat_dask.evaluation.images.held_out_mask", mask)
    report: Evaluation = evaluate(tiles, model, progress=False)
    assert report.left_out == ("forest/forest00.png",)
    assert "forest/forest00.png" not in report.images
    assert report.groups["forest"].count == CLASSES["forest"] - 1
    assert report.as_dict()["left_out"] == ["forest/forest00.png"]
    seen |= {path.stem for path in tiles.rglob("*.png")}
    with pytest.raises(InputError, match="no pixel to judge by: all are missing, trained on"):
        evaluate(tiles, model, progress=False)
