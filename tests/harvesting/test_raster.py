"""Rasters as a source: exact where grids agree, true to the ground elsewhere, clear in errors."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from pickle import dumps
from typing import Any

import mercantile
import numpy as np
import numpy.typing as npt
import pyproj
import pytest
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.warp import reproject

from srsat_dask.errors import InputError, RasterError
from srsat_dask.harvesting import warping
from srsat_dask.harvesting.raster import RasterSource, open_rasters
from srsat_dask.harvesting.scene import Scene, TileError
from srsat_dask.mosaic.grid import TileRange

UTM = "EPSG:32654"
CORNER = (380_000.0, 3_950_000.0)
"""Easting and northing of the north-west corner of the test rasters, metres."""


def write(
    path: Path,
    image: npt.NDArray[np.uint8],
    transform: Affine,
    crs: str | None = UTM,
    **profile: Any,
) -> Path:
    """Write (band, y, x) as a tiled GeoTIFF."""
    bands, height, width = image.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=bands, height=height, width=width, dtype=image.dtype,
        crs=crs, transform=transform, tiled=True, blockxsize=256, blockysize=256, **profile,
    ) as raster:  # fmt: skip
        raster.write(image)
    return path


def ground(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return what lies on the ground, three smooth bands, from UTM metres."""
    return np.stack(
        [
            128 + 100 * np.sin(x / 61),
            128 + 100 * np.cos(y / 53),
            128 + 100 * np.sin((x + y) / 71),
        ]
    )


