"""An exported scene is a valid COG that holds the very pixels, or it is not there at all."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.enums import MaskFlags
from rio_cogeo.cogeo import cog_validate

from srsat_dask.errors import InputError, StoreError
from srsat_dask.mosaic.georeference import Georeference
from srsat_dask.mosaic.inputs import MosaicScene
from srsat_dask.mosaic.ledger import write_shard
from srsat_dask.mosaic.store import create_scene
from srsat_dask.products.cog import export

MakeScene = Callable[..., MosaicScene]


@pytest.fixture
def scene(make_scene: MakeScene, rng: np.random.Generator) -> MosaicScene:
    """Write a scene of several shards with black pixels, a hole and a slanted edge."""
    image = rng.integers(0, 256, (3, 768, 1280), dtype=np.uint8)
    image[:, 50:90, 60:200] = 0
    rows, columns = np.mgrid[:768, :1280]
    valid = (rows + 2 * columns > 400) & ~((abs(rows - 500) < 40) & (abs(columns - 700) < 90))
    return make_scene(rows=3, columns=5, image=image, valid=valid)


def everything(scene: MosaicScene) -> tuple[np.ndarray, np.ndarray]:
    group = scene.group()
    return np.asarray(group["image"][:]), np.asarray(group["valid"][:]) != 0


def test_raster_holds_the_very_pixels_mask_and_ground(scene: MosaicScene, tmp_path: Path) -> None:
    """What rasterio reads back is the store, black pixels apart from missing ones."""
    made = export(scene.store, tmp_path / "out.tif", progress=False)
    image, valid = everything(scene)
    assert made == tmp_path / "out.tif"
    with rasterio.open(made) as raster:
        np.testing.assert_array_equal(raster.read(), image)
        for band in (1, 2, 3):
            np.testing.assert_array_equal(raster.read_masks(band) != 0, valid)
        assert set(map(tuple, raster.mask_flag_enums)) == {(MaskFlags.per_dataset,)}
        assert raster.crs == rasterio.CRS.from_epsg(3857)
        assert raster.transform == scene.georeference.transform
        assert [c.name for c in raster.colorinterp] == ["red", "green", "blue"]
        tags = raster.tags()
        assert {k: v for k, v in tags.items() if k.startswith("SRSAT_")} == {
            "SRSAT_KIND": "harvest",
            "SRSAT_SOURCE": "picture.tif",
            "SRSAT_SEED": "0",
        }
    assert sorted(os.listdir(tmp_path)) == ["mosaic.zarr", "out.tif"], "no side-car file"


def test_raster_is_a_valid_cog_with_averaged_overviews(scene: MosaicScene, tmp_path: Path) -> None:
    """An independent validator has neither errors nor warnings."""
    made = export(scene.store, tmp_path / "out.tif", progress=False)
    valid, errors, warnings = cog_validate(made, strict=True)
    assert (valid, errors, warnings) == (True, [], [])
    with rasterio.open(made) as raster:
        assert raster.overviews(1) == [2, 4]
        assert raster.block_shapes[0] == (512, 512)
        half = raster.read(1, out_shape=(384, 640))
    image, mask = everything(scene)
    part = (slice(0, 100), slice(400, 600))
    assert mask[0:200, 800:1200].all()
    means = image[0].reshape(384, 2, 640, 2).mean(axis=(1, 3))
    assert np.abs(half[part].astype(float) - means[part]).max() <= 1


def test_gdal_itself_agrees(scene: MosaicScene, tmp_path: Path) -> None:
    """``gdalinfo``, of another build of GDAL than rasterio's, sees layout, mask and ground."""
    program = shutil.which("gdalinfo")
    if program is None:
        assert os.environ.get("CI") != "true", "CI installs gdal-bin"
        pytest.skip("gdalinfo is not installed")
    made = export(scene.store, tmp_path / "out.tif", progress=False)
    said = subprocess.run([program, "-json", made], capture_output=True, check=True)
    report = json.loads(said.stdout)
    assert report["metadata"]["IMAGE_STRUCTURE"]["LAYOUT"] == "COG"
    assert report["metadata"]["IMAGE_STRUCTURE"]["COMPRESSION"] == "DEFLATE"
    assert report["size"] == [1280, 768]
    assert report["geoTransform"] == list(scene.georeference.transform.to_gdal())
    assert 'ID["EPSG",3857]' in report["coordinateSystem"]["wkt"]
    for band in report["bands"]:
        assert band["mask"]["flags"] == ["PER_DATASET"]
        assert band["overviews"][0]["size"] == [640, 384]
        assert band["mask"]["overviews"][0]["size"] == [640, 384]


def test_rotated_ground_survives(tmp_path: Path, rng: np.random.Generator) -> None:
    """Any affine and any CRS go through, one without an EPSG code too."""
    crs = rasterio.CRS.from_string(
        "+proj=laea +lat_0=36.123 +lon_0=139.5 +x_0=7 +datum=WGS84 +units=m"
    ).to_wkt()
    transform = Affine(0.4, 0.3, 4e5, 0.3, -0.4, 3.9e6)
    ground = Georeference(crs, transform, 300, 520)
    scene = create_scene(
        tmp_path / "m.zarr", "r", georeference=ground, lineage={"kind": "test"}, shard=512
    )
    for _, window in scene.shards():
        pixels = rng.integers(0, 256, (3, *window.shape), dtype=np.uint8)
        write_shard(scene, window, pixels, np.ones(window.shape, np.uint8))
    made = export(tmp_path / "m.zarr" / "r", tmp_path / "r.tif", progress=False)
    assert cog_validate(made)[0]
    with rasterio.open(made) as raster:
        assert raster.transform.almost_equals(transform, precision=1e-9)
        assert raster.crs == rasterio.CRS.from_wkt(crs)
        np.testing.assert_array_equal(raster.read(), np.asarray(scene.array("image")[:]))
        assert (raster.dataset_mask() == 255).all()


