"""Training from a store to a file: what comes out, and what is refused."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from srsat_dask.errors import InputError, ModelError
from srsat_dask.model.degradation import Degradation
from srsat_dask.model.file import ModelFile
from srsat_dask.mosaic.inputs import open_folder
from srsat_dask.mosaic.ledger import fingerprint
from srsat_dask.mosaic.split import Part, Shares, split_scene
from srsat_dask.mosaic.store import create_scene
from srsat_dask.training import feed, train
from srsat_dask.training.presets import PRESETS
from srsat_dask.training.record import public
from tests.conftest import texture
from tests.training.conftest import write_picture

SMALL = {"filters": (16, 8), "kernels": (5, 1, 3), "progress": False}


@pytest.fixture(autouse=True)
def small_pools(monkeypatch):
    """Draw few patches at a time: these trainings are short."""
    monkeypatch.setattr(feed, "POOL_PIXELS", 2**17)


@pytest.fixture
def quick(monkeypatch):
    """Add a preset of short epochs."""
    preset = replace(PRESETS["default"], size=32, validation_size=64, steps_per_epoch=60)
    monkeypatch.setitem(PRESETS, "quick", preset)
    return {**SMALL, "preset": "quick"}


def test_training_beats_bicubic_and_leaves_its_files(make_scene, tmp_path, quick):
    """A short training is better than bicubic on held-out tiles, and says how it was made."""
    from srsat_dask.model import load_model

    scene = make_scene()
    path = tmp_path / "out.keras"
    model = train(scene.store, epochs=5, model_path=path, **quick)
    history = json.loads((tmp_path / "out.history.json").read_text())
    assert len(history["epochs"]) == 5
    assert history["epochs"][-1]["val_loss"] < history["epochs"][0]["val_loss"]
    assert history["best_val_psnr"] > history["bicubic_val_psnr"] + 0.1
    assert history["best_val_psnr"] == max(epoch["val_psnr"] for epoch in history["epochs"])
    with Image.open(tmp_path / "out.curve.png") as curve:
        assert min(curve.size) > 400
    loaded = load_model(path)
    for one, two in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert loaded.metadata == model.metadata
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "mosaic.zarr",
        "out.curve.png",
        "out.history.csv",
        "out.history.json",
        "out.keras",
    ]


def test_the_metadata_says_what_was_trained_on(make_scene, quick):
    """Evaluation finds fingerprint and split in the model; no folder is told."""
    scene = make_scene()
    model = train(scene.store, epochs=1, seed=3, held_out=(0.2, 0.3), **quick)
    (entry,) = model.metadata["training_data"]
    split = split_scene(scene, Shares(0.2, 0.3, seed=3))
    assert entry["scene"] == "scene"
    assert entry["fingerprint"] == fingerprint(scene)
    assert entry["split"] == {
        "validation": 0.2,
        "test": 0.3,
        "seed": 3,
        "tiles": {part.name.lower(): split.tiles(part) for part in Part},
    }
    assert entry["lineage"]["source"] == "picture.tif"
    assert model.metadata["recipe"]["steps"] == 60
    assert model.metadata["scale"] == 4
    assert model.metadata["margin"] == 6
    assert set(model.metadata["provenance"]) >= {"srsat_dask", "keras", "backend", "date"}
    assert not re.search(r'"(/|~|[A-Z]:\\)', json.dumps(model.metadata))


@pytest.mark.parametrize(("preset", "scale"), [("default", 2), ("paper", 3), ("article", 3)])
def test_each_preset_trains_at_other_scales(make_scene, monkeypatch, preset, scale):
    """A step of each preset gives a model of its scale."""
    few = replace(PRESETS[preset], batch=2, steps_per_epoch=1)
    monkeypatch.setitem(PRESETS, preset, few)
    # The article's patch and its context are wider than a tile: they need room between blocks.
    scene = make_scene(rows=4, columns=4, shard=1024)
    model = train(f"{scene.store}/scene", scale=scale, preset=preset, epochs=1, **SMALL)
    assert model.spec.scale == scale
    assert model.spec.residual == (preset == "default")


def test_the_degradation_is_used_and_recorded(make_scene, tmp_path, quick):
    """Another degradation gives another bicubic PSNR, and the model and its history name it."""
    scene = make_scene()
    psnr = {}
    for how in ("bicubic", "mtf:0.1+noise:20"):
        model = train(
            scene.store, epochs=1, degradation=how, model_path=tmp_path / "out.keras", **quick
        )
        history = json.loads((tmp_path / "out.history.json").read_text())
        psnr[how] = history["bicubic_val_psnr"]
        assert history["degradation"] == model.metadata["degradation"]
        assert str(Degradation.recorded(model.metadata)) == how
    assert psnr["mtf:0.1+noise:20"] < psnr["bicubic"] - 1


def test_a_network_of_luminance_is_trained(make_scene, quick):
    """What is asked for in place of the preset's reaches the model and its recipe."""
    scene = make_scene()
    model = train(scene.store, epochs=1, luminance=True, residual=False, **quick)
    assert (model.spec.luminance, model.spec.residual) == (True, False)
    assert model.metadata["recipe"]["luminance"]
    assert model.spec.shapes[0][2] == model.spec.shapes[-1][3] == 1