def picture(transform: Affine, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return the ground as a raster of that place sees it."""
    column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    x = transform.a * column + transform.b * row + transform.c
    y = transform.d * column + transform.e * row + transform.f
    return np.rint(ground(x, y)).astype(np.uint8)


def mosaic(source: RasterSource, scene: Scene, zoom: int) -> tuple[TileRange, npt.NDArray[Any]]:
    """Return the tiles of a scene, and their pixels side by side, RGBA (y, x, 4)."""
    tiles = TileRange.covering(scene.bounds, zoom)
    image = np.zeros((tiles.rows * 256, tiles.columns * 256, 4), np.uint8)
    for row in range(tiles.rows):
        for column in range(tiles.columns):
            at = tiles.tile(row, column)
            pixels = source.fetch(scene.id, zoom, at.x, at.y)
            if pixels is not None:
                image[row * 256 : (row + 1) * 256, column * 256 : (column + 1) * 256] = pixels
    return tiles, image


def centres(tiles: TileRange, crs: str = UTM) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return x and y of the pixel centres of a mosaic in a CRS, by mercantile and pyproj."""
    corner = mercantile.xy_bounds(tiles.x0, tiles.y0, tiles.zoom)
    side = (corner.right - corner.left) / 256
    xs = corner.left + (np.arange(tiles.columns * 256) + 0.5) * side
    ys = corner.top - (np.arange(tiles.rows * 256) + 0.5) * side
    way = pyproj.Transformer.from_crs("EPSG:3857", crs, always_xy=True)
    x, y = way.transform(*np.meshgrid(xs, ys))
    return x, y


TRANSFORMS = {
    "north up": Affine(1.2, 0, CORNER[0], 0, -1.2, CORNER[1]),
    "south up": Affine(1.2, 0, CORNER[0], 0, 1.2, CORNER[1] - 480),
    "rotated": Affine.translation(*CORNER) @ Affine.rotation(-25) @ Affine.scale(1.1, -1.3),
}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("zoom", [17, 18])
def test_warped_pixels_show_the_ground_under_them(name: str, zoom: int, tmp_path: Path) -> None:
    """A smooth ground comes out as it is at each pixel's centre: no half-pixel shift."""
    transform = TRANSFORMS[name]
    path = write(tmp_path / "a.tif", picture(transform, 400, 500), transform)
    source = open_rasters(path)
    (scene,) = source.search(None)
    tiles, image = mosaic(source, scene, zoom)
    x, y = centres(tiles)
    column, row = ~transform @ (x, y)
    inside = (column > 1) & (column < 499) & (row > 1) & (row < 399)
    outside = (column < -1) | (column > 501) | (row < -1) | (row > 401)
    assert inside.sum() > 100_000
    assert outside.any()
    assert (image[inside, 3] == 255).all()
    assert not image[outside].any()
    off = image[..., :3].transpose(2, 0, 1)[:, inside] - ground(x, y)[:, inside]
    assert np.abs(off).max() < 2.5
    # Where the ground slopes, a shift shows as a difference in proportion: fit it, in metres.
    slope_x, slope_y = np.cos(x[inside] / 61) / 61, -np.sin(y[inside] / 53) / 53
    assert abs((off[0] * slope_x).sum() / (100 * slope_x**2).sum()) < 0.02
    assert abs((off[1] * slope_y).sum() / (100 * slope_y**2).sum()) < 0.02


@pytest.mark.parametrize("zoom", [14, 16])
def test_tiles_coarser_than_the_raster_have_no_seams(zoom: int, tmp_path: Path) -> None:
    """Cut into tiles or warped whole, a filter of the same width makes the same picture."""
    rng = np.random.default_rng(3)
    transform = TRANSFORMS["north up"]
    noise = rng.integers(1, 255, (3, 900, 1100), dtype=np.uint8)
    source = open_rasters(write(tmp_path / "a.tif", noise, transform))
    (scene,) = source.search(None)
    tiles, image = mosaic(source, scene, zoom)
    assert tiles.rows * tiles.columns > 1
    place = tiles.georeference
    latitude = np.radians(np.mean(scene.bounds[1::2]))
    scale = float(1.2 / np.cos(latitude) / place.transform.a)
    whole = np.zeros((3, place.height, place.width), np.uint8)
    reproject(
        noise, whole, src_transform=transform, src_crs=UTM, dst_transform=place.transform,
        dst_crs=place.crs, resampling=Resampling.bilinear, tolerance=0.01,
        XSCALE=repr(scale), YSCALE=repr(scale),
    )  # fmt: skip
    both = (whole > 0).all(axis=0) & (image[..., 3] > 0)
    assert both.sum() > 0.9 * image[..., 3].astype(bool).sum()
    off = np.abs(image[..., :3].transpose(2, 0, 1)[:, both].astype(int) - whole[:, both])
    assert np.quantile(off, 0.999) <= 3


@pytest.mark.parametrize("zoom", [15, 17])
def test_raster_on_the_grid_comes_bit_for_bit(zoom: int, tmp_path: Path) -> None:
    """Every pixel of the file, black ones too, and none beside it."""
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (3, 300, 531), dtype=np.uint8)
    image[:, :40, :40] = 0
    # North-west pixel at column 100, row 37 of the tile x 29100 · 2^(zoom - 15).
    corner = mercantile.xy_bounds(29100 << zoom - 15, 12900 << zoom - 15, zoom)
    side = (corner.right - corner.left) / 256
    transform = Affine(side, 0, corner.left + 100 * side, 0, -side, corner.top - 37 * side)
    source = open_rasters(write(tmp_path / "a.tif", image, transform, "EPSG:3857"))
    assert source.native_zoom == zoom
    (scene,) = source.search(None)
    tiles, tiled = mosaic(source, scene, zoom)
    assert (tiles.rows, tiles.columns) == (2, 3)
    np.testing.assert_array_equal(tiled[37:337, 100:631, :3].transpose(2, 0, 1), image)
    assert (tiled[37:337, 100:631, 3] == 255).all()
    assert int((tiled[..., 3] != 0).sum()) == 300 * 531
    assert source.fetch(scene.id, zoom, tiles.x1, tiles.y0) is None
    assert source.fetch(scene.id, zoom, tiles.x0, tiles.y0 - 1) is None


