"""Inputs are stores, scenes of stores and rasters; what cannot be used is refused in one line."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import zarr
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_origin

from srsat_dask.errors import InputError, RasterError, StoreError
from srsat_dask.mosaic.georeference import Georeference
from srsat_dask.mosaic.inputs import MosaicScene, RasterScene, open_inputs, read_mirrored
from srsat_dask.mosaic.opening import open_raster
from srsat_dask.mosaic.windows import Window

MakeScene = Callable[..., MosaicScene]


def write_raster(path: Path, image: np.ndarray, **options: Any) -> Path:
    profile = {
        "driver": "GTiff",
        "count": image.shape[0],
        "height": image.shape[1],
        "width": image.shape[2],
        "dtype": image.dtype,
        "crs": "EPSG:32654",
        "transform": from_origin(400_000, 3_950_000, 0.5, 0.5),
        **options,
    }
    with rasterio.open(path, "w", **profile) as raster:
        raster.write(image)
    return path


class Plain:
    """A scene in memory."""

    name = "plain"

    def __init__(self, image: np.ndarray, valid: np.ndarray) -> None:
        self.image, self.valid = image, valid
        self.shape = valid.shape

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        assert window == window.clipped(self.shape), "reads stay inside the scene"
        return self.image[:, *window.slices], self.valid[window.slices]


@given(
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    margin=st.integers(0, 30),
    data=st.data(),
)
def test_mirrored_reads_equal_a_padded_whole(
    height: int, width: int, margin: int, data: st.DataObject
) -> None:
    """NumPy's symmetric padding of the whole image is the oracle."""
    rng = np.random.default_rng(height * 31 + width)
    image = rng.integers(0, 256, (3, height, width), dtype=np.uint8)
    valid = rng.random((height, width)) < 0.7
    y0 = data.draw(st.integers(0, height - 1))
    x0 = data.draw(st.integers(0, width - 1))
    window = Window(
        y0, data.draw(st.integers(y0 + 1, height)), x0, data.draw(st.integers(x0 + 1, width))
    )
    pixels, mask = read_mirrored(Plain(image, valid), window, margin)
    pad = ((margin, margin), (margin, margin))
    at = (slice(y0, window.y1 + 2 * margin), slice(x0, window.x1 + 2 * margin))
    whole = np.pad(image, ((0, 0), *pad), mode="symmetric")
    np.testing.assert_array_equal(pixels, whole[:, *at])
    np.testing.assert_array_equal(mask, np.pad(valid, pad, mode="symmetric")[at])


def test_raster_reads_its_first_three_bands_and_its_mask(tmp_path: Path) -> None:
    """Four bands with nodata: three come, and nodata is not valid."""
    image = np.random.default_rng(0).integers(1, 256, (4, 40, 50), dtype=np.uint8)
    image[:, 5:9, 7:20] = 0
    path = write_raster(tmp_path / "scene.tif", image, nodata=0, alpha="NO")
    (scene,) = open_inputs(path)
    pixels, valid = scene.read(Window(2, 30, 3, 40))
    np.testing.assert_array_equal(pixels, image[:3, 2:30, 3:40])
    np.testing.assert_array_equal(valid, (image != 0).any(axis=0)[2:30, 3:40])
    assert scene.name == "scene"
    assert scene.georeference == Georeference(
        "EPSG:32654", from_origin(400_000, 3_950_000, 0.5, 0.5), 40, 50
    )


def test_fingerprint_of_a_raster_is_its_content(tmp_path: Path) -> None:
    """A copy elsewhere has the same fingerprint, another pixel another one."""
    image = np.zeros((3, 8, 8), np.uint8)
    one = RasterScene.open(write_raster(tmp_path / "a.tif", image))
    same = RasterScene.open(write_raster(tmp_path / "b.tif", image))
    other = RasterScene.open(write_raster(tmp_path / "c.tif", image + 1))
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()


