"""Store to store: the whole scene, resumable, never mixed."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from distributed import Client, Worker

from srsat_dask.errors import InputError, ShardError, StoreError
from srsat_dask.model import engines
from srsat_dask.model.engines import get_upscaler
from srsat_dask.model.file import ModelFile
from srsat_dask.model.inference import upscale_image
from srsat_dask.mosaic.inputs import MosaicScene
from srsat_dask.mosaic.ledger import (
    TileState,
    done_shards,
    forget_shards,
    torn_shards,
    write_shard,
)
from srsat_dask.mosaic.store import open_mosaic, scenes_of
from srsat_dask.mosaic.windows import Window
from srsat_dask.runtime.clusters import connect
from srsat_dask.upscaling import recipe
from srsat_dask.upscaling import shard as module
from srsat_dask.upscaling.lazy import upscale
from srsat_dask.upscaling.plan import plan_upscale
from srsat_dask.upscaling.store import upscale_store

MakeModel = Callable[..., Any]
MakeScene = Callable[..., MosaicScene]


@pytest.fixture(scope="module")
def files(make_model: MakeModel) -> dict[int, ModelFile]:
    """Return a model with random weights for each scale."""
    return {scale: ModelFile.open(make_model(scale, filters=(8, 8))) for scale in (2, 3, 4)}


def executing(dask_worker: Worker) -> int:
    """Return how many tasks a worker runs, cancelled ones included."""
    return len(dask_worker.state.executing)


def write_raster(path: Path, image: np.ndarray, **options: Any) -> None:
    """Write a GeoTIFF of an image (band, y, x) of any type."""
    profile = {
        "driver": "GTiff",
        "count": image.shape[0],
        "height": image.shape[1],
        "width": image.shape[2],
        "dtype": image.dtype,
        "crs": "EPSG:32654",
        "transform": Affine(2, 0, 5e5, 0, -2, 4e6),
        **options,
    }
    with rasterio.open(path, "w", **profile) as raster:
        raster.write(image)


def whole(scene: MosaicScene, file: ModelFile) -> np.ndarray:
    """Return the whole scene upscaled at once, (3, y, x): the oracle."""
    image, valid = scene.read(Window(0, scene.shape[0], 0, scene.shape[1]))
    return upscale_image(image.transpose(1, 2, 0), get_upscaler(file), valid).transpose(2, 0, 1)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_store_equals_the_whole_scene_at_once(
    scale: int,
    make_scene: MakeScene,
    files: dict[int, ModelFile],
    client: Client,
    tmp_path: Path,
) -> None:
    """Shards of a scene with holes make the same pixels as one pass over all of it."""
    valid = np.random.default_rng(0).random((768, 1024)) < 0.9
    valid[:100, :300] = False
    scene = make_scene(valid=valid)
    report = upscale_store(scene.store, tmp_path / "sr.zarr", files[scale], progress=False)
    assert report.computed == report.shards > 1 or scale == 2
    finer = open_mosaic(tmp_path / "sr.zarr")["scene"]
    np.testing.assert_array_equal(finer["image"].values, whole(scene, files[scale]))
    mask = valid.repeat(scale, axis=0).repeat(scale, axis=1)
    np.testing.assert_array_equal(finer["valid"].values != 0, mask)
    np.testing.assert_allclose(
        finer["image"].rio.bounds(),
        open_mosaic(scene.store)["scene"]["image"].rio.bounds(),
        rtol=1e-9,
    )
    assert torn_shards(scenes_of(tmp_path / "sr.zarr")[0]) == []


def test_store_and_lazy_api_agree(
    make_scene: MakeScene, files: dict[int, ModelFile], client: Client, tmp_path: Path
) -> None:
    """Both ways over the same mosaic make the same pixels and the same mask."""
    valid = np.random.default_rng(1).random((512, 512)) < 0.97
    scene = make_scene(rows=2, columns=2, valid=valid)
    upscale_store(scene.store, tmp_path / "sr.zarr", files[4], progress=False)
    stored = open_mosaic(tmp_path / "sr.zarr")["scene"]["image"]
    lazy = upscale(open_mosaic(scene.store)["scene"]["image"], files[4])
    np.testing.assert_array_equal(lazy.values, stored.values)
    xr.testing.assert_allclose(lazy, stored, rtol=1e-12)
    assert lazy.rio.crs == stored.rio.crs
    assert lazy.rio.transform().almost_equals(stored.rio.transform(), precision=1e-6)


def test_running_again_computes_only_what_is_missing(
    make_scene: MakeScene, files: dict[int, ModelFile], client: Client, tmp_path: Path
) -> None:
    """A complete store is left alone; a lost shard alone is made again."""
    scene = make_scene()
    output = tmp_path / "sr.zarr"
    upscale_store(scene.store, output, files[4], progress=False)
    assert upscale_store(scene.store, output, files[4], progress=False).computed == 0
    finer = scenes_of(output)[0]
    finer.array("shard_digest", "r+")[1, 0] = 0
    finer.array("image", "r+")[:, 2048:, :2048] = 7
    assert upscale_store(scene.store, output, files[4], progress=False).computed == 1
    np.testing.assert_array_equal(finer.array("image")[:], whole(scene, files[4]))


def test_run_cut_short_is_taken_up_again(
    make_scene: MakeScene,
    files: dict[int, ModelFile],
    client: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Shards done before a failure are not done again, and the result is the same."""
    scene, output = make_scene(), tmp_path / "sr.zarr"
    honest = module.write_shard
    with monkeypatch.context() as failing:

        def full_disk(finer: Any, window: Window, *rest: Any) -> None:
            if window.y0 > 0:
                raise OSError(28, "No space left on device")
            honest(finer, window, *rest)

        failing.setattr(module, "write_shard", full_disk)
        with pytest.raises(ShardError, match=r"upscale-shard \(1, \d\) of scene.*No space left"):
            upscale_store(scene.store, output, files[4], progress=False)
    while any(client.run(executing).values()):  # tasks under way end by themselves
        time.sleep(0.01)
    before = int(done_shards(scenes_of(output)[0]).sum())
    report = upscale_store(scene.store, output, files[4], progress=False)
    assert report.computed == report.shards - before
    np.testing.assert_array_equal(scenes_of(output)[0].array("image")[:], whole(scene, files[4]))


