"""Scores are those of the whole image at once, by Pillow and scikit-image."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from scipy.ndimage import binary_erosion
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from srsat_dask.errors import InputError, ModelError
from srsat_dask.evaluation.degraded import DegradedScene
from srsat_dask.evaluation.report import Evaluation, Scores, evaluate
from srsat_dask.model.degradation import Degradation
from srsat_dask.model.engines import get_upscaler
from srsat_dask.model.file import ModelFile, save_model
from srsat_dask.model.inference import bicubic_image, upscale_image
from srsat_dask.mosaic.inputs import MosaicScene
from srsat_dask.mosaic.ledger import write_shard
from srsat_dask.mosaic.split import Part, Shares, split_scene
from srsat_dask.mosaic.windows import Window
from srsat_dask.training import record

MakeScene = Callable[..., MosaicScene]
MakeModel = Callable[..., Any]

SMALL = {"filters": (4,), "kernels": (5, 3)}

KEYS = {"psnr_bicubic", "psnr", "psnr_y_bicubic", "psnr_y", "ssim_bicubic", "ssim"}

ADDED = {
    *("consistency_bicubic", "consistency"),
    *("consistency_rmse_bicubic", "consistency_rmse"),
}


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return (y, x, 3) of sharp-edged rectangles and noise."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 96, np.uint8)
    for _ in range(height * width // 400):
        y, x = rng.integers(height), rng.integers(width)
        dy, dx = rng.integers(3, 40, size=2)
        image[y : y + dy, x : x + dx] = rng.integers(20, 236, size=3)
    return image + rng.integers(0, 16, image.shape, dtype=np.uint8)


def save(path: Path, image: np.ndarray) -> Path:
    Image.fromarray(image).save(path)
    return path


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize by Pillow's bicubic in mode F, to 8 bits."""
    bands = [
        np.asarray(
            Image.fromarray(image[..., band].astype(np.float32)).resize(
                (width, height), Image.Resampling.BICUBIC
            )
        )
        for band in range(3)
    ]
    return np.clip(np.rint(np.stack(bands, axis=2)), 0, 255).astype(np.uint8)