def test_shard_that_is_not_written_is_missing_in_the_raster(tmp_path: Path) -> None:
    """A harvest cut short is refused, and exports as far as it went if that is asked for."""
    ground = Georeference("EPSG:32654", Affine(1, 0, 4e5, 0, -1, 3.9e6), 512, 1024)
    scene = create_scene(tmp_path / "m.zarr", "s", georeference=ground, lineage={}, shard=512)
    _, window = next(scene.shards())
    write_shard(scene, window, np.full((3, 512, 512), 9, np.uint8), np.ones((512, 512), np.uint8))
    target = tmp_path / "s.TIFF"
    with pytest.raises(StoreError, match="1 of 2 shards are not done, 0 tiles failed; run the"):
        export(scene.store, target, progress=False)
    assert not target.exists()
    with rasterio.open(export(scene.store, target, allow_partial=True, progress=False)) as raster:
        mask = raster.dataset_mask()
    assert mask[:, :512].all()
    assert not mask[:, 512:].any()


def test_store_of_several_scenes_needs_one_named(make_scene: MakeScene, tmp_path: Path) -> None:
    """The message names the scenes, and STORE/SCENE picks one."""
    one = make_scene("one", 1, 1)
    make_scene("two", 1, 2)
    with pytest.raises(InputError, match=r"holds 2 scenes, give one as .*/SCENE: one, two"):
        export(one.store, tmp_path / "o.tif")
    with rasterio.open(export(f"{one.store}/two", tmp_path / "o.tif", progress=False)) as raster:
        assert raster.shape == (256, 512)


def test_what_cannot_be_exported_is_refused(scene: MosaicScene, tmp_path: Path) -> None:
    """Each mistake gets its own words, and nothing is written."""
    made = export(scene.store, tmp_path / "out.tif", progress=False)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(InputError, match=r"out\.png must end in \.tif"):
        export(scene.store, tmp_path / "out.png")
    with pytest.raises(InputError, match="nowhere is not a folder: make it first"):
        export(scene.store, tmp_path / "nowhere" / "out.tif")
    with pytest.raises(InputError, match=r"out\.tif is a raster already: give a mosaic store"):
        export(made, tmp_path / "again.tif")
    with pytest.raises(StoreError, match="holds no scene 'none'; it holds scene"):
        export(f"{scene.store}/none", tmp_path / "again.tif")
    with pytest.raises(InputError, match="does not exist"):
        export(tmp_path / "nothing", tmp_path / "again.tif")
    assert sorted(os.listdir(tmp_path)) == before
    (tmp_path / "folder.tif").mkdir()
    with pytest.raises(InputError, match=r"folder\.tif is a folder: give the path of a file"):
        export(scene.store, tmp_path / "folder.tif")


@pytest.mark.parametrize("existed", [False, True])
def test_failure_midway_leaves_nothing_behind(
    scene: MosaicScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existed: bool
) -> None:
    """The last step is a rename: until then an older file stays as it was."""
    target = tmp_path / "out" / "out.tif"
    target.parent.mkdir()
    if existed:
        older = export(scene.store, target, progress=False).read_bytes()
    copy = rasterio.shutil.copy

    def full(*arguments: Any, **options: Any) -> None:
        copy(*arguments, **options)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rasterio.shutil, "copy", full)
    with pytest.raises(OSError, match="No space left"):
        export(scene.store, target, progress=False)
    assert os.listdir(target.parent) == (["out.tif"] if existed else [])
    if existed:
        assert target.read_bytes() == older
    monkeypatch.undo()
    export(scene.store, target, progress=False)
    assert os.listdir(target.parent) == ["out.tif"]
    assert cog_validate(target)[0]


def test_file_of_other_origin_is_left_alone(
    scene: MosaicScene, make_scene: MakeScene, tmp_path: Path
) -> None:
    """Only an export of the same scene gives way; a picture or a note of the user's stays."""
    target = tmp_path / "out.tif"
    other = make_scene("other", 1, 1, store="other.zarr", seed=9)
    export(other.store, target, progress=False)
    note = tmp_path / "note.tif"
    note.write_text("mine")
    plain = tmp_path / "plain.tif"
    with rasterio.open(
        *(plain, "w", "GTiff", 8, 8, 3, "EPSG:32654", Affine(1, 0, 4e5, 0, -1, 3.9e6), "uint8")
    ) as raster:
        raster.write(np.ones((3, 8, 8), np.uint8))
    for path in (target, note, plain):
        before = path.read_bytes()
        with pytest.raises(StoreError, match="belongs to other inputs; delete it or give another"):
            export(scene.store, path, progress=False)
        assert path.read_bytes() == before
    export(other.store, target, progress=False)


def test_file_has_the_permissions_of_any_new_file(scene: MosaicScene, tmp_path: Path) -> None:
    """Having been made in a private folder, it is still readable as its neighbours are."""
    (tmp_path / "neighbour").write_text("")
    made = export(scene.store, tmp_path / "out.tif", progress=False)
    assert made.stat().st_mode == (tmp_path / "neighbour").stat().st_mode
