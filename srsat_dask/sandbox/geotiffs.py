"""Scenes as GeoTIFFs: a raster's own file, or one drawn tile by tile and kept until the end."""

import asyncio
import math
import os
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from srsat_dask.sandbox.raster import WEB_MERCATOR, RasterScene
from srsat_dask.sandbox.scenes import TILE, WORLD, SceneProvider, pixel_size, to_pixels

ZOOM = 16
"""Zoom whose pixels are drawn, or the nearest that the scene has."""


class SceneFiles:
    """Finds or draws the GeoTIFF of a scene; each is drawn once.

    Use it on one event loop; drawing happens on threads of its own.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(min(2, os.cpu_count() or 1), "sandbox-geotiff")
        self._drawn: dict[str, asyncio.Future[Path]] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._closing = threading.Event()

    async def path(self, scene: SceneProvider) -> Path:
        """Return where the scene's GeoTIFF lies, after drawing it if need be."""
        if isinstance(scene, RasterScene):
            return scene.path
        drawn = self._drawn.get(scene.entity_id)
        if drawn is None or (drawn.done() and drawn.exception() is not None):
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="srsat-sandbox-")
            target = Path(self._folder.name) / f"{scene.entity_id}.tif"
            loop = asyncio.get_running_loop()
            drawn = loop.run_in_executor(self._pool, draw, scene, target, self._closing)
            self._drawn[scene.entity_id] = drawn
        return await asyncio.shield(drawn)  # others may wait for it after this client has gone

    def close(self) -> None:
        """Stop drawing and remove what was drawn."""
        self._closing.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._folder is not None:
            self._folder.cleanup()


def draw(scene: SceneProvider, target: Path, closing: threading.Event) -> Path:
    """Draw a scene as a Cloud-Optimized GeoTIFF.

    Parameters
    ----------
    scene : SceneProvider
        The scene to draw.
    target : Path
        File to write: EPSG:3857, RGBA of uint8 in blocks of one tile, all four bands zero outside
        the footprint. It spans the whole tiles that the scene touches.
    closing : threading.Event
        Once set, no more tiles are drawn.

    Returns
    -------
    Path
        ``target``.

    Raises
    ------
    InterruptedError
        ``closing`` was set before the last tile.
    """
    zoom = min(max(ZOOM, scene.min_zoom), scene.max_zoom)
    left, top, right, bottom = _tile_range(scene, zoom)
    size = pixel_size(zoom)
    profile = {
        "driver": "GTiff", "count": 4, "dtype": "uint8", "crs": WEB_MERCATOR,
        "width": (right - left) * TILE, "height": (bottom - top) * TILE,
        "transform": rasterio.Affine(size, 0, left * TILE * size - WORLD / 2,
                                     0, -size, WORLD / 2 - top * TILE * size),
        "tiled": True, "blockxsize": TILE, "blockysize": TILE, "compress": "deflate",
        "photometric": "RGB", "alpha": "unassociated", "sparse_ok": True,
    }  # fmt: skip
    plain = target.with_suffix(".plain.tif")
    with rasterio.open(plain, "w", **profile) as raster:
        raster.colorinterp = (
            ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha
        )  # fmt: skip
        for x, y in _row_by_row(left, top, right, bottom):
            if closing.is_set():
                raise InterruptedError(f"the sandbox stopped while drawing {scene.entity_id}")
            tile = scene.tile(zoom, x, y)
            if tile is not None:
                window = Window((x - left) * TILE, (y - top) * TILE, TILE, TILE)
                raster.write(np.moveaxis(tile, -1, 0), window=window)
    rasterio.shutil.copy(plain, target, driver="COG", compress="deflate", blocksize=TILE)
    plain.unlink()
    return target


def _tile_range(scene: SceneProvider, zoom: int) -> tuple[int, int, int, int]:
    """First column and row of tiles that a scene touches, and those after the last."""
    west, south, east, north = scene.bounds
    slack = 1e-6  # bounds on the pixel grid come back from degrees a little off it
    left, top = (math.floor(edge / TILE + slack) for edge in to_pixels(west, north, zoom))
    right, bottom = (math.ceil(edge / TILE - slack) for edge in to_pixels(east, south, zoom))
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _row_by_row(left: int, top: int, right: int, bottom: int) -> Iterator[tuple[int, int]]:
    return ((x, y) for y in range(top, bottom) for x in range(left, right))
