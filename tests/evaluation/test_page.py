"""The page holds the report's numbers and pictures, loads nothing and runs no foreign text."""

import base64
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from srsat_dask.errors import InputError
from srsat_dask.evaluation.gallery import SIDE
from srsat_dask.evaluation.report import Evaluation, Scores, evaluate
from srsat_dask.model.file import ModelFile

MakeModel = Callable[..., Any]

VOID = {"meta", "img", "input", "br"}


class Reader(HTMLParser):
    """Reads a page: what it loads, whether its elements are closed, and its texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(" ".join(data.split()))


@pytest.fixture
def tiles(tmp_path: Path, rng: np.random.Generator) -> Path:
    for name, count in {"<b>farm": 4, "water & rock": 2, "single": 1}.items():
        folder = tmp_path / "tiles" / name
        folder.mkdir(parents=True)
        for number in range(count):
            image = rng.integers(0, 40 * (number + 1), (150, 200, 3), dtype=np.uint8)
            Image.fromarray(image).save(folder / f"<i>{number}.png")
    return tmp_path / "tiles"


@pytest.fixture(scope="module")
def model(make_model: MakeModel) -> ModelFile:
    metadata = {
        "licence": "<script>alert(1)</script>",
        "training_data": [
            {"scene": "one", "fingerprint": "f" * 64, "lineage": {"attribution": "USGS & others"}},
            {
                "folder": "tiles",
                "split": {"images": {"training": 41, "validation": 0, "test": 7}},
                "images": {"training": "abcdef012345abcdef", "validation": "", "test": ""},
            },
        ],
        "recipe": {"preset": "default", "kernels": [5, 3], "rate": 0.001},
    }
    return ModelFile.open(make_model(4, filters=(4,), kernels=(5, 3), metadata=metadata))


def pictures(reader: Reader) -> dict[str, list[np.ndarray]]:
    """Decode the pictures of the examples by their kind."""
    found: dict[str, list[np.ndarray]] = {}
    for tag, attributes in reader.elements:
        if tag == "img" and "data-kind" in attributes:
            kind, data = attributes["data-kind"], str(attributes["src"]).partition("base64,")[2]
            with Image.open(io.BytesIO(base64.b64decode(data))) as image:
                assert image.format == "WEBP"
                found.setdefault(str(kind), []).append(np.asarray(image.convert("RGB")))
    return found


def test_page_is_whole_and_loads_nothing(tiles: Path, model: ModelFile, tmp_path: Path) -> None:
    """Elements are closed, no address leads outside, and texts stay texts."""
    report = evaluate(tiles, model, html=tmp_path / "page.html", progress=False)
    text = (tmp_path / "page.html").read_text()
    reader = Reader(text)
    assert not re.search(r"url\(|@import|https?://", text)
    names = {str(a["id"]) for _, a in reader.elements if "id" in a}
    for _, attributes in reader.elements:
        assert str(attributes.get("src", "data:")).startswith("data:")
        assert attributes.get("href", "#left") in {f"#{name}" for name in names}
    (policy,) = (a["content"] for tag, a in reader.elements if a.get("http-equiv"))
    assert "default-src 'none'" in str(policy)
    assert not {"b>farm", "script>alert(1)"} & {tag for tag, _ in reader.elements}
    assert sum(tag == "script" for tag, _ in reader.elements) == 1
    said = "\n".join(reader.texts)
    for name, scores in report.images.items():
        assert name in said
        assert f"{scores.psnr:.2f}" in said
    for wanted in (
        "USGS & others",
        "tiles (images: training 41, validation 0, test 7)",
        "<script>alert(1)</script>",
        model.sha256,
        "bicubic",
    ):
        assert wanted in said
    assert "abcdef012345" not in said, "digests are for programs"
    assert "ffffffff" not in said


def test_pictures_are_the_best_the_median_and_the_worst(
    tiles: Path, model: ModelFile, tmp_path: Path
) -> None:
    """They are parts of the images that they are said to be, in six versions each."""
    report = evaluate(tiles, model, progress=False)
    report.to_html(tmp_path / "page.html")
    reader = Reader((tmp_path / "page.html").read_text())
    shown = [a for tag, a in reader.elements if tag == "article"]
    assert len(shown) == 3 + 2 + 1
    farm = sorted(report.groups["<b>farm"].members, key=lambda name: -report.images[name].gain)
    assert [a["data-what"] for a in shown[:3]] == [farm[0], farm[2], farm[3]]

    found = pictures(reader)
    kinds = ("original", "low", "bicubic", "model", "bicubic error", "model error")
    assert {kind: len(found[kind]) for kind in kinds} == dict.fromkeys(kinds, 6)
    places = re.findall(r"row (\d+), column (\d+), (\d+) × (\d+) px", "\n".join(reader.texts))
    for example, original, low, (y, x, rows, columns) in zip(
        shown, found["original"], found["low"], np.array(places, int), strict=True
    ):
        with Image.open(tiles / str(example["data-what"])) as image:
            true = np.asarray(image)[y : y + rows, x : x + columns]
        assert original.shape == (SIDE, SIDE, 3)
        assert low.shape == (SIDE // 4, SIDE // 4, 3)
        grey = (pixels.mean(axis=2).ravel() for pixels in (true, original))
        assert np.corrcoef(*grey)[0, 1] > 0.6, "another part of the image"


def test_page_of_one_scene_shows_its_strata(
    tmp_path: Path, model: ModelFile, rng: np.random.Generator
) -> None:
    """Flat squares have no PSNR, which spoils neither bars nor pictures."""
    image = np.full((300, 400, 3), 90, np.uint8)
    image[:, 140:] = rng.integers(0, 255, (300, 260, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "scene.png")
    report = evaluate(tmp_path / "scene.png", model, html=tmp_path / "page.html", progress=False)
    text = (tmp_path / "page.html").read_text()
    said = "\n".join(Reader(text).texts)
    assert "in thirds by edge density" in said
    assert all(name in said for name in report.groups)
    assert not re.search(r"\b(?:nan|inf)\b", text.partition("<main>")[2].partition("<script>")[0])


def test_page_without_pictures(tmp_path: Path) -> None:
    """A report that was not just made has its numbers only; so has the table in Jupyter."""
    scores = Scores(20.0, float("inf"), 22.0, 23.0, 0.5, float("nan"))
    report = Evaluation(4, "<m>", {"<a>": scores})
    report.to_html(tmp_path / "page.html")
    reader = Reader((tmp_path / "page.html").read_text())
    assert not [tag for tag, _ in reader.elements if tag in {"img", "script"}]
    assert "∞" in reader.texts
    assert "&lt;a&gt;" in report._repr_html_()
    assert "<a>" not in report._repr_html_()
    with pytest.raises(InputError, match="nowhere is not a folder"):
        report.to_html(tmp_path / "nowhere" / "page.html")


def test_data_frame_has_a_row_per_image(tiles: Path, model: ModelFile) -> None:
    """With the class and the gain beside the scores."""
    pytest.importorskip("pandas")
    report = evaluate(tiles, model, progress=False)
    frame = report.to_dataframe()
    assert list(frame.index) == list(report.images)
    assert frame["psnr"].mean() == pytest.approx(report.mean.psnr)
    assert frame.groupby("class")["gain"].mean()["single"] == pytest.approx(
        report.groups["single"].mean.gain
    )