@pytest.mark.imagery
def test_real_town_comes_bit_for_bit(imagery: Path) -> None:
    """The file lies on the grid of zoom 17 and not on tile borders."""
    source = open_rasters(imagery / "banepa_z17.tif")
    (scene,) = source.search(None)
    tiles, tiled = mosaic(source, scene, 17)
    with rasterio.open(imagery / "banepa_z17.tif") as raster:
        pixels, (x, y) = raster.read(), ~tiles.georeference.transform @ raster.transform @ (0, 0)
    part = np.s_[round(y) : round(y) + pixels.shape[1], round(x) : round(x) + pixels.shape[2]]
    np.testing.assert_array_equal(tiled[part][..., :3].transpose(2, 0, 1), pixels)
    assert int((tiled[..., 3] != 0).sum()) == pixels[0].size


@pytest.mark.parametrize("kind", ["nodata", "alpha", "mask", "nir"])
@pytest.mark.parametrize("grid", ["warped", "exact"])
def test_missing_pixels_are_transparent(kind: str, grid: str, tmp_path: Path) -> None:
    """However a file says it: nodata, alpha, a mask; a fourth band of infrared says nothing."""
    exact = grid == "exact"
    corner = mercantile.xy_bounds(58200, 25800, 16)
    side = (corner.right - corner.left) / 256
    transform = Affine(side, 0, corner.left, 0, -side, corner.top)
    if not exact:
        transform = transform @ Affine.translation(0.5, 0.5)
    hole = np.s_[100:150, 60:120]
    bands = 4 if kind in {"alpha", "nir"} else 3
    image = np.full((bands, 256, 256), 90, np.uint8)
    image[0, :, ::2], image[0, :, 1::2] = 0, 200  # a black band makes no pixel of nodata
    if kind == "nodata":
        image[:, *hole] = 0
    elif bands == 4:
        image[3] = 255
        image[3, *hole] = 0
    path = write(
        tmp_path / f"{kind}.tif", image, transform, "EPSG:3857",
        nodata=0 if kind == "nodata" else None, photometric="RGB",
        **({"alpha": "yes" if kind == "alpha" else "no"} if bands == 4 else {}),
    )  # fmt: skip
    if kind == "mask":
        seen = np.full((256, 256), 255, np.uint8)
        seen[hole] = 0
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as raster:
            raster.write_mask(seen)
    source = open_rasters(path)
    tile = source.fetch(kind, 16, 58200, 25800)
    assert tile is not None
    middle, beside = tile[110:140, 70:110], tile[160:200, 60:120]
    reds = {0, 200} if exact else {100}
    assert (beside[..., 1:] == (90, 90, 255)).all()
    assert set(np.unique(beside[..., 0])) == reds
    if kind == "nir":
        assert (middle[..., 1:] == (90, 90, 255)).all()
        assert set(np.unique(middle[..., 0])) == reds
    else:
        assert not middle.any()
        assert abs(int((tile[20:, 20:, 3] == 0).sum()) - 50 * 60) <= (0 if exact else 240)
    assert set(np.unique(tile[..., 3])) <= {0, 255}


def test_overviews_serve_coarse_zooms(tmp_path: Path) -> None:
    """A coarse tile shows the same ground, read from few pixels."""
    transform = TRANSFORMS["north up"]
    path = write(tmp_path / "a.tif", picture(transform, 1024, 1024), transform)
    plain = open_rasters(path)
    (scene,) = plain.search(None)
    _, before = mosaic(plain, scene, 15)
    with rasterio.open(path, "r+") as raster:
        raster.build_overviews([2, 4, 8], Resampling.average)
    _, after = mosaic(open_rasters(path), scene, 15)
    both = (before[..., 3] & after[..., 3]) != 0
    assert both.sum() > 40_000
    assert np.abs(before[both].astype(int) - after[both]).mean() < 2
    assert (before != after).any(), "the overviews were read"


