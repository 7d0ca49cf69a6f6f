"""Tiles from rasters: exact pixels where the grids agree, bilinear warping everywhere else.

Where a raster already lies on the pixel grid of the zoom, its pixels are read and handed out
untouched: the mosaic then holds the file bit for bit. Everywhere else GDAL warps. The ratio of
the two pixel sizes is fixed once for a raster and a zoom: left to itself GDAL would derive it anew
from each tile's corners, and filters of different width would leave seams between tiles.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import mercantile
import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform, transform_bounds
from rasterio.windows import Window

from srsat_dask.errors import RasterError
from srsat_dask.mosaic.grid import TILE

WEB_MERCATOR = "EPSG:3857"

ZOOMS = (0, 22)
"""Zooms that rasters are warped to."""

METHOD = "bilinear"
"""How pixels are resampled."""

GRID_TOLERANCE = 1e-3
"""How far, in pixels, a raster may lie off the tile grid and still be handed out untouched."""

_WARP_TOLERANCE = 0.01
"""How far, in source pixels, GDAL's approximate transformer may miss the true position."""

_IDLE = 32
"""Open rasters that a process keeps for the next tile."""

_CIRCUMFERENCE = mercantile.xy_bounds(0, 0, 0).right * 2

Rgba = npt.NDArray[np.uint8]
"""A tile's pixels, (256, 256, 4); alpha is 0 or 255."""


def pixel_size(zoom: int) -> float:
    """Return the side of a pixel of the tile grid in EPSG:3857 metres."""
    return float(_CIRCUMFERENCE / TILE / 2**zoom)


def native_size(raster: rasterio.DatasetReader) -> tuple[float, float]:
    """Return width and height of a raster's central pixel in EPSG:3857 metres.

    Raises
    ------
    RasterError
        The raster lies where web mercator does not reach.
    """
    column, row = raster.width / 2, raster.height / 2
    steps = [raster.transform @ at for at in ((column, row), (column + 1, row), (column, row + 1))]
    xs, ys = transform(raster.crs, WEB_MERCATOR, *zip(*steps, strict=True))
    size = math.hypot(xs[1] - xs[0], ys[1] - ys[0]), math.hypot(xs[2] - xs[0], ys[2] - ys[0])
    if not all(0 < side < math.inf for side in size):
        raise RasterError("lies beyond web mercator's ±85.05° of latitude")
    return size


def nearest_zoom(raster: rasterio.DatasetReader) -> int:
    """Return the zoom whose pixels are nearest in size to a raster's, within 0..22."""
    zoom = round(math.log2(pixel_size(0) / math.sqrt(math.prod(native_size(raster)))))
    return min(max(zoom, ZOOMS[0]), ZOOMS[1])