def judged(true: np.ndarray, other: np.ndarray, border: int) -> tuple[float, ...]:
    """Return PSNR, PSNR of Y, SSIM and consistency of whole images with a border cut off."""
    low, again = (
        resized(image, image.shape[0] // border, image.shape[1] // border)[1:-1, 1:-1]
        for image in (true, other)
    )
    rmse = float(np.sqrt(((low.astype(float) - again) ** 2).mean()))
    inside = (slice(border, -border), slice(border, -border))
    true, other = true[inside], other[inside]
    luma = (rgb2ycbcr(image)[..., 0] / 255 for image in (true, other))
    return (
        peak_signal_noise_ratio(true / 255, other / 255, data_range=1),
        peak_signal_noise_ratio(*luma, data_range=1),
        structural_similarity(true, other, channel_axis=2, data_range=255),
        20 * np.log10(255 / rmse),
        rmse,
    )


def cropped(image: np.ndarray, scale: int) -> np.ndarray:
    height, width = (side // scale * scale for side in image.shape[:2])
    return image[:height, :width]


def whole(image: np.ndarray, file: ModelFile) -> Scores:
    """Judge by whole images in memory."""
    scale = file.spec.scale
    true = cropped(image, scale)
    height, width = true.shape[:2]
    low = resized(true, height // scale, width // scale)
    bicubic = judged(true, resized(low, height, width), scale)
    model = judged(true, upscale_image(low, get_upscaler(file)), scale)
    return Scores(*(score for both in zip(bicubic, model, strict=True) for score in both))


def assert_same(scores: Scores, expected: Scores) -> None:
    for name in KEYS | ADDED:
        tolerance = 1e-6 if "ssim" in name else 1e-4
        assert getattr(scores, name) == pytest.approx(getattr(expected, name), abs=tolerance), name


@pytest.mark.parametrize(
    ("scale", "size"), [(2, (613, 517)), (3, (530, 1033)), (4, (1031, 519)), (4, (67, 90))]
)
def test_scores_equal_those_of_the_whole_image(
    tmp_path: Path, make_model: MakeModel, scale: int, size: tuple[int, int]
) -> None:
    """Windows, and sizes that are no multiple of the scale, leave no trace in the sums."""
    image = picture(*size, seed=scale)
    file = ModelFile.open(make_model(scale, **SMALL))
    report = evaluate(save(tmp_path / "p.png", image), file, progress=False)
    expected = whole(image, file)
    assert_same(report.images["p"], expected)
    assert_same(report.mean, expected)
    assert abs(expected.psnr - expected.psnr_bicubic) > 0.1, "the model is not bicubic"


@pytest.mark.imagery
def test_scores_of_real_imagery(imagery: Path, make_model: MakeModel, tmp_path: Path) -> None:
    """The network of the article, on an orthophoto of two windows."""
    with Image.open(imagery / "banepa_z17.tif") as orthophoto:
        image = np.asarray(orthophoto.convert("RGB"))[:390, :610]
    file = ModelFile.open(make_model(4))
    report = evaluate(save(tmp_path / "p.png", image), file, progress=False)
    assert_same(report.mean, whole(image, file))


@pytest.mark.imagery
def test_scores_of_real_tiles(imagery: Path, make_model: MakeModel) -> None:
    """Folders of whole tiles, sides that are no multiple of 4 among them; one class is judged."""
    file = ModelFile.open(make_model(4, filters=(8, 4)))
    folder = imagery / "ucmerced" / "airplane"
    report = evaluate(
        [folder, imagery / "ucmerced" / "river" / "river00.png"], file, progress=False
    )
    tiles = sorted(folder.glob("*.png"))
    chosen = sorted(tiles, key=lambda path: (png_size(path), path.name))[:2] + tiles[:2]
    for path in chosen:
        with Image.open(path) as tile:
            assert_same(report.images[path.name], whole(np.asarray(tile), file))
    assert report.groups["airplane"].count == len(tiles)
    bicubic = [scores.psnr_bicubic for scores in report.images.values()]
    assert report.mean.psnr_bicubic == pytest.approx(np.mean(bicubic))


def png_size(path: Path) -> int:
    with Image.open(path) as tile:
        return tile.width * tile.height


def test_images_weigh_the_same_in_the_mean(tmp_path: Path, make_model: MakeModel) -> None:
    """A large image counts as much as a small one; images of one name keep apart."""
    file = ModelFile.open(make_model(2, **SMALL))
    (tmp_path / "other").mkdir()
    images = {
        tmp_path / "a.png": picture(200, 300, 1),
        tmp_path / "b.png": picture(60, 70, 2),
        tmp_path / "other" / "a.png": picture(64, 64, 3),
        tmp_path / "a (2).png": picture(50, 64, 4),
    }
    report = evaluate([save(path, image) for path, image in images.items()], file, progress=False)
    assert list(report.images) == ["a", "b", "a (2)", "a (2) (2)"]
    each = [whole(image, file) for image in images.values()]
    for scores, expected in zip(report.images.values(), each, strict=True):
        assert_same(scores, expected)
    assert report.mean.psnr == pytest.approx(np.mean([scores.psnr for scores in each]), abs=1e-4)
    assert report.mean.ssim == pytest.approx(np.mean([scores.ssim for scores in each]), abs=1e-6)


def holed(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return a mask with single pixels, a block and a corner missing."""
    valid = rng.random((height, width)) > 0.0002
    valid[200:333, 410:600] = False
    rows, columns = np.mgrid[:height, :width]
    return valid & (rows + columns > 300)


def test_missing_pixels_never_count(
    make_scene: MakeScene, make_model: MakeModel, rng: np.random.Generator
) -> None:
    """Pixels count whose whole LR pixel is there; other bytes under the mask change nothing."""
    scale, height, width = 4, 768, 1024
    image = picture(height, width).transpose(2, 0, 1)
    valid = holed(rng, height, width)
    file = ModelFile.open(make_model(scale, **SMALL))
    one = make_scene("one", image=image, valid=valid)
    report = evaluate(f"{one.store}/one", file, progress=False)

    for _, window in one.shards():  # the same mask over other bytes
        pixels = np.where(valid, image, 255 - image)[:, *window.slices]
        write_shard(one, window, pixels, valid[window.slices].astype(np.uint8))
    again = evaluate(f"{one.store}/one", file, progress=False)
    assert again.images == report.images

    blocks = valid.reshape(height // scale, scale, width // scale, scale).all(axis=(1, 3))
    counted = blocks.repeat(scale, axis=0).repeat(scale, axis=1)
    counted[:scale] = counted[-scale:] = False
    counted[:, :scale] = counted[:, -scale:] = False
    assert 0.5 < counted.mean() < 0.95
    # Whole images again; what fills holes before degrading is tested in test_degraded.
    low, low_valid = DegradedScene(one, scale).read(Window(0, height // scale, 0, width // scale))
    np.testing.assert_array_equal(low_valid, blocks)
    other = upscale_image(low.transpose(1, 2, 0), get_upscaler(file), blocks)
    true = image.transpose(1, 2, 0)
    psnr = peak_signal_noise_ratio(true[counted] / 255, other[counted] / 255, data_range=1)
    assert report.mean.psnr == pytest.approx(psnr, abs=1e-4)
    _, ssim = structural_similarity(true, other, channel_axis=2, data_range=255, full=True)
    whole_windows = binary_erosion(counted, np.ones((7, 7)))
    assert report.mean.ssim == pytest.approx(ssim.mean(axis=2)[whole_windows].mean(), abs=1e-6)


def test_images_are_degraded_as_the_model_records(tmp_path: Path, make_model: MakeModel) -> None:
    """The model's record decides, an argument overrides it, and the report names it."""
    path = save(tmp_path / "p.png", picture(64, 64))
    blurred = Degradation("mtf", 0.1, noise=8.0)
    model = make_model(4, **SMALL, metadata={"degradation": blurred.record()})
    recorded = evaluate(path, model, progress=False)
    given = evaluate(path, model, degradation="bicubic", progress=False)
    assert recorded.degradation == blurred
    assert recorded.as_dict()["degradation"] == "mtf:0.1+noise:8"
    assert given.as_dict()["degradation"] == "bicubic"
    image = picture(64, 64)
    inner = np.s_[4:-4, 4:-4]
    for report, how in ((recorded, blurred), (given, Degradation())):
        bicubic = bicubic_image(how.apply(image, 4), 4)
        psnr = peak_signal_noise_ratio(image[inner] / 255, bicubic[inner] / 255, data_range=1)
        assert report.mean.psnr_bicubic == pytest.approx(psnr, abs=1e-4)
    with pytest.raises(InputError, match="degradation 'sharp' is unknown"):
        evaluate(path, model, degradation="sharp", progress=False)


def test_bicubic_is_not_judged_by_what_fills_a_hole(
    make_scene: MakeScene, make_model: MakeModel
) -> None:
    """An even grey with a hole is upscaled without fault by bicubic, as by no dark fringe."""
    valid = np.ones((256, 256), bool)
    valid[100:140, 70:201] = False
    scene = make_scene(rows=1, columns=1, image=np.full((3, 256, 256), 180, np.uint8), valid=valid)
    report = evaluate(scene.store, make_model(4, **SMALL), progress=False)
    assert report.mean.psnr_bicubic == math.inf
    assert report.mean.ssim_bicubic == pytest.approx(1)


def of_part(image: np.ndarray, file: ModelFile, rows: slice, columns: slice) -> tuple[float, ...]:
    """Return PSNR of the model and of bicubic over a part of a whole image."""
    scale = file.spec.scale
    low = resized(image, image.shape[0] // scale, image.shape[1] // scale)
    counted = np.zeros(image.shape[:2], bool)
    counted[scale:-scale, scale:-scale] = True
    at = np.zeros_like(counted)
    at[rows, columns] = True
    counted &= at
    return tuple(
        peak_signal_noise_ratio(image[counted] / 255, other[counted] / 255, data_range=1)
        for other in (upscale_image(low, get_upscaler(file)), resized(low, *image.shape[:2]))
    )


def trained_on(make_model: MakeModel, *scenes: MosaicScene, seed: int = 3) -> ModelFile:
    """Return a model whose file says that it was trained on scenes."""
    data = record.training_data(
        [
            record.TrainingInput(((scene, split_scene(scene, Shares(seed=seed))),))
            for scene in scenes
        ]
    )
    return ModelFile.open(make_model(2, metadata={"training_data": data}, **SMALL))


def test_scene_trained_on_is_judged_on_held_out_blocks(
    make_scene: MakeScene, make_model: MakeModel
) -> None:
    """Pixels outside of the blocks change no score; another scene is judged whole."""
    one, other = make_scene("one", 2, 3), make_scene("other", 2, 3, seed=1)
    file = trained_on(make_model, one)
    report = evaluate(one.store, file, progress=False)
    assert report.held_out == ("one",)
    held = {i["name"]: i["held_out_only"] for i in report.as_dict()["images"]}
    assert held == {"one": True, "other": False}
    assert (
        report.images["other"]
        == evaluate(f"{other.store}/other", make_model(2, **SMALL), progress=False).images["other"]
    )

    (tile,) = np.argwhere(split_scene(one, Shares(seed=3)).parts == Part.TEST)
    y, x = (int(v) * 256 for v in tile)
    image, _ = one.read(Window(0, 512, 0, 768))
    scores = of_part(image.transpose(1, 2, 0), file, slice(y, y + 256), slice(x, x + 256))
    assert report.images["one"].psnr == pytest.approx(scores[0], abs=1e-4)
    assert report.images["one"].psnr_bicubic == pytest.approx(scores[1], abs=1e-4)


def test_renamed_copy_of_a_scene_trained_on_is_still_known(
    make_scene: MakeScene, make_model: MakeModel, tmp_path: Path
) -> None:
    """The pixels are known by their fingerprint, wherever they lie and whatever they are called."""
    one = make_scene("one", 2, 3)
    file = trained_on(make_model, one)
    copy = make_scene("copy", 2, 3, store="elsewhere.zarr")
    scores = evaluate(copy.store, file, progress=False)
    assert scores.held_out == ("copy",)
    assert scores.images["copy"] == evaluate(one.store, file, progress=False).images["one"]


def test_scene_that_changed_since_training_is_refused(
    make_scene: MakeScene, make_model: MakeModel
) -> None:
    """Which blocks were held out can no longer be told, so no number is given."""
    scene = make_scene("one", 2, 3)
    file = trained_on(make_model, scene)
    _, window = next(scene.shards())
    image, valid = scene.read(window)
    write_shard(scene, window, 255 - image, valid.astype(np.uint8))
    with pytest.raises(InputError, match="one has changed since the model was trained on it"):
        evaluate(scene.store, file, progress=False)


def strict(text: str) -> Any:
    """Parse JSON, NaN and Infinity refused."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_report_is_the_documented_json(tmp_path: Path, make_model: MakeModel) -> None:
    """The keys are those of the design, and every number is in the file in full."""
    save_model(make_model(3, **SMALL), tmp_path / "m.keras")
    path = save(tmp_path / "p.png", picture(100, 120))
    report = evaluate(path, tmp_path / "m.keras", scale=3, progress=False)
    report.to_json(tmp_path / "report.json")
    document = strict((tmp_path / "report.json").read_text())
    assert {"scale", "model", "images", "mean"} <= set(document)
    assert (document["scale"], document["model"]) == (3, "m.keras")
    (image,) = document["images"]
    assert {"name", *KEYS} <= set(image)
    assert set(document["mean"]) == set(document["pooled"]) == KEYS | ADDED
    scores = report.images["p"]
    assert {name: image[name] for name in KEYS} == {name: getattr(scores, name) for name in KEYS}


def test_infinite_and_missing_numbers_are_null(tmp_path: Path, make_model: MakeModel) -> None:
    """No difference has no PSNR in dB, and an image of a few pixels no SSIM."""
    file = ModelFile.open(make_model(2, **SMALL))
    even = save(tmp_path / "even.png", np.full((40, 40, 3), 77, np.uint8))
    tiny = save(tmp_path / "tiny.png", picture(10, 10))
    report = evaluate([even, tiny], file, progress=False)
    report.to_json(tmp_path / "report.json")
    document = strict((tmp_path / "report.json").read_text())
    first, second = document["images"]
    assert first["psnr_bicubic"] is first["psnr_y_bicubic"] is None
    assert first["ssim_bicubic"] == 1
    assert second["ssim"] is second["ssim_bicubic"] is None
    assert second["psnr"] > 0
    assert document["mean"]["psnr_bicubic"] is document["mean"]["ssim"] is None
    assert math.isinf(report.mean.psnr_bicubic)


def test_table_shows_every_image_and_the_gain() -> None:
    """What a terminal shows are the report's numbers."""
    scores = Scores(20.0, 21.5, 22.0, 23.0, 0.5, 0.6, 40.0, 41.0, 2.5, 2.3)
    report = Evaluation(4, "m", {"a": scores, "b": scores}, ("b",))
    console = Console(width=160)
    with console.capture() as said:
        console.print(report.table())
    cells = [[cell.strip() for cell in line.split("│")] for line in said.get().splitlines()]
    shown = ["20.00", "21.50", "+1.50", "22.00", "23.00", "0.5000", "0.6000", "40.00", "41.00"]
    rows = {row[1]: row[2:-1] for row in cells if len(row) > 2}
    assert rows == dict.fromkeys(["a", "b (held out)", "mean"], shown)


def test_default_model_is_the_bundled_one_of_the_scale(
    tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a model, ``scale`` names it, and 4 is the default."""
    files = {f"srcnn-x{scale}": ModelFile.open(make_model(scale, **SMALL)) for scale in (2, 4)}
    monkeypatch.setattr(ModelFile, "open", classmethod(lambda _cls, name: files[name]))
    path = save(tmp_path / "p.png", picture(80, 80))
    assert evaluate(path, progress=False).model == "srcnn-x4"
    report = evaluate(path, scale=2, progress=False)
    assert (report.model, report.scale) == ("srcnn-x2", 2)


def test_what_cannot_be_judged_is_refused(
    tmp_path: Path, make_scene: MakeScene, make_model: MakeModel
) -> None:
    """Each mistake gets its own words, before any number."""
    model = make_model(4, **SMALL)
    path = save(tmp_path / "p.png", picture(80, 80))
    with pytest.raises(ModelError, match="scale 2 is a scale the model was not made for"):
        evaluate(path, model, scale=2, progress=False)
    with pytest.raises(InputError, match="no image to judge by"):
        evaluate([], model, progress=False)
    with pytest.raises(InputError, match=r"s has 3 × 9 px: too small to degrade by 4"):
        evaluate(save(tmp_path / "s.png", picture(3, 9)), model, progress=False)
    with pytest.raises(InputError, match=r"t has 8 × 80 px: .* smaller than the model's halo of 3"):
        evaluate(save(tmp_path / "t.png", picture(8, 80)), make_model(4), progress=False)
    empty = make_scene(rows=1, columns=1, valid=np.zeros((256, 256), bool))
    with pytest.raises(InputError, match="scene has no pixel to judge by: all are missing"):
        evaluate(empty.store, model, progress=False)
    with pytest.raises(InputError, match="engine 'abacus' is unknown"):
        evaluate(path, model, engine="abacus", progress=False)
    with pytest.raises(InputError, match="nowhere is not a folder"):
        evaluate(path, model, figure=tmp_path / "nowhere" / "f.png", progress=False)
    with pytest.raises(InputError, match="is a folder: give the path of a file"):
        evaluate(path, model, figure=tmp_path, progress=False)


def test_lone_pixels_between_holes_are_no_pixels(
    make_scene: MakeScene, make_model: MakeModel
) -> None:
    """A mask without one whole LR pixel leaves nothing to judge by."""
    rows, columns = np.mgrid[:256, :256]
    scene = make_scene(rows=1, columns=1, valid=(rows + columns) % 2 == 0)
    with pytest.raises(InputError, match="has no pixel to judge by"):
        evaluate(scene.store, make_model(2, **SMALL), progress=False)
