"""A GeoTIFF served as web-mercator tiles.

Two ways to a pixel. Where the raster already lies on the pixel grid of the zoom asked for, its
pixels are read and handed out untouched: a harvest of such a scene must return the file bit for
bit. Everywhere else GDAL warps, and the footprint travels along as the alpha band.
"""

import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from srsat_dask.errors import InputError, RasterError
from srsat_dask.sandbox.scenes import TILE, WORLD, Bounds, Rgba, SceneProvider, pixel_size

WEB_MERCATOR = "EPSG:3857"

MIN_ZOOM, MAX_ZOOM = 9, 20

GRID_TOLERANCE = 1e-3
"""How far, in pixels, a raster may lie off the tile grid and still be handed out untouched."""


@dataclass(frozen=True)
class RasterScene:
    """A raster of three or more uint8 bands (red, green, blue first) in any CRS.

    Build it with :func:`open_raster`, which checks the file. The file is opened anew for every
    tile, because a rasterio dataset must not be shared between threads.
    """

    path: Path
    """The GeoTIFF, or anything else GDAL reads."""

    entity_id: str
    """Name in addresses, from the file name."""

    bounds: Bounds
    """West, south, east, north, degrees."""

    mercator_bounds: Bounds
    """The same in EPSG:3857 metres."""

    acquired: datetime
    """The TIFF's own date if it has one, else when the file was last written."""

    native_zoom: int
    """The zoom whose pixel size is nearest the raster's, within 9..20."""

    cloud_cover: float = 0.0
    """Percent; a file does not tell."""

    min_zoom: int = MIN_ZOOM
    """Coarsest zoom served."""

    max_zoom: int = MAX_ZOOM
    """Finest zoom served."""

    def tile(self, z: int, x: int, y: int) -> Rgba | None:
        """Render one tile; see :meth:`SceneProvider.tile`.

        Raises
        ------
        RasterError
            The file vanished or cannot be read any more.
        """
        size = pixel_size(z)
        left, top = x * TILE * size - WORLD / 2, WORLD / 2 - y * TILE * size
        west, south, east, north = self.mercator_bounds
        if left >= east or left + TILE * size <= west:
            return None
        if top <= south or top - TILE * size >= north:
            return None
        try:
            with rasterio.open(self.path) as source:
                offset = _grid_offset(source, left, top, size)
                if offset is not None:
                    rgba = _read_exactly(source, *offset)
                else:
                    rgba = _warp(source, left, top, size)
        except RasterioError as error:
            raise RasterError(f"cannot read {self.path}: {error}; check the file") from error
        return rgba if rgba[..., 3].any() else None


def open_scenes(paths: Sequence[str | Path]) -> list[SceneProvider]:
    """Open rasters as scenes.

    Parameters
    ----------
    paths : sequence of str or Path
        GDAL-readable rasters, each with a CRS and at least three uint8 bands.

    Returns
    -------
    list of SceneProvider
        One scene a file, in the order given.

    Raises
    ------
    RasterError
        A file is missing, unreadable, without CRS, of fewer bands or of another dtype.
    InputError
        Two file names make the same entity id.
    """
    scenes: dict[str, RasterScene] = {}
    for path in paths:
        scene = open_raster(path)
        if scene.entity_id in scenes:
            raise InputError(
                f"{path} and {scenes[scene.entity_id].path} would both be scene "
                f"{scene.entity_id!r}: rename one of the files"
            )
        scenes[scene.entity_id] = scene
    return list(scenes.values())


def open_raster(path: str | Path) -> RasterScene:
    """Check one raster and describe it as a scene; errors as for :func:`open_scenes`."""
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # _check says it better
            source = rasterio.open(path)
        with source:
            _check(path, source)
            edges = tuple(source.bounds)
            mercator = transform_bounds(source.crs, WEB_MERCATOR, *edges)
            # Diagonal over diagonal: holds for any CRS and for pixels that are not square.
            diagonal = math.hypot(mercator[2] - mercator[0], mercator[3] - mercator[1])
            size = diagonal / math.hypot(source.width, source.height)
            zoom = round(math.log2(pixel_size(0) / size))
            return RasterScene(
                path=path,
                entity_id=re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem),
                bounds=transform_bounds(source.crs, "EPSG:4326", *edges),
                mercator_bounds=mercator,
                acquired=_acquired(path, source),
                native_zoom=min(max(zoom, MIN_ZOOM), MAX_ZOOM),
            )
    except RasterioError as error:
        raise RasterError(f"cannot read {path}: expected a GeoTIFF; {error}") from error