def test_minutes_are_kept(make_scene, tmp_path, quick):
    """A budget of time ends the training, and shows in the history."""
    scene = make_scene()
    train(scene.store, minutes=0.05, model_path=tmp_path / "out.keras", **quick)
    history = json.loads((tmp_path / "out.history.json").read_text())
    assert 0 < history["timing"]["seconds"] < 30
    assert history["timing"]["steps"] == history["epochs"][-1]["steps"]


def test_importing_the_package_imports_no_backend():
    """Feed tasks on workers never load Keras or TensorFlow."""
    code = (
        "import sys, srsat_dask.training, srsat_dask.training.feed, srsat_dask.training.workflow;"
        "print(sorted({'keras', 'tensorflow', 'openvino', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_store_without_pixels_is_refused(make_scene, tmp_path):
    """A template without a shard, or shards of nodata only, name the remedy."""
    empty = make_scene("empty", rows=1, columns=1, valid=np.zeros((256, 256), bool))
    create_scene(
        tmp_path / "mosaic.zarr", "pending", georeference=empty.georeference, lineage={}, shard=512
    )
    with pytest.raises(InputError, match="srsat status"):
        train(empty.store, **SMALL)


def test_a_scene_too_small_is_refused(make_scene):
    """A scene of one tile has nothing to hold out, or nothing left to train on."""
    scene = make_scene(rows=1, columns=1)
    with pytest.raises(InputError, match="harvest a larger area"):
        train(scene.store, **SMALL)


def test_training_starts_from_another_model(make_scene, make_model, tmp_path, quick):
    """With a rate next to nothing the weights stay those of the first model, of another scale."""
    first = make_model(2, filters=(16, 8), kernels=(5, 1, 3))
    scene = make_scene()
    still = {"first_rate": 1e-12, "last_rate": 1e-12}
    model = train(scene.store, epochs=1, scale=3, init=first, settings=still, **quick)
    for one, two in zip(first.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)
    assert model.metadata["init"] == {"sha256": ModelFile.open(first).sha256, "scale": 2}
    with pytest.raises(ModelError, match="init has filters"):
        train(scene.store, init=make_model(2), **quick)


def test_the_record_holds_the_recipe(make_scene, quick):
    """What its file said, without folders, and the settings that came of it."""
    said = {"inputs": ["/at/home/mosaic.zarr"], "batch": 2}
    model = train(make_scene().store, epochs=1, settings={"batch": 2}, recipe_file=said, **quick)
    recipe = model.metadata["recipe"]
    assert recipe["batch"] == 2
    assert recipe["file"] == {"inputs": ["mosaic.zarr"], "batch": 2}


def test_a_folder_is_trained_on_with_a_store(make_scene, folder, quick):
    """Small images have one entry together that tells them apart, others one each."""
    scene = make_scene()
    few = {**quick, "epochs": 1}
    model = train(
        [folder, scene.store, write_picture(folder.parent / "x.png", texture(600, 600))], **few
    )
    larger, images, stored, raster = model.metadata["training_data"]
    assert [larger["scene"], stored["scene"], raster["scene"]] == ["larger.tif", "scene", "x"]
    assert sum(larger["split"]["tiles"].values()) == 2 * 3
    assert images["folder"] == "images"
    assert sum(images["split"]["images"].values()) == 24
    parts = {}
    for small in open_folder(folder):
        if small.name != "larger.tif":
            part = Part(int(split_scene(small).parts.item())).name.lower()
            parts.setdefault(part, []).append(small.fingerprint()[:8])
    assert images["images"] == {
        name: "".join(sorted(parts.get(name, []))) for name in ("training", "validation", "test")
    }


def test_the_same_image_twice_is_refused(folder):
    """Under another name it might be held out where its twin is trained on."""
    (folder / "b/twin.png").write_bytes((folder / "a/04.png").read_bytes())
    with pytest.raises(InputError, match=r"a/04\.png and b/twin\.png are the same image"):
        train(folder, **SMALL)


def test_the_same_store_twice_is_refused(make_scene):
    """What is given twice would count twice."""
    store = make_scene().store
    with pytest.raises(InputError, match="scene and scene are the same image"):
        train([store, store], **SMALL)


def test_a_folder_without_images_is_refused(tmp_path):
    """The message names the endings that are taken."""
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(InputError, match=r"no image in it \(\.tif, \.tiff, \.png\)"):
        train(tmp_path, **SMALL)


def test_an_image_of_nodata_only_is_refused(tmp_path):
    """It has nothing to train on."""
    path = write_picture(tmp_path / "x.tif", np.zeros((3, 512, 512), np.uint8), nodata=0)
    with pytest.raises(InputError, match="no scene holds a pixel"):
        train(path, **SMALL)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"preset": "best"}, InputError, "preset 'best' is unknown"),
        ({"epochs": 1, "minutes": 1}, InputError, "give one"),
        ({"epochs": 0}, InputError, "epochs 0"),
        ({"minutes": -1}, InputError, "minutes"),
        ({"scale": 5}, ModelError, "scale 5"),
        ({"kernels": (8, 1, 5)}, ModelError, "kernel of 8"),
        ({"filters": (8,)}, ModelError, "filters"),
        ({"settings": {"bach": 1}}, InputError, "did you mean 'batch'"),
        ({"weights": "equal"}, InputError, "weights 'equal'"),
        ({"held_out": (0.5, 0.5)}, InputError, "held-out fractions 0.5, 0.5"),
        ({"seed": -1}, InputError, "seed -1"),
        ({"degradation": "sharp"}, InputError, "degradation 'sharp' is unknown"),
        ({"model_path": "out.h5"}, InputError, "must end in .keras"),
        ({"model_path": "/nowhere/at/all/out.keras"}, InputError, "folder"),
        ({}, InputError, "nothing.zarr"),
    ],
)
def test_arguments_are_refused_before_anything_runs(tmp_path, arguments, error, match):
    """Each mistake has its message, before a store is opened."""
    store = tmp_path / "nothing.zarr"
    store.mkdir()
    with pytest.raises(error, match=re.escape(match)):
        train(store, **{"progress": False, **arguments})


def test_no_store_is_refused():
    """An empty list of stores is an error, not a model of nothing."""
    with pytest.raises(InputError, match="nothing is given"):
        train([])


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("/data/home/x.tif", "x.tif"),
        ("~/x.tif", "x.tif"),
        ("file:///data/x.tif", "x.tif"),
        ("C:\\data\\x.tif", "x.tif"),
        ("https://me:pass@host/{z}/{x}/{y}.png?key=1", "https://host/{z}/{x}/{y}.png"),
        ("20181224060959386_AS1", "20181224060959386_AS1"),
        ({"a": ["/b/c", 17, None, True]}, {"a": ["c", 17, None, True]}),
    ],
)
def test_the_record_tells_no_folder_and_no_secret(value, told):
    """Paths keep their last name, addresses lose what may be secret."""
    assert public(value) == told
