"""The proof of seams: passes on an honest store, and finds what was altered."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

from srsat_dask.cli import main
from srsat_dask.errors import InputError, ModelError, StoreError
from srsat_dask.model.file import ModelFile
from srsat_dask.mosaic.inputs import MosaicScene
from srsat_dask.mosaic.ledger import write_shard
from srsat_dask.mosaic.store import scenes_of
from srsat_dask.mosaic.windows import Window
from srsat_dask.upscaling.seams import check_seams
from srsat_dask.upscaling.store import upscale_store

MakeModel = Callable[..., Any]
MakeScene = Callable[..., MosaicScene]


@pytest.fixture(scope="module")
def file(make_model: MakeModel) -> ModelFile:
    """Return a ×2 model with random weights."""
    return ModelFile.open(make_model(2, filters=(8, 8)))


@pytest.fixture
def store(make_scene: MakeScene, file: ModelFile, client: Client, tmp_path: Path) -> Path:
    """Return an upscaled scene with holes, of 2 × 2 shards."""
    valid = np.random.default_rng(0).random((512, 512)) < 0.95
    scene = make_scene(rows=2, columns=2, valid=valid)
    upscale_store(scene.store, tmp_path / "sr.zarr", file, shard=512, progress=False)
    return tmp_path / "sr.zarr"


def test_honest_store_has_no_seams(store: Path) -> None:
    """Every strip crosses a border, and every bit is the same, holes included."""
    report = check_seams(store, strips=6)
    assert report.exact
    assert (report.strips, report.borders) == (6, 6)
    assert report.pixels > 6 * 100 * 30


def test_altered_strip_is_found(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A column along a border that is one too bright fails the proof, in text and in JSON."""
    (finer,) = scenes_of(store)
    image = finer.array("image", "r+")
    column = np.asarray(image[1, :, 511])
    image[1, :, 511] = np.where(column < 255, column + 1, 254)
    report = check_seams(store)
    assert not report.exact
    assert report.differences[0].largest == 1
    assert all(found.window.x0 <= 511 < found.window.x1 for found in report.differences)
    assert main(["verify", str(store), "--seams", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["seams"] == report.as_dict()
    assert main(["verify", str(store), "--seams"]) == 1
    assert "not what their input and model make" in capsys.readouterr().err


def test_honest_store_passes_the_command(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 0, and one document on stdout."""
    assert main(["verify", str(store), "--seams", "--strips", "4", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["seams"]["exact"] is True
    assert document["seams"]["strips"] == 4


def test_other_models_and_inputs_prove_nothing(
    store: Path, make_model: MakeModel, make_scene: MakeScene, tmp_path: Path
) -> None:
    """They are refused by what was recorded."""
    with pytest.raises(ModelError, match="was made by the model"):
        check_seams(store, model=make_model(2, seed=1, filters=(8, 8)))
    other = make_scene(rows=2, columns=2, seed=5, store="other.zarr")
    with pytest.raises(StoreError, match="input was"):
        check_seams(store, source=other.store)
    with pytest.raises(StoreError, match="holds no super-resolved scene"):
        check_seams(other.store)
    with pytest.raises(InputError, match="0 strips prove nothing"):
        check_seams(store, strips=0)
    (tmp_path / "mosaic.zarr").rename(tmp_path / "moved.zarr")
    with pytest.raises(StoreError, match="say where with --input"):
        check_seams(store)
    assert check_seams(store, source=tmp_path / "moved.zarr", strips=2).exact


def test_shards_of_an_input_that_changed_are_left_out(
    store: Path, make_scene: MakeScene, tmp_path: Path
) -> None:
    """They are to be made again, not proven."""
    scene = MosaicScene(str(tmp_path / "mosaic.zarr"), "scene")
    whole = Window(0, 512, 0, 512)
    image, valid = scene.read(whole)
    write_shard(scene, whole, 255 - image, valid.astype(np.uint8))
    with pytest.raises(StoreError, match="no shard made of the input as it is now"):
        check_seams(store)


def test_store_tells_no_more_of_this_machine_than_it_must(store: Path, tmp_path: Path) -> None:
    """The input's path is kept as seen from the store, and no absolute one is anywhere."""
    (finer,) = scenes_of(store)
    assert finer.group().attrs["srsat_input"] == "../mosaic.zarr"
    for kept in store.rglob("zarr.json"):
        assert str(tmp_path) not in kept.read_text()