def test_footprint_and_date_make_the_scene(tmp_path: Path) -> None:
    """Bounds are those of the four corners, the date is the TIFF's."""
    transform = TRANSFORMS["rotated"]
    path = write(tmp_path / "my scene (1).tif", picture(transform, 100, 200), transform)
    with rasterio.open(path, "r+") as raster:
        raster.update_tags(TIFFTAG_DATETIME="2019:05:17 01:02:03")
    (scene,) = open_rasters(path).search(None)
    assert scene.id == "my-scene-1-"
    assert scene.acquired == datetime(2019, 5, 17, 1, 2, 3, tzinfo=UTC)
    assert scene.source == str(path.resolve())
    corners = [transform @ at for at in ((0, 0), (200, 0), (0, 100), (200, 100))]
    to_degrees = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform
    longitudes, latitudes = to_degrees(*zip(*corners, strict=True))
    around = (min(longitudes), min(latitudes), max(longitudes), max(latitudes))
    # GDAL bounds the rectangle around the corners, which is a little wider.
    assert scene.bounds == pytest.approx(around, abs=1e-4)
    assert scene.bounds[0] <= around[0] + 1e-9
    assert scene.bounds[3] >= around[3] - 1e-9


@pytest.mark.parametrize("metres", [0.3, 1.0, 10.0])
def test_native_zoom_is_the_nearest(metres: float, tmp_path: Path) -> None:
    """No other zoom's pixels are nearer in size, on a logarithmic scale, at that latitude."""
    transform = Affine(metres, 0, CORNER[0], 0, -metres, CORNER[1])
    path = write(tmp_path / "a.tif", np.zeros((3, 64, 64), np.uint8), transform)
    sizes = {z: 40_075_016.7 / 256 / 2**z * np.cos(np.radians(35.7)) for z in range(23)}
    nearest = min(sizes, key=lambda z: abs(np.log(sizes[z] / metres)))
    assert open_rasters(path).native_zoom == nearest


def test_folder_gives_a_scene_a_file(tmp_path: Path) -> None:
    """Other files and folders are left alone; a box chooses by footprint."""
    for number, name in enumerate(["b.tif", "a.TIF"]):
        transform = Affine(1, 0, CORNER[0] + 90_000 * number, 0, -1, CORNER[1])
        write(tmp_path / name, picture(transform, 64, 64), transform)
    (tmp_path / "notes.txt").write_text("not a raster")
    (tmp_path / "more").mkdir()
    source = open_rasters(tmp_path)
    found = source.search(None)
    assert [scene.id for scene in found] == ["a", "b"]
    assert source.search(found[0].bounds) == found[:1]
    assert source.search((0, 0, 1, 1)) == []
    assert len(dumps(source)) < 1000


def test_lineage_follows_the_bytes_and_not_the_place(tmp_path: Path) -> None:
    """A file moved is the same source, a file with one other pixel is not."""
    transform = TRANSFORMS["north up"]
    image = picture(transform, 64, 64)
    path = write(tmp_path / "a.tif", image, transform)
    lineage = open_rasters(path).lineage("a")
    (tmp_path / "away").mkdir()
    moved = Path(shutil.copy(path, tmp_path / "away" / "a.tif"))
    assert open_rasters(moved).lineage("a") == lineage
    image[0, 0, 0] ^= 1
    write(path, image, transform)
    assert open_rasters(path).lineage("a") != lineage
    assert str(tmp_path) not in str(lineage)


def test_file_written_anew_is_read_anew(tmp_path: Path) -> None:
    """No open file outlives its contents, and few stay open."""
    transform = TRANSFORMS["north up"]
    path = tmp_path / "a.tif"
    at = mercantile.tile(*open_at(write(path, picture(transform, 400, 400), transform)), 17)
    source = open_rasters(path)
    first = source.fetch("a", 17, at.x, at.y)
    os.utime(write(path, 255 - picture(transform, 400, 400), transform), ns=(1, 1))
    second = source.fetch("a", 17, at.x, at.y)
    assert first is not None
    assert second is not None
    seen = (first[..., 3] & second[..., 3]) != 0
    assert seen.any()
    assert np.abs(255 - first[seen, :3].astype(int) - second[seen, :3]).max() <= 1


def open_at(path: Path) -> tuple[float, float]:
    """Return longitude and latitude of a raster's centre."""
    (scene,) = open_rasters(path).search(None)
    west, south, east, north = scene.bounds
    return (west + east) / 2, (south + north) / 2


