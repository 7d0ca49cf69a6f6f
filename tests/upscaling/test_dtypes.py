"""Sixteen bits, floats, four bands, one: store to store, the same bits as the lazy API."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import rioxarray
from affine import Affine
from distributed import Client

from srsat_dask.errors import InputError, RasterError, StoreError
from srsat_dask.model.bicubic import upsample
from srsat_dask.model.file import ModelFile
from srsat_dask.mosaic.inputs import open_inputs
from srsat_dask.mosaic.store import open_mosaic
from srsat_dask.mosaic.windows import Window
from srsat_dask.products.cog import export
from srsat_dask.upscaling.lazy import upscale
from srsat_dask.upscaling.plan import plan_upscale
from srsat_dask.upscaling.ranges import SIDE, scene_range, spread_windows
from srsat_dask.upscaling.store import upscale_store

MakeModel = Callable[..., Any]


@pytest.fixture(scope="module")
def file(make_model: MakeModel) -> ModelFile:
    """Return a ×2 model with random weights."""
    return ModelFile.open(make_model(2, filters=(8, 8)))


def write_raster(path: Path, image: npt.NDArray[Any], **options: Any) -> Path:
    """Write a GeoTIFF of an image (band, y, x) of any type."""
    profile = {
        "driver": "GTiff",
        "count": image.shape[0],
        "height": image.shape[1],
        "width": image.shape[2],
        "dtype": image.dtype,
        "crs": "EPSG:32654",
        "transform": Affine(10, 0, 5e5, 0, -10, 4e6),
        **options,
    }
    with rasterio.open(path, "w", **profile) as raster:
        raster.write(image)
    return path


def sentinel(height: int = 300, width: int = 330) -> npt.NDArray[np.uint16]:
    """Return four bands like Sentinel-2's reflectances: a few thousand, with bright outliers."""
    rng = np.random.default_rng(0)
    ground = rng.integers(500, 3000, (4, -(-height // 8), -(-width // 8)))
    image = ground.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]
    image = image + rng.integers(0, 200, image.shape)
    image[:, 40:42, 40:42] = 16_000
    return image.astype(np.uint16)


def test_sixteen_bits_go_to_a_store_and_a_raster(
    file: ModelFile, client: Client, tmp_path: Path
) -> None:
    """A Sentinel-2-like scene keeps its type; shards equal the lazy whole, and so does the COG."""
    image = sentinel()
    image[:, 100:120, 200:240] = 0
    raster = write_raster(tmp_path / "s2.tif", image, nodata=0, alpha="NO")
    upscale_store(raster, tmp_path / "sr.zarr", file, value_range="auto", shard=512, progress=False)
    stored = open_mosaic(tmp_path / "sr.zarr")["s2"]["image"]
    low, high = scene_range(open_inputs(raster, dtypes=("uint16",)))
    lazy = upscale(rioxarray.open_rasterio(raster), file, value_range=(low, high))
    assert stored.dtype == np.uint16
    np.testing.assert_array_equal(stored.values, lazy.values)
    assert stored.values.max() > high  # a bright roof is not clipped to white
    assert (stored.values[:, 200:240, 400:480] == 0).all()
    made = export(tmp_path / "sr.zarr", tmp_path / "sr.tif", progress=False)
    with rasterio.open(made) as finer:
        assert finer.dtypes == ("uint16",) * 3
        np.testing.assert_array_equal(finer.read(), stored.values)
        np.testing.assert_array_equal(finer.dataset_mask() != 0, stored.coords["valid"].values != 0)
        assert finer.tags()["SRSAT_RANGE"] == str([low, high])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_go_to_a_store(
    dtype: str, file: ModelFile, client: Client, tmp_path: Path, rng: np.random.Generator
) -> None:
    """One NaN, one infinity and one nodata value in one band are missing, and nothing else is."""
    image = rng.random((3, 60, 70)).astype(dtype)
    image[0, 10, 20], image[1, 30, 40], image[2, 50, 60] = np.nan, np.inf, -9999
    raster = write_raster(tmp_path / "f.tif", image, nodata=-9999)
    upscale_store(raster, tmp_path / "sr.zarr", file, progress=False)
    stored = open_mosaic(tmp_path / "sr.zarr")["f"]["image"]
    missing = np.argwhere(stored.coords["valid"].values[::2, ::2] == 0)
    assert missing.tolist() == [[10, 20], [30, 40], [50, 60]]
    lazy = upscale(rioxarray.open_rasterio(raster, chunks={"y": 17, "x": 23}), file)
    there = stored.coords["valid"].values != 0
    assert stored.dtype == dtype
    np.testing.assert_array_equal(stored.values[:, there], lazy.values[:, there])
    assert (lazy.values[:, ~there] == -9999).all()


def test_real_four_bands_with_near_infrared_by_bicubic(
    file: ModelFile, client: Client, tmp_path: Path, imagery: Path
) -> None:
    """NAIP's red, green and blue are super-resolved, near infrared follows, to store and raster."""
    raster = imagery / "naip_rgbn_utm17.tif"
    upscale_store(
        raster, tmp_path / "sr.zarr", file, other_bands="bicubic", shard=512, progress=False
    )
    stored = open_mosaic(tmp_path / "sr.zarr")["naip_rgbn_utm17"]["image"]
    three = upscale(rioxarray.open_rasterio(raster).drop_attrs(), file)
    np.testing.assert_array_equal(stored.values[:3], three.values[:3])
    with rasterio.open(raster) as naip:
        infrared = naip.read(4)
    twin = np.clip(np.rint(upsample(infrared[..., None], 2)[..., 0]), 0, 255)
    core = (slice(4, -4),) * 2  # Pillow's edge is another than a mirrored one
    np.testing.assert_allclose(stored.values[3][core], twin[core], atol=1)
    made = export(tmp_path / "sr.zarr", tmp_path / "sr.tif", progress=False)
    with rasterio.open(made) as finer:
        np.testing.assert_array_equal(finer.read(), stored.values)
        assert [band.name for band in finer.colorinterp[:3]] == ["red", "green", "blue"]
        assert finer.colorinterp[3].name != "alpha"
        assert (finer.dataset_mask() == 255).all()


def test_bands_are_chosen_by_number(file: ModelFile, client: Client, tmp_path: Path) -> None:
    """False colour: near infrared, red, green; and one band alone, as grey."""
    raster = write_raster(tmp_path / "s2.tif", sentinel(60, 70), alpha="NO")
    image = rioxarray.open_rasterio(raster)
    for bands in ((4, 1, 2), (3,)):
        output = tmp_path / f"sr{len(bands)}.zarr"
        upscale_store(raster, output, file, bands=bands, progress=False)
        stored = open_mosaic(output)["s2"]["image"]
        assert stored.sizes["band"] == len(bands)
        lazy = upscale(image, file, bands=bands)
        assert lazy.coords["band"].values.tolist() == list(bands)
        np.testing.assert_array_equal(stored.values, lazy.values)
    floats = image.astype(np.float32) / np.float32(10_000)  # not clipped at 0, as whole numbers are
    grey = upscale(floats.isel(band=[2, 2, 2]), file).values.mean(axis=0)
    np.testing.assert_allclose(upscale(floats, file, bands=[3]).values[0], grey, atol=1e-5)


def test_range_is_that_of_the_whole_scene(tmp_path: Path) -> None:
    """Quantiles of all pixels of a small scene; outliers and nodata are left out."""
    image = sentinel()
    (scene,) = open_inputs(write_raster(tmp_path / "s2.tif", image), dtypes=("uint16",))
    low, high = np.quantile(image[:3], (0.001, 0.999))
    assert scene_range([scene]) == (np.floor(low), np.ceil(high))
    assert high < 16_000
    image[:, :150] = 0
    (holed,) = open_inputs(write_raster(tmp_path / "h.tif", image, nodata=0), dtypes=("uint16",))
    assert scene_range([holed])[0] >= 500


def test_range_of_a_scene_without_end_reads_little() -> None:
    """A scene of 200,000 px a side is sampled in at most 256 windows, all over it."""
    windows = list(spread_windows((200_000, 150_000), 256))
    assert 200 < len(windows) <= 256
    assert {window.shape for window in windows} == {(SIDE, SIDE)}
    assert min(window.y0 for window in windows) < 10_000
    assert max(window.y1 for window in windows) > 190_000
    covered = np.zeros((300, 500), dtype=int)
    for window in spread_windows((300, 500), 256):
        covered[window.slices] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize(
    ("image", "settings", "error", "said"),
    [
        (sentinel(40, 40)[:2], {}, RasterError, "has 2 bands: three are needed"),
        (sentinel(40, 40), {"bands": (1, 2, 9)}, RasterError, "has the bands 1 to 4"),
        (sentinel(40, 40), {"bands": (1, 1, 2)}, RasterError, "name each once"),
        (sentinel(40, 40), {"bands": (1, 2)}, RasterError, "2 bands will not do"),
        (sentinel(40, 40), {"other_bands": "nearest"}, InputError, "other_bands 'nearest'"),
        (sentinel(40, 40), {"value_range": "guess"}, InputError, "range 'guess' is unknown"),
        (sentinel(40, 40), {"value_range": (5, 5)}, InputError, "black must be less than white"),
        (sentinel(40, 40) * 0, {"value_range": "auto"}, InputError, "all pixels sampled are 0"),
        (sentinel(40, 40).astype(np.int16), {}, RasterError, "is int16: uint8, uint16"),
        (sentinel(40, 40), {"window": Window(0, 50, 0, 10)}, InputError, "leaves r of 40"),
        (sentinel(40, 40), {"bbox": (10.0, 10.0, 11.0, 11.0)}, InputError, "touches no pixel"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, dict | str) else "",
)
def test_settings_that_will_not_do_are_refused(
    image: npt.NDArray[Any],
    settings: dict[str, Any],
    error: type[Exception],
    said: str,
    file: ModelFile,
    tmp_path: Path,
) -> None:
    """In one line, before anything is computed."""
    raster = write_raster(tmp_path / "r.tif", image, alpha="NO")
    with pytest.raises(error, match=said):
        plan_upscale(raster, file, **settings)


def test_store_of_another_type_is_refused_by_those_who_take_8_bits(
    file: ModelFile, client: Client, tmp_path: Path
) -> None:
    """Training and evaluation say what is needed."""
    raster = write_raster(tmp_path / "s2.tif", sentinel(40, 40))
    upscale_store(raster, tmp_path / "sr.zarr", file, progress=False)
    with pytest.raises(StoreError, match="is uint16: uint8 is needed"):
        open_inputs(tmp_path / "sr.zarr")