def test_other_weights_settings_or_rasters_are_refused(
    make_model: MakeModel, files: dict[int, ModelFile], client: Client, tmp_path: Path
) -> None:
    """An output of other inputs is never mixed with; the message says what differs."""
    raster, output = tmp_path / "in.tif", tmp_path / "sr.zarr"
    image = np.random.default_rng(0).integers(0, 256, (3, 40, 50), dtype=np.uint8)
    write_raster(raster, image)
    upscale_store(raster, output, files[4], progress=False)
    for said, model, settings in (
        ("model was", make_model(4, seed=1, filters=(8, 8)), {}),
        ("range was", files[4], {"value_range": (0, 200)}),
        ("bands was", files[4], {"bands": (3, 2, 1)}),
        ("window was None", files[4], {"window": Window(0, 40, 0, 50 - 1)}),
    ):
        with pytest.raises(StoreError, match=rf"made from other inputs .*{said}"):
            upscale_store(raster, output, model, progress=False, **settings)
    image[0, 0, 0] ^= 1
    write_raster(raster, image)
    with pytest.raises(StoreError, match=r"made from other inputs .*input was"):
        upscale_store(raster, output, files[4], progress=False)


def test_only_what_a_changed_input_touches_is_made_again(
    make_scene: MakeScene, files: dict[int, ModelFile], client: Client, tmp_path: Path
) -> None:
    """After one input shard of 9 changed, its output and its neighbours' are redone, no other.

    An output shard of 1024 px at ×2 lies on one input shard of 512 px, and its margin reaches into
    the eight around it.
    """
    scene, output = make_scene(rows=6, columns=6), tmp_path / "sr.zarr"
    upscale_store(scene.store, output, files[2], shard=1024, progress=False)
    (finer,) = scenes_of(output)
    made: list[Window] = []

    def redone(finer: Any, window: Window, *rest: Any) -> None:
        made.append(window)
        write_shard(finer, window, *rest)

    changed = Window(0, 512, 0, 512)
    image, valid = scene.read(changed)
    image[:, :, 300:] = 255 - image[:, :, 300:]
    write_shard(scene, changed, image, valid.astype(np.uint8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "write_shard", redone)
        report = upscale_store(scene.store, output, files[2], progress=False)
    assert report.computed == 4
    assert {(at.y0, at.x0) for at in made} == {(0, 0), (0, 1024), (1024, 0), (1024, 1024)}
    fresh = tmp_path / "fresh.zarr"
    upscale_store(scene.store, fresh, files[2], shard=1024, progress=False)
    for name in ("image", "valid", "shard_digest", "input_digest"):
        np.testing.assert_array_equal(
            np.asarray(finer.array(name)[:]), np.asarray(scenes_of(fresh)[0].array(name)[:])
        )


def test_torn_shard_is_found_and_made_again(
    make_scene: MakeScene, files: dict[int, ModelFile], client: Client, tmp_path: Path
) -> None:
    """A byte flipped in a shard's file is seen by its digest; forgotten, it alone is redone."""
    scene, output = make_scene(), tmp_path / "sr.zarr"
    upscale_store(scene.store, output, files[2], shard=512, progress=False)
    (finer,) = scenes_of(output)
    file = output / "scene" / "image" / "c" / "0" / "1" / "2"
    kept = file.read_bytes()
    file.write_bytes(kept[:5000] + bytes([kept[5000] ^ 1]) + kept[5001:])
    assert torn_shards(finer) == [(1, 2)]
    forget_shards(finer, [(1, 2)])
    assert upscale_store(scene.store, output, files[2], progress=False).computed == 1
    assert torn_shards(finer) == []
    assert file.read_bytes() == kept


def test_engine_is_chosen_once_and_kept_in_the_lineage(
    make_scene: MakeScene,
    files: dict[int, ModelFile],
    client: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Workers get the engine that was resolved, and a store of one takes no shard of another."""
    scene, output, asked = make_scene(rows=1, columns=1), tmp_path / "sr.zarr", []

    def recorded(file: ModelFile, engine: str, threads: int | None) -> Any:
        asked.append(engine)
        return get_upscaler(file, engine, threads)

    monkeypatch.setattr(recipe, "get_upscaler", recorded)
    monkeypatch.setattr(engines, "gpu_usable", lambda: False)
    upscale_store(scene.store, output, files[2], progress=False)
    assert asked == ["openvino"]
    assert scenes_of(output)[0].lineage["engine"] == "openvino"
    monkeypatch.setattr(engines, "gpu_usable", lambda: True)
    assert plan_upscale(scene.store, files[2]).recipe.engine == "keras"
    with pytest.raises(StoreError, match="engine was 'openvino', is now 'keras'"):
        upscale_store(scene.store, output, files[2], progress=False)


def test_output_with_other_scenes_is_refused(
    make_scene: MakeScene, files: dict[int, ModelFile], client: Client, tmp_path: Path
) -> None:
    """A store of another input or of another kind is named and left as it was."""
    scene = make_scene("one", 1, 1)
    make_scene("two", 1, 1, store="other.zarr")
    output = tmp_path / "sr.zarr"
    upscale_store(tmp_path / "other.zarr", output, files[2], progress=False)
    with pytest.raises(StoreError, match=r"not made from this input: two; delete it or give"):
        upscale_store(scene.store, output, files[2], progress=False)
    assert [kept.name for kept in scenes_of(output)] == ["two"]
    make_scene("one", 1, 1, store="harvested.zarr", seed=3)
    with pytest.raises(StoreError, match=r"not made from this input: one;"):
        upscale_store(scene.store, tmp_path / "harvested.zarr", files[2], progress=False)


def test_harvest_that_is_not_whole_is_refused(
    make_scene: MakeScene, files: dict[int, ModelFile], client: Client, tmp_path: Path
) -> None:
    """Shards to do and failed tiles are counted; as far as it went is taken if asked for."""
    scene = make_scene()
    scene.array("shard_digest", "r+")[0, 0] = 0
    scene.array("tile_state", "r+")[2, 3] = TileState.FAILED
    said = r"2 of 4 shards are not done, 1 tiles failed; run the harvest again"
    with pytest.raises(StoreError, match=said):
        plan_upscale(scene.store, files[2])
    with pytest.raises(StoreError, match=said):
        upscale_store(scene.store, tmp_path / "sr.zarr", files[2], progress=False)
    assert not (tmp_path / "sr.zarr").exists()
    assert plan_upscale(scene.store, files[2], allow_partial=True).shards == 1
    report = upscale_store(
        scene.store, tmp_path / "sr.zarr", files[2], allow_partial=True, progress=False
    )
    assert report.computed == 1


def test_empty_shards_need_no_engine(
    make_scene: MakeScene,
    files: dict[int, ModelFile],
    client: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A scene without a valid pixel is done without loading a model."""
    scene = make_scene(rows=2, columns=2, valid=np.zeros((512, 512), dtype=bool))

    def no_engine(*_: object) -> None:
        raise AssertionError("an engine was asked for")

    monkeypatch.setattr(recipe, "get_upscaler", no_engine)
    report = upscale_store(scene.store, tmp_path / "sr.zarr", files[4], progress=False)
    assert report.computed == 1
    assert done_shards(scenes_of(tmp_path / "sr.zarr")[0]).all()


def test_raster_is_upscaled_as_it_lies(
    files: dict[int, ModelFile], client: Client, tmp_path: Path, rng: np.random.Generator
) -> None:
    """A rotated raster with nodata goes in, and its mask and ground come out."""
    turned = Affine.translation(5e5, 4e6) @ Affine.rotation(9) @ Affine.scale(2, -2)
    image = rng.integers(1, 256, (3, 90, 70), dtype=np.uint8)
    image[:, 20:30, 10:60] = 0
    write_raster(tmp_path / "in.tif", image, transform=turned, nodata=0)
    upscale_store(tmp_path / "in.tif", tmp_path / "sr.zarr", files[3], progress=False)
    finer = scenes_of(tmp_path / "sr.zarr")[0]
    assert finer.name == "in"
    np.testing.assert_allclose(
        finer.georeference.transform @ (210, 270), turned @ (70, 90), rtol=1e-9
    )
    hole = (image == 0).all(axis=0).repeat(3, axis=0).repeat(3, axis=1)
    np.testing.assert_array_equal(finer.array("valid")[:] == 0, hole)
    assert (np.asarray(finer.array("image")[:])[:, hole] == 0).all()


def test_worker_processes_never_import_tensorflow(
    make_scene: MakeScene, files: dict[int, ModelFile], tmp_path: Path
) -> None:
    """An OpenVINO worker stays small, and makes the same pixels as threads do."""
    scene = make_scene(rows=2, columns=2)

    def heavy() -> list[str]:
        import sys

        return [name for name in ("tensorflow", "keras") if name in sys.modules]

    with connect("local") as local:
        upscale_store(scene.store, tmp_path / "p.zarr", files[4], progress=False, engine="openvino")
        assert all(found == [] for found in local.run(heavy).values())
    finer = scenes_of(tmp_path / "p.zarr")[0]
    np.testing.assert_array_equal(finer.array("image")[:], whole(scene, files[4]))


def test_plan_says_what_will_be_done_and_checks_first(
    make_scene: MakeScene, files: dict[int, ModelFile], tmp_path: Path
) -> None:
    """Shards, pixels and halo before anything is computed; bad arguments are found."""
    scene = make_scene()
    plan = plan_upscale(scene.store, files[4])
    assert (plan.scale, plan.halo, plan.shard, plan.shards) == (4, 3, 2048, 4)
    assert plan.pixels == 768 * 1024 * 16
    with pytest.raises(InputError, match="engine 'abacus' is unknown"):
        plan_upscale(scene.store, files[4], "abacus")
    with pytest.raises(InputError, match="is the input itself"):
        upscale_store(scene.store, scene.store, files[4])
    write_raster(tmp_path / "tiny.tif", np.zeros((3, 2, 9), np.uint8))
    with pytest.raises(InputError, match="2 × 9 px, fewer than the model's halo of 3 px"):
        plan_upscale(tmp_path / "tiny.tif", files[4])