def test_threads_read_the_same_as_one(tmp_path: Path) -> None:
    """Each thread has a raster of its own while it reads, and idle ones are bounded."""
    transform = TRANSFORMS["rotated"]
    source = open_rasters(write(tmp_path / "a.tif", picture(transform, 600, 600), transform))
    (scene,) = source.search(None)
    tiles = list(mercantile.tiles(*scene.bounds, [18]))
    alone = [source.fetch(scene.id, 18, at.x, at.y) for at in tiles]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda at: source.fetch(scene.id, 18, at.x, at.y), tiles))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_idle_rasters_are_closed_beyond_the_limit(tmp_path: Path) -> None:
    """So are those that met an error."""
    transform = TRANSFORMS["north up"]
    path = str(write(tmp_path / "a.tif", picture(transform, 64, 64), transform))
    pool = warping.WarperPool(most=1)
    with pool.borrow(path, 17) as first, pool.borrow(path, 17) as second:
        assert first is not second
    with pool.borrow(path, 17) as kept:
        assert kept in (first, second)
    with pytest.raises(ZeroDivisionError), pool.borrow(path, 17) as failed:
        raise ZeroDivisionError
    with pool.borrow(path, 17) as fresh:
        assert fresh is not failed
    pool.close()


@pytest.mark.parametrize(
    ("bands", "dtype", "crs", "said"),
    [
        (1, "uint8", UTM, r"1 band\(s\)"),
        (3, "uint16", UTM, "uint16: uint8 is needed"),
        (3, "uint8", None, "no CRS"),
    ],
)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_rasters_that_cannot_be_used_are_refused(
    bands: int, dtype: str, crs: str | None, said: str, tmp_path: Path
) -> None:
    """Each with its remedy, and in a folder with its name."""
    image = np.zeros((bands, 16, 16), dtype)
    write(tmp_path / "bad.tif", image, TRANSFORMS["north up"] if crs else Affine.identity(), crs)
    for place in (tmp_path / "bad.tif", tmp_path):
        with pytest.raises(RasterError, match=rf"bad\.tif .*{said}"):
            open_rasters(place).search(None)


def test_places_that_hold_no_rasters_are_refused(tmp_path: Path) -> None:
    """An empty folder, a text, two files of one id, a footprint across the antimeridian."""
    with pytest.raises(InputError, match="holds no raster"):
        open_rasters(tmp_path)
    (tmp_path / "text.tif").write_text("not a raster")
    with pytest.raises(RasterError, match="not a raster that GDAL reads"):
        open_rasters(tmp_path / "text.tif").search(None)
    (tmp_path / "text.jp2").write_text("of the same name")
    with pytest.raises(InputError, match="would both be scene text"):
        open_rasters(tmp_path)
    across = write(
        tmp_path / "across.tif", np.zeros((3, 64, 64), np.uint8),
        Affine(100, 0, 829_000, 0, -100, 100_000), "EPSG:32660",
    )  # fmt: skip
    with pytest.raises(RasterError, match="antimeridian"):
        open_rasters(across).search(None)


def test_file_that_is_gone_or_torn_fails_its_tiles(tmp_path: Path) -> None:
    """The run goes on, the tile is recorded as failed and can be fetched later."""
    transform = TRANSFORMS["north up"]
    noise = np.random.default_rng(0).integers(0, 256, (3, 600, 600), dtype=np.uint8)
    path = write(tmp_path / "a.tif", noise, transform, compress="deflate")
    source = open_rasters(path)
    at = mercantile.tile(*open_at(path), 17)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(TileError, match=r"cannot read .*a\.tif"):
        source.fetch("a", 17, at.x, at.y)
    path.unlink()
    with pytest.raises(TileError, match=r"cannot read .*a\.tif"):
        source.fetch("a", 17, at.x, at.y)
    path.write_bytes(whole)
    assert source.fetch("a", 17, at.x, at.y) is not None
    with pytest.raises(InputError, match="has no scene b"):
        source.fetch("b", 17, at.x, at.y)