def _check(path: Path, source: rasterio.DatasetReader) -> None:
    if source.crs is None:
        raise RasterError(f"{path} has no CRS: assign one, e.g. gdal_edit.py -a_srs EPSG:32654")
    if source.count < 3:
        raise RasterError(
            f"{path} has {source.count} band(s), expected red, green and blue: stack three bands"
        )
    dtypes = source.dtypes[:3]
    if set(dtypes) != {"uint8"}:
        raise RasterError(
            f"{path} holds {', '.join(sorted(set(dtypes)))}, expected uint8: rescale it, e.g. "
            "gdal_translate -ot Byte -scale"
        )


def _acquired(path: Path, source: rasterio.DatasetReader) -> datetime:
    """Read the date of the TIFF (taken as UTC), or fall back to the file's."""
    try:
        stamp = datetime.strptime(source.tags().get("TIFFTAG_DATETIME", ""), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC).replace(microsecond=0)
    return stamp.replace(tzinfo=UTC)


def _grid_offset(
    source: rasterio.DatasetReader, left: float, top: float, size: float
) -> tuple[int, int] | None:
    """Column and row of the tile's corner in the raster, or None where the two grids differ."""
    affine = source.transform
    if source.crs != WEB_MERCATOR or affine.b or affine.d:
        return None
    # A pixel size a little off adds up: what counts is the drift over the whole raster.
    drift = max(abs(affine.a - size) * source.width, abs(affine.e + size) * source.height)
    column, row = (left - affine.c) / size, (affine.f - top) / size
    off_grid = max(abs(column - round(column)), abs(row - round(row)))
    if drift > GRID_TOLERANCE * size or off_grid > GRID_TOLERANCE:
        return None
    return round(column), round(row)


def _read_exactly(source: rasterio.DatasetReader, column: int, row: int) -> Rgba:
    """Read the tile whose corner is at (column, row) of the raster, which it may overhang."""
    rgba = np.zeros((TILE, TILE, 4), np.uint8)
    x0, x1 = max(column, 0), min(column + TILE, source.width)
    y0, y1 = max(row, 0), min(row + TILE, source.height)
    if x0 < x1 and y0 < y1:
        window = Window(x0, y0, x1 - x0, y1 - y0)
        inside = rgba[y0 - row : y1 - row, x0 - column : x1 - column]
        inside[..., :3] = np.moveaxis(source.read([1, 2, 3], window=window), 0, -1)
        inside[..., 3] = source.dataset_mask(window=window)
    return _cut_out(rgba)


def _warp(source: rasterio.DatasetReader, left: float, top: float, size: float) -> Rgba:
    """Resample the raster onto a tile; the corner in EPSG:3857 metres, size in metres a pixel."""
    with WarpedVRT(
        source,
        crs=WEB_MERCATOR,
        transform=rasterio.Affine(size, 0, left, 0, -size, top),
        width=TILE,
        height=TILE,
        resampling=Resampling.cubic,
        add_alpha=ColorInterp.alpha not in source.colorinterp,
        # An approximate transformer would differ from tile to tile and leave seams; GDAL takes
        # no zero here.
        tolerance=1e-6,
        UNIFIED_SRC_NODATA="YES",  # one black band does not make a pixel of nodata
    ) as warped:
        alpha = warped.colorinterp.index(ColorInterp.alpha) + 1
        return _cut_out(np.moveaxis(warped.read([1, 2, 3, alpha]), 0, -1))


def _cut_out(rgba: Rgba) -> Rgba:
    """Make alpha all or nothing and zero every pixel outside the footprint."""
    inside = rgba[..., 3] >= 128
    cut = np.where(inside[..., None], rgba, np.uint8(0))
    cut[..., 3] = np.where(inside, 255, 0)
    return cut
