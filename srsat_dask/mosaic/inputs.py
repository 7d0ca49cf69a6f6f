"""Scenes to read: those of a mosaic store, and rasters that GDAL reads.

Both offer the same few things, so that upscaling, training and evaluation do not care which:
a name, a size, a georeference, a fingerprint and ``read(window)``.
"""

import hashlib
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError
from rasterio.windows import Window as RasterWindow

from srsat_dask.errors import InputError, RasterError, StoreError
from srsat_dask.mosaic import ledger
from srsat_dask.mosaic.georeference import Georeference
from srsat_dask.mosaic.store import StoreScene, scenes_of
from srsat_dask.mosaic.windows import Window, mirrored

ENDINGS = (".tif", ".tiff", ".png")
"""What is taken out of a folder of images."""

RGB = (1, 2, 3)
"""GDAL's numbers of the bands that are super-resolved."""


class ReadableScene(Protocol):
    """An image of uint8 bands with a mask, read by windows."""

    @property
    def name(self) -> str:
        """Name of the scene, usable as a group name."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""

    @property
    def georeference(self) -> Georeference:
        """Where the scene lies on the ground."""

    def fingerprint(self) -> str:
        """Return a SHA-256 (hex) that changes whenever a pixel does."""

    def read(self, window: Window) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Return red, green, blue (3, y, x) and ``valid`` (y, x) of a window inside the scene."""


@dataclass(frozen=True)
class MosaicScene(StoreScene):
    """A scene of a mosaic store, to read."""

    def fingerprint(self) -> str:
        """Return the SHA-256 of the scene's lineage and of all its shards."""
        return ledger.fingerprint(self)


@dataclass(frozen=True)
class RasterScene:
    """A raster of at least three uint8 bands (red, green, blue first) that GDAL reads."""

    path: str
    """Path of the file."""
    shape: tuple[int, int]
    """Height and width in pixels."""
    label: str | None = None
    """Name in place of the file's: the path below the folder it was found in."""

    @classmethod
    def open(
        cls, path: str | Path, *, georeferenced: bool = True, label: str | None = None
    ) -> "RasterScene":
        """Check a raster and return it as a scene.

        Parameters
        ----------
        path : str or Path
            A file that GDAL reads.
        georeferenced : bool
            Whether a CRS is needed.
        label : str, optional
            Name in place of the file's.

        Raises
        ------
        RasterError
            Not readable, fewer than three bands, not uint8, or without the CRS needed.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                with rasterio.open(path) as raster:
                    bands, dtypes, crs, shape = (
                        raster.count,
                        set(raster.dtypes[:3]),
                        raster.crs,
                        raster.shape,
                    )
        except RasterioIOError as error:
            raise RasterError(f"{path} is not a raster that GDAL reads: {error}") from error
        if bands < len(RGB):
            raise RasterError(
                f"{path} has {bands} band(s): three are needed, red, green and blue first"
            )
        if dtypes != {"uint8"}:
            raise RasterError(
                f"{path} is {', '.join(sorted(dtypes))}: uint8 is needed; rescale it with"
                " gdal_translate -ot Byte -scale, or call srsat_dask.upscale on its DataArray"
            )
        if georeferenced and crs is None:
            raise RasterError(
                f"{path} has no CRS: give it one with gdal_edit.py -a_srs EPSG:CODE {path}"
            )
        return cls(str(path), (int(shape[0]), int(shape[1])), label)

    @property
    def name(self) -> str:
        """The label, or the file's name without its ending."""
        return Path(self.path).stem if self.label is None else self.label

    @property
    def georeference(self) -> Georeference:
        """Where the raster lies on the ground."""
        with rasterio.open(self.path) as raster:
            authority = raster.crs.to_authority()
            crs = ":".join(authority) if authority else raster.crs.to_wkt()
            return Georeference(crs, raster.transform, raster.height, raster.width)

    def all_valid(self) -> bool:
        """Return whether the file can have no missing pixel: no mask, alpha or nodata."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(self.path) as raster:
                flags = raster.mask_flag_enums[: len(RGB)]
        return all(flag == [MaskFlags.all_valid] for flag in flags)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the file and of all that GDAL reads with it."""
        return raster_digest(self.path)

    def read(self, window: Window) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Return red, green, blue (3, y, x) and ``valid`` (y, x) of a window inside the raster."""
        height, width = window.shape
        part = RasterWindow(window.x0, window.y0, width, height)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(self.path) as raster:
                image = raster.read(RGB, window=part)
                valid = raster.dataset_mask(window=part) != 0
        return image, valid


def raster_digest(path: str | Path) -> str:
    """Return the SHA-256 (hex) of a raster and of the files that GDAL reads with it.

    Masks, world files and other metadata beside it, and what a VRT draws from, decide pixels as
    much as the file itself does. A copy elsewhere has the same digest.
    """
    parts = tuple(_parts(str(path)))
    return _digest(tuple((part, *_version(part)) for part in parts))


def _parts(path: str) -> list[str]:
    """Return a raster's files, those of a VRT's sources too, in GDAL's order."""
    found: dict[str, None] = {}
    waiting = [path]
    while waiting:
        part = waiting.pop(0)
        if part in found or not Path(part).is_file():
            continue
        found[part] = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                with rasterio.open(part) as raster:
                    waiting += raster.files
        except RasterioIOError:
            if part == path:
                raise
    return list(found)


