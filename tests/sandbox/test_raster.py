"""GeoTIFFs served as tiles: exact on the grid, warped elsewhere, refused where unusable."""

import math
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rasterio.warp import Resampling, reproject

from srsat_dask.errors import InputError, RasterError
from srsat_dask.sandbox import open_scenes
from srsat_dask.sandbox.raster import RasterScene, open_raster
from srsat_dask.sandbox.scenes import WORLD, pixel_size


def write(
    path: Path,
    pixels: np.ndarray,
    *,
    crs: str | None,
    transform: rasterio.Affine,
    nodata: float | None = None,
) -> Path:
    bands, height, width = pixels.shape
    profile = {"driver": "GTiff", "width": width, "height": height, "count": bands}
    profile |= {"dtype": pixels.dtype, "crs": crs, "transform": transform, "nodata": nodata}
    with rasterio.open(path, "w", **profile) as target:
        target.write(pixels)
    return path


def on_grid(zoom: int, column: float, row: float) -> rasterio.Affine:
    """Transform of a raster whose corner is at a global pixel of a zoom."""
    size = pixel_size(zoom)
    return rasterio.Affine(size, 0, column * size - WORLD / 2, 0, -size, WORLD / 2 - row * size)


def mosaic(scene: RasterScene, zoom: int) -> tuple[np.ndarray, int, int]:
    """All tiles of a scene side by side, and the global pixel of their corner."""
    west, south, east, north = scene.mercator_bounds
    side = 256 * pixel_size(zoom)
    columns = range(int((west + WORLD / 2) // side), int((east + WORLD / 2) // side) + 1)
    rows = range(int((WORLD / 2 - north) // side), int((WORLD / 2 - south) // side) + 1)
    picture = np.zeros((len(rows) * 256, len(columns) * 256, 4), np.uint8)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            tile = scene.tile(zoom, column, row)
            if tile is not None:
                picture[i * 256 : i * 256 + 256, j * 256 : j * 256 + 256] = tile
    return picture, columns[0] * 256, rows[0] * 256


@pytest.mark.imagery
@pytest.mark.parametrize(("name", "zoom"), [("banepa_z17.tif", 17), ("banepa_z18.tif", 18)])
def test_a_raster_on_the_grid_keeps_its_pixels(imagery: Path, name: str, zoom: int) -> None:
    """Its tiles hold the file bit for bit, opaque there and all zero around."""
    scene = open_raster(imagery / name)
    assert scene.native_zoom == zoom
    picture, left, top = mosaic(scene, zoom)
    with rasterio.open(imagery / name) as source:
        pixels = np.moveaxis(source.read(), 0, -1)
        column = round((source.transform.c + WORLD / 2) / pixel_size(zoom)) - left
        row = round((WORLD / 2 - source.transform.f) / pixel_size(zoom)) - top
    expected = np.zeros_like(picture)
    window = expected[row : row + pixels.shape[0], column : column + pixels.shape[1]]
    window[..., :3], window[..., 3] = pixels, 255
    np.testing.assert_array_equal(picture, expected)


@pytest.mark.imagery
def test_a_raster_in_another_crs_is_warped_where_it_lies(imagery: Path) -> None:
    """Tiles agree with one reprojection of the whole file, and end where the file ends."""
    path = imagery / "naip_sherando_1m.tif"
    scene = open_raster(path)
    assert scene.native_zoom == 17
    picture, left, top = mosaic(scene, 17)
    target = np.zeros((4, *picture.shape[:2]), np.uint8)
    with rasterio.open(path) as source:
        ones = np.full((1, source.height, source.width), 255, np.uint8)
        reproject(np.concatenate([source.read(), ones]), target,
                  src_transform=source.transform, src_crs=source.crs,
                  dst_transform=on_grid(17, left, top), dst_crs="EPSG:3857",
                  resampling=Resampling.cubic)  # fmt: skip
    oracle = np.moveaxis(target, 0, -1)
    inside = picture[..., 3] == 255
    assert np.mean(inside == (oracle[..., 3] >= 128)) > 0.999
    assert not picture[~inside].any()
    both = inside & (oracle[..., 3] == 255)
    difference = np.abs(picture[both].astype(int) - oracle[both])[:, :3]
    assert difference.mean() < 0.5
    # One pixel of displacement would differ far more than that.
    shifted = np.abs(picture[:, 1:][both[:, :-1]].astype(int) - oracle[:, :-1][both[:, :-1]])
    assert shifted[:, :3].mean() > 5 * difference.mean() + 2


@pytest.mark.imagery
@pytest.mark.parametrize("name", ["naip_sherando_1m.tif", "banepa_z17.tif"])
def test_coarser_zooms_are_smaller_pictures_of_the_same_place(imagery: Path, name: str) -> None:
    """The mean of a tile's four children resembles the tile."""
    scene = open_raster(imagery / name)
    picture, left, top = mosaic(scene, 16)
    fine = np.zeros((picture.shape[0] * 2, picture.shape[1] * 2, 4), np.uint8)
    for row in range(fine.shape[0] // 256):
        for column in range(fine.shape[1] // 256):
            tile = scene.tile(17, left // 128 + column, top // 128 + row)
            if tile is not None:
                fine[row * 256 : row * 256 + 256, column * 256 : column * 256 + 256] = tile
    mean = fine.reshape(picture.shape[0], 2, picture.shape[1], 2, 4).mean((1, 3))
    inside = (mean[..., 3] == 255) & (picture[..., 3] == 255)
    assert np.corrcoef(mean[inside][:, :3].ravel(), picture[inside][:, :3].ravel())[0, 1] > 0.95


@given(column=st.integers(-300, 300), row=st.integers(-300, 300), drift=st.floats(-4e-4, 4e-4))
def test_any_whole_pixel_offset_is_exact(
    tmp_path_factory: pytest.TempPathFactory, column: int, row: int, drift: float
) -> None:
    """A raster anywhere on the grid, a hair off at most, comes back pixel for pixel."""
    pixels = np.random.default_rng(0).integers(1, 256, (3, 40, 50), np.uint8)
    x, y = 2**16 * 256 + column, 100_000 * 256 // 4 + row
    path = write(tmp_path_factory.mktemp("grid") / "grid.tif", pixels, crs="EPSG:3857",
                 transform=on_grid(17, x + drift, y - drift))  # fmt: skip
    picture, left, top = mosaic(open_raster(path), 17)
    window = picture[y - top : y - top + 40, x - left : x - left + 50]
    np.testing.assert_array_equal(np.moveaxis(window[..., :3], -1, 0), pixels)
    assert int((picture[..., 3] == 255).sum()) == 40 * 50


def test_a_raster_half_a_pixel_off_the_grid_is_resampled(tmp_path: Path) -> None:
    """Off the grid the pixels cannot be the file's own."""
    pixels = np.random.default_rng(0).integers(1, 256, (3, 200, 200), np.uint8)
    path = write(tmp_path / "off.tif", pixels, crs="EPSG:3857",
                 transform=on_grid(17, 20000 * 256 + 10.5, 9000 * 256 + 10.5))  # fmt: skip
    tile = open_raster(path).tile(17, 20000, 9000)
    assert tile is not None
    assert not np.array_equal(tile[10:210, 10:210, :3], np.moveaxis(pixels, 0, -1))


def test_nodata_is_outside_the_footprint(tmp_path: Path) -> None:
    """A hole of nodata is transparent and zero; a pixel with one nodata band is not a hole."""
    pixels = np.full((3, 64, 64), 200, np.uint8)
    pixels[:, :32] = 7
    pixels[0, 40:] = 7
    path = write(tmp_path / "hole.tif", pixels, crs="EPSG:3857", nodata=7,
                 transform=on_grid(17, 20000 * 256, 9000 * 256))  # fmt: skip
    for zoom, scale in ((17, 1), (18, 2)):
        tile = open_raster(path).tile(zoom, 20000 * scale, 9000 * scale)
        assert tile is not None
        assert not tile[: 30 * scale, : 62 * scale].any()
        assert (tile[34 * scale : 62 * scale, : 62 * scale, 3] == 255).all()


def test_a_tile_off_the_raster_is_none(tmp_path: Path) -> None:
    """No tile is drawn where there is nothing, however near."""
    path = write(tmp_path / "small.tif", np.full((3, 256, 256), 9, np.uint8), crs="EPSG:3857",
                 transform=on_grid(17, 20000 * 256, 9000 * 256))  # fmt: skip
    scene = open_raster(path)
    assert scene.tile(17, 20000, 9000) is not None
    for x, y in ((19999, 9000), (20001, 9000), (20000, 8999), (20000, 9001)):
        assert scene.tile(17, x, y) is None


@pytest.mark.parametrize(
    ("bands", "dtype", "crs", "message"),
    [
        (2, "uint8", "EPSG:3857", "2 band"),
        (3, "uint16", "EPSG:3857", "uint16"),
        (3, "uint8", None, "no CRS"),
    ],
)
def test_unusable_rasters_are_refused(
    tmp_path: Path, bands: int, dtype: str, crs: str | None, message: str
) -> None:
    """The message names the file and what is wrong with it."""
    path = write(tmp_path / "bad.tif", np.ones((bands, 8, 8), dtype), crs=crs,
                 transform=on_grid(17, 5_000_000, 2_000_000))  # fmt: skip
    with pytest.raises(RasterError, match=message) as caught:
        open_scenes([path])
    assert "bad.tif" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_raster_are_refused(tmp_path: Path) -> None:
    """Missing and foreign files are a RasterError."""
    (tmp_path / "text.tif").write_text("not a raster")
    for name in ("text.tif", "missing.tif"):
        with pytest.raises(RasterError, match=name):
            open_scenes([tmp_path / name])


def test_a_picture_without_georeference_is_refused(tmp_path: Path) -> None:
    """A plain PNG is told to get a CRS, and rasterio's own warning is not repeated."""
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "plain.png")
    with pytest.raises(RasterError, match="no CRS"):
        open_scenes([tmp_path / "plain.png"])


def test_entity_ids_come_from_file_names(tmp_path: Path) -> None:
    """Anything but letters, digits, _ and - is replaced; two equal ids are refused."""
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths.append(write(tmp_path / folder / "Tokyo bay (1).tif", np.ones((3, 8, 8), np.uint8),
                           crs="EPSG:3857", transform=on_grid(17, 5e6, 2e6)))  # fmt: skip
    assert [scene.entity_id for scene in open_scenes(paths[:1])] == ["Tokyo-bay-1-"]
    with pytest.raises(InputError, match="rename"):
        open_scenes(paths)


def test_bounds_are_degrees(tmp_path: Path) -> None:
    """A raster over the whole of one tile has that tile's bounds."""
    path = write(tmp_path / "tile.tif", np.ones((3, 256, 256), np.uint8), crs="EPSG:3857",
                 transform=on_grid(9, 256 * 256, 256 * 256))  # fmt: skip
    west, south, east, north = open_scenes([path])[0].bounds
    expected = (0.0, -math.degrees(math.atan(math.sinh(2 * math.pi / 512))), 360 / 512, 0.0)
    assert (west, south, east, north) == pytest.approx(expected, abs=1e-9)