class Warper:
    """An open raster and how it comes to lie on the tile grid of one zoom.

    One thread at a time may use it, as any GDAL dataset.

    Parameters
    ----------
    path : str
        What GDAL opens: a raster of three or more uint8 bands.
    zoom : int
        Zoom of the tiles, 0 to 22.

    Raises
    ------
    RasterError
        Another kind of raster. The message does not name it: the path may be a secret.
    """

    def __init__(self, path: str, zoom: int) -> None:
        self._size = pixel_size(zoom)
        # From a server no format but GeoTIFF: a VRT could name files of this machine.
        only = {"driver": "GTiff"} if path.startswith("/vsicurl/") else {}
        raster = rasterio.open(path, **only)
        if raster.count < 3 or set(raster.dtypes[:3]) != {"uint8"} or raster.crs is None:
            raise RasterError("is no raster of three uint8 bands with a CRS")
        factor = self._size / max(native_size(raster))
        # The coarsest overview that is still as fine as the tile: a whole scene on one tile of
        # a low zoom need not be read at full resolution.
        level = sum(overview <= factor * (1 + GRID_TOLERANCE) for overview in raster.overviews(1))
        if level:
            raster.close()
            raster = rasterio.open(path, overview_level=level - 1, **only)
        self._raster = raster
        self._bounds = transform_bounds(raster.crs, WEB_MERCATOR, *raster.bounds)
        self._scale = tuple(native / self._size for native in native_size(raster))
        self._exact = self._on_grid()

    def close(self) -> None:
        """Close the raster."""
        self._raster.close()

    def tile(self, x: int, y: int) -> Rgba | None:
        """Return a tile, transparent outside the footprint; None if it does not touch it."""
        side = self._size * TILE
        left, top = x * side - _CIRCUMFERENCE / 2, _CIRCUMFERENCE / 2 - y * side
        west, south, east, north = self._bounds
        slack = self._size * GRID_TOLERANCE
        if left >= east - slack or left + side <= west + slack:
            return None
        if top <= south + slack or top - side >= north - slack:
            return None
        return self._read(left, top) if self._exact else self._warp(left, top)

    def _on_grid(self) -> bool:
        raster, affine = self._raster, self._raster.transform
        if raster.crs != WEB_MERCATOR or affine.b or affine.d:
            return False
        # A pixel size a little off adds up: what counts is the drift over the whole raster.
        drift = max(
            abs(affine.a / self._size - 1) * raster.width,
            abs(affine.e / self._size + 1) * raster.height,
        )
        # Both count from the grid's corner, half the world away: that far floats are good enough.
        column = (affine.c + _CIRCUMFERENCE / 2) / self._size
        row = (_CIRCUMFERENCE / 2 - affine.f) / self._size
        off = max(drift, abs(column - round(column)), abs(row - round(row)))
        return bool(off < GRID_TOLERANCE)

    def _read(self, left: float, top: float) -> Rgba:
        raster, affine = self._raster, self._raster.transform
        column = round((left - affine.c) / self._size)
        row = round((affine.f - top) / self._size)
        x0, x1 = max(column, 0), min(column + TILE, raster.width)
        y0, y1 = max(row, 0), min(row + TILE, raster.height)
        rgba = np.zeros((TILE, TILE, 4), np.uint8)
        window = Window(x0, y0, x1 - x0, y1 - y0)
        inside = rgba[y0 - row : y1 - row, x0 - column : x1 - column]
        inside[..., :3] = np.moveaxis(raster.read([1, 2, 3], window=window), 0, -1)
        inside[..., 3] = raster.dataset_mask(window=window)
        return _cut_out(rgba)

    def _warp(self, left: float, top: float) -> Rgba:
        raster = self._raster
        has_alpha = MaskFlags.alpha in raster.mask_flag_enums[0]
        with WarpedVRT(
            raster,
            crs=WEB_MERCATOR,
            transform=Affine(self._size, 0, left, 0, -self._size, top),
            width=TILE,
            height=TILE,
            resampling=Resampling[METHOD],
            add_alpha=not has_alpha,
            tolerance=_WARP_TOLERANCE,
            UNIFIED_SRC_NODATA="YES",  # one black band does not make a pixel of nodata
            XSCALE=repr(self._scale[0]),
            YSCALE=repr(self._scale[1]),
        ) as warped:
            alpha = warped.colorinterp.index(ColorInterp.alpha) + 1
            return _cut_out(np.moveaxis(warped.read([1, 2, 3, alpha]), 0, -1))


def _cut_out(rgba: Rgba) -> Rgba:
    """Make alpha all or nothing and zero every pixel outside the footprint."""
    inside = rgba[..., 3:] >= 128
    cut = rgba * inside
    cut[..., 3:] = np.where(inside, np.uint8(255), np.uint8(0))
    return cut


class WarperPool:
    """Warpers of this process that no thread uses at the moment.

    Parameters
    ----------
    most : int
        How many idle ones are kept open; those not used for longest are closed.
    """

    def __init__(self, most: int = _IDLE) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._idle: OrderedDict[int, tuple[object, Warper]] = OrderedDict()

    @contextmanager
    def borrow(self, path: str, zoom: int, version: object = None) -> Iterator[Warper]:
        """Lend a warper to one thread; one that met an error is closed and not kept.

        Parameters
        ----------
        path : str
            What GDAL opens.
        zoom : int
            Zoom of the tiles.
        version : object
            Whatever changes when the raster does.
        """
        key = (path, zoom, version)
        warper = self._take(key) or Warper(path, zoom)
        try:
            yield warper
        except BaseException:
            warper.close()
            raise
        self._keep(key, warper)

    def close(self) -> None:
        """Close all idle warpers."""
        with self._lock:
            while self._idle:
                self._idle.popitem()[1][1].close()

    def _take(self, key: object) -> Warper | None:
        with self._lock:
            for place, (kept, warper) in self._idle.items():
                if kept == key:
                    del self._idle[place]
                    return warper
        return None

    def _keep(self, key: object, warper: Warper) -> None:
        with self._lock:
            self._idle[id(warper)] = (key, warper)
            if len(self._idle) > self._most:
                self._idle.popitem(last=False)[1][1].close()


pool = WarperPool()
"""The idle warpers of this process."""