def _version(path: str) -> tuple[int, int]:
    kept = Path(path).stat()
    return kept.st_mtime_ns, kept.st_size


@lru_cache(maxsize=4096)
def _digest(parts: tuple[tuple[str, int, int], ...]) -> str:
    whole = hashlib.sha256()
    for path, _, _ in parts:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                whole.update(block)
    return whole.hexdigest()


def is_image_folder(path: str | Path) -> bool:
    """Return whether a path is a folder that is no mosaic store and no scene of one."""
    place = Path(path)
    return place.is_dir() and not (place / "zarr.json").exists()


def open_folder(path: str | Path) -> list[RasterScene]:
    """Return the images of a folder and of all folders in it, by name.

    Parameters
    ----------
    path : str or Path
        A folder of GeoTIFFs and PNGs; hidden ones and other files are passed over. An image is
        named by its path below the folder, such as ``forest/forest00.png``.

    Raises
    ------
    InputError
        The folder holds no image.
    RasterError
        An image that cannot be used.
    """
    root = Path(path)
    found = sorted(
        (place.relative_to(root) for place in root.rglob("*") if place.suffix.lower() in ENDINGS),
        key=lambda place: place.parts,
    )
    scenes = [
        RasterScene.open(root / place, georeferenced=False, label=place.as_posix())
        for place in found
        if (root / place).is_file() and not any(part.startswith(".") for part in place.parts)
    ]
    if not scenes:
        raise InputError(
            f"{path} is a folder with no image in it ({', '.join(ENDINGS)}), and no mosaic store"
        )
    return scenes


def open_inputs(path: str | Path, *, georeferenced: bool = True) -> list[ReadableScene]:
    """Return the scenes that an ``INPUT`` of the command line names.

    Parameters
    ----------
    path : str or Path
        A mosaic store (all its scenes), ``STORE/SCENE`` (one), or a raster.
    georeferenced : bool
        Whether a raster must have a CRS.

    Raises
    ------
    StoreError
        An empty store, or no such scene in it.
    RasterError
        A raster that cannot be used.
    InputError
        Nothing at the path.
    """
    place = Path(path)
    if place.is_dir() and not (place / "zarr.json").exists():
        raise StoreError(f"{path} is a folder, but not a mosaic store: it has no zarr.json")
    if place.is_dir() and (place.parent / "zarr.json").exists():
        return [_scene_of(place.parent, place.name)]
    if place.is_dir():
        scenes: list[ReadableScene] = [MosaicScene(s.store, s.name) for s in scenes_of(path)]
        if not scenes:
            raise StoreError(f"{path} holds no scene yet: run 'srsat harvest {path}' first")
        return scenes
    if (place.parent / "zarr.json").exists():
        return [_scene_of(place.parent, place.name)]
    if not place.exists():
        raise InputError(f"{path} does not exist: give a mosaic store, STORE/SCENE or a raster")
    return [RasterScene.open(path, georeferenced=georeferenced)]


def check_finished(scene: ReadableScene, *, allow_partial: bool = False) -> None:
    """Refuse a scene of a mosaic store that is not done, unless that is what is wanted.

    Raises
    ------
    StoreError
        Shards are not written yet, or hold tiles that failed.
    """
    if allow_partial or not isinstance(scene, MosaicScene):
        return
    done = ledger.done_shards(scene)
    if done.all():
        return
    failed = ledger.state_counts(scene)[ledger.TileState.FAILED.name.lower()]
    command = "harvest" if scene.lineage.get("kind") == "harvest" else "command that made it"
    raise StoreError(
        f"{scene.store}/{scene.name} is not whole: {int((~done).sum())} of {done.size} shards are"
        f" not done, {failed} tiles failed; run the {command} again, or take it as far as it is"
        " with --allow-partial (allow_partial=True)"
    )


def read_mirrored(
    scene: ReadableScene, window: Window, margin: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Read a window with a margin on each side, the scene continued by symmetric reflection.

    Parameters
    ----------
    scene : ReadableScene
        What to read.
    window : Window
        A window inside the scene.
    margin : int
        Pixels to add on each side.

    Returns
    -------
    image : numpy.ndarray of uint8, shape (3, y + 2·margin, x + 2·margin)
    valid : numpy.ndarray of bool, shape (y + 2·margin, x + 2·margin)
    """
    wide = window.expanded(margin)
    rows = mirrored(wide.y0, wide.y1, scene.shape[0])
    columns = mirrored(wide.x0, wide.x1, scene.shape[1])
    inside = Window(
        int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1
    )
    image, valid = scene.read(inside)
    if inside == wide:
        return image, valid
    at = np.ix_(rows - inside.y0, columns - inside.x0)
    return np.ascontiguousarray(image[:, at[0], at[1]]), valid[at]


def _scene_of(store: Path, name: str) -> ReadableScene:
    known = [scene.name for scene in scenes_of(store)]
    if name not in known:
        raise StoreError(f"{store} holds no scene {name!r}; it holds {', '.join(known) or 'none'}")
    return MosaicScene(str(store), name)


__all__ = [
    "MosaicScene",
    "RasterScene",
    "ReadableScene",
    "check_finished",
    "is_image_folder",
    "open_folder",
    "open_inputs",
    "raster_digest",
    "read_mirrored",
]