def test_fingerprint_of_a_raster_holds_all_that_gdal_reads(tmp_path: Path) -> None:
    """A mask or metadata beside the file, and the file a VRT draws from, change it too."""
    image = np.full((3, 8, 8), 9, np.uint8)
    path = write_raster(tmp_path / "a.tif", image)
    vrt, outer = tmp_path / "a.vrt", tmp_path / "outer.vrt"
    rasterio.shutil.copy(path, vrt, driver="VRT")
    rasterio.shutil.copy(vrt, outer, driver="VRT")
    scenes = [RasterScene.open(each) for each in (path, vrt, outer)]
    seen = [[scene.fingerprint() for scene in scenes]]
    assert seen[0] == [scene.fingerprint() for scene in scenes]
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as raster:
        raster.write_mask(np.eye(8, dtype=np.uint8) * np.uint8(255))
    assert (tmp_path / "a.tif.msk").exists()
    seen.append([scene.fingerprint() for scene in scenes])
    (tmp_path / "a.tif.aux.xml").write_text("<PAMDataset/>")
    seen.append([scene.fingerprint() for scene in scenes])
    write_raster(path, image + 1)
    seen.append([scene.fingerprint() for scene in scenes])
    for before, after in pairwise(seen):
        assert all(one != other for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("bands", "dtype", "crs", "said"),
    [
        (2, "uint8", "EPSG:32654", "has 2 band"),
        (3, "uint16", "EPSG:32654", "is uint16: uint8 is needed"),
        (3, "uint8", None, "has no CRS"),
    ],
)
def test_rasters_that_lack_something_are_refused(
    tmp_path: Path, bands: int, dtype: str, crs: str | None, said: str
) -> None:
    """The message names what the raster has and what is needed."""
    path = write_raster(tmp_path / "r.tif", np.zeros((bands, 8, 8), dtype), crs=crs)
    with pytest.raises(RasterError, match=said):
        open_inputs(path)


def test_picture_without_georeference_will_do_for_evaluation(tmp_path: Path) -> None:
    """A PNG needs no CRS where none is used."""
    image = np.random.default_rng(0).integers(0, 256, (3, 20, 30), dtype=np.uint8)
    with pytest.warns(NotGeoreferencedWarning):
        path = write_raster(tmp_path / "p.png", image, driver="PNG", crs=None, transform=None)
    (scene,) = open_inputs(path, georeferenced=False)
    pixels, valid = scene.read(Window(0, 20, 0, 30))
    np.testing.assert_array_equal(pixels, image)
    assert valid.all()


def test_store_gives_all_its_scenes_or_the_one_named(make_scene: MakeScene) -> None:
    """STORE is every scene, STORE/SCENE one."""
    make_scene("b")
    store = Path(make_scene("a").store)
    assert [scene.name for scene in open_inputs(store)] == ["a", "b"]
    (only,) = open_inputs(store / "b")
    assert only == MosaicScene(str(store), "b")


def test_what_is_no_input_is_refused(tmp_path: Path, make_scene: MakeScene) -> None:
    """Each kind of mistake gets its own words."""
    store = Path(make_scene("a").store)
    with pytest.raises(StoreError, match=r"holds no scene 'c'; it holds a"):
        open_inputs(store / "c")
    with pytest.raises(InputError, match="does not exist"):
        open_inputs(tmp_path / "nothing.tif")
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(RasterError, match="is not a raster that GDAL reads"):
        open_inputs(tmp_path / "text.tif")
    with pytest.raises(StoreError, match="is a folder, but not a mosaic store"):
        open_inputs(tmp_path)
    zarr.create_group(tmp_path / "e.zarr", attributes={"srsat": {"format": 1}})
    with pytest.raises(StoreError, match="holds no scene yet"):
        open_inputs(tmp_path / "e.zarr")


def test_threads_open_images_in_silence(tmp_path: Path) -> None:
    """Many at once: none ends the silence of another."""
    path = tmp_path / "image.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)

    def look(_: int) -> int:
        with open_raster(path) as raster:
            return int(raster.count)

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(look, range(400))) == {3}
