"""Rasters as a source: a file or a folder of files, cut into web-mercator tiles. No server.

Each file is a scene. A file that changes is another source: its bytes are in the lineage.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds

from srsat_dask.errors import InputError, RasterError
from srsat_dask.harvesting import warping
from srsat_dask.harvesting.scene import Scene, TileError
from srsat_dask.mosaic.grid import Box, check_box
from srsat_dask.mosaic.inputs import RasterScene, raster_digest

ENDINGS = frozenset({".tif", ".tiff", ".vrt", ".jp2", ".img", ".gpkg"})
"""Endings of the files that are taken from a folder."""


@dataclass(frozen=True)
class RasterSource:
    """Rasters of three or more uint8 bands (red, green, blue first) in any CRS."""

    name: str
    """Absolute path of the file or folder: what ``--source`` takes; workers must reach it."""
    files: tuple[tuple[str, str], ...]
    """Id and absolute path of every scene, by id."""
    attribution: str | None = None
    """Whom to name beside the pictures; a file does not say."""

    @property
    def zooms(self) -> tuple[int, int]:
        """Lowest and highest zoom that rasters are warped to."""
        return warping.ZOOMS

    @property
    def native_zoom(self) -> int | None:
        """The zoom whose pixels are nearest in size to those of the finest raster."""
        return max(_nearest_zoom(path) for _, path in self.files)

    def lineage(self, scene: str) -> dict[str, object]:
        """Return what decides the pixels: the bytes, wherever the file lies."""
        path = self._path(scene)
        return {
            "source": "raster",
            "file": Path(path).name,
            "sha256": raster_digest(path),
            "resampling": warping.METHOD,
        }

    def search(self, box: Box | None) -> list[Scene]:
        """Return the rasters that touch a box (W, S, E, N in degrees, EPSG:4326), or all.

        Raises
        ------
        RasterError
            A file that is unreadable, without CRS, of fewer than three bands or not uint8.
        """
        found = [_scene(id_, path, self.name) for id_, path in self.files]
        if box is None:
            return found
        west, south, east, north = check_box(box)
        return [
            scene
            for scene in found
            if scene.bounds[0] <= east
            and scene.bounds[2] >= west
            and scene.bounds[1] <= north
            and scene.bounds[3] >= south
        ]

    def fetch(self, scene: str, zoom: int, x: int, y: int) -> npt.NDArray[np.uint8] | None:
        """Return one tile as RGBA, uint8 (256, 256, 4), or None outside the footprint.

        Raises
        ------
        TileError
            The file cannot be read (any more).
        """
        path = self._path(scene)
        try:
            with warping.pool.borrow(path, zoom, _version(path)) as warper:
                return warper.tile(x, y)
        except (RasterError, RasterioError, OSError) as error:
            raise TileError(f"cannot read {path}: {error}") from error

    def _path(self, scene: str) -> str:
        for id_, path in self.files:
            if id_ == scene:
                return path
        raise InputError(f"{self.name} has no scene {scene}: see 'srsat scenes'")


def open_rasters(path: str | Path) -> RasterSource:
    """Return a raster, or the rasters of a folder (not of its subfolders), as a source.

    Raises
    ------
    InputError
        No raster in the folder, or two whose names make the same scene id.
    """
    place = Path(path).resolve()
    paths = [place]
    if place.is_dir():
        paths = sorted(p for p in place.iterdir() if p.suffix.lower() in ENDINGS and p.is_file())
        if not paths:
            raise InputError(f"{place} holds no raster ({', '.join(sorted(ENDINGS))})")
    files: dict[str, str] = {}
    for file in paths:
        id_ = re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).lstrip("._-") or "raster"
        if id_ in files:
            raise InputError(f"{file} and {files[id_]} would both be scene {id_}: rename one")
        files[id_] = str(file)
    return RasterSource(str(place), tuple(sorted(files.items())))


def _scene(id_: str, path: str, source: str) -> Scene:
    bounds = RasterScene.open(path).georeference.bounds
    with rasterio.open(path) as raster:
        try:
            west, south, east, north = transform_bounds(raster.crs, "EPSG:4326", *bounds)
        except RasterioError as error:
            raise RasterError(f"{path} has a footprint that no longitudes bound") from error
        stamp = raster.tags().get("TIFFTAG_DATETIME", "")
    if not west < east:
        raise RasterError(f"{path} crosses the antimeridian: split it there, e.g. with gdalwarp")
    box = (max(west, -180.0), max(south, -90.0), min(east, 180.0), min(north, 90.0))
    return Scene(id_, box, acquired=_moment(stamp), source=source)


def _moment(stamp: str) -> datetime | None:
    """Return a TIFF's own date, which has no time zone and is taken as UTC."""
    try:
        return datetime.strptime(stamp, "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _nearest_zoom(path: str) -> int:
    RasterScene.open(path)  # says what is wrong with it, if anything is
    try:
        with rasterio.open(path) as raster:
            return warping.nearest_zoom(raster)
    except RasterError as error:
        raise RasterError(f"{path} {error}") from error


def _version(path: str) -> tuple[int, int]:
    kept = Path(path).stat()
    return kept.st_mtime_ns, kept.st_size
