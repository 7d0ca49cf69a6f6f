"""Scenes to read: those of a mosaic store, and rasters that GDAL reads.

Both offer the same few things, so that upscaling, training and evaluation do not care which:
a name, a size, a georeference, a fingerprint and ``read(window)``.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioIOError
from rasterio.windows import Window as RasterWindow

from srsat_dask.errors import InputError, RasterError, StoreError
from srsat_dask.mosaic import ledger
from srsat_dask.mosaic.georeference import Georeference
from srsat_dask.mosaic.opening import open_raster
from srsat_dask.mosaic.store import StoreScene, scenes_of
from srsat_dask.mosaic.windows import Window, mirrored

ENDINGS = (".tif", ".tiff", ".png")
"""What is taken out of a folder of images."""

RGB = (1, 2, 3)
"""GDAL's numbers of the bands that are super-resolved."""

_UINT8 = np.dtype(np.uint8)

DTYPES = ("uint8", "uint16", "float32", "float64")
"""Types of pixels that can be upscaled; training and evaluation take uint8."""


@dataclass(frozen=True)
class Bands:
    """Which bands of an image are read, and in which order; numbers count from 1, as GDAL's do."""

    first: tuple[int, ...] | None = None
    """What the model is to take as red, green and blue, or one band; by default the first three,
    or the only one."""
    others: bool = False
    """Whether all other bands follow, in their order."""

    def of(self, count: int, name: str) -> tuple[int, ...]:
        """Return the numbers of the bands to read of an image of ``count`` bands.

        Raises
        ------
        RasterError
            The image has no such band, or a number is given twice.
        """
        first = self.first or (RGB if count >= len(RGB) else (1,) if count == 1 else None)
        if first is None:
            raise RasterError(
                f"{name} has {count} bands: three are needed, red, green and blue first; or name"
                " one, to be upscaled as grey"
            )
        if len(set(first)) < len(first) or not set(first) <= set(range(1, count + 1)):
            raise RasterError(f"bands {first}: {name} has the bands 1 to {count}; name each once")
        rest = [number for number in range(1, count + 1) if number not in first]
        return (*first, *rest) if self.others else first


class Readable(Protocol):
    """Pixels with a mask, read by windows."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""

    def read(self, window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return the bands (band, y, x) and ``valid`` (y, x) of a window inside the scene."""


class ReadableScene(Readable, Protocol):
    """An image with a mask, on the ground."""

    @property
    def name(self) -> str:
        """Name of the scene, usable as a group name."""

    @property
    def georeference(self) -> Georeference:
        """Where the scene lies on the ground."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of the bands that are read, from 1; red, green, blue first."""

    def fingerprint(self) -> str:
        """Return a SHA-256 (hex) that changes whenever a pixel does."""


@dataclass(frozen=True)
class MosaicScene(StoreScene):
    """A scene of a mosaic store, to read."""

    chosen: tuple[int, ...] | None = None
    """Numbers of the bands to read, from 1; by default all of the scene's."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of the bands that are read, from 1."""
        return self.chosen or tuple(range(1, self.bands + 1))

    def fingerprint(self) -> str:
        """Return the SHA-256 of the scene's lineage and of all its shards."""
        return ledger.fingerprint(self)

    def read(self, window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return the bands (band, y, x) and ``valid`` (y, x) of a window inside the scene."""
        image, valid = super().read(window)
        if self.chosen is not None and self.chosen != tuple(range(1, len(image) + 1)):
            image = image[[number - 1 for number in self.chosen]]
        return image, valid


@dataclass(frozen=True)
class RasterScene:
    """A raster that GDAL reads."""

    path: str
    """Path of the file."""
    shape: tuple[int, int]
    """Height and width in pixels."""
    dtype: np.dtype[Any] = _UINT8
    """Type of the pixels."""
    numbers: tuple[int, ...] = RGB
    """GDAL's numbers of the bands that are read."""
    label: str | None = None
    """Name in place of the file's: the path below the folder it was found in."""

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        georeferenced: bool = True,
        bands: Bands | None = None,
        dtypes: Sequence[str] = ("uint8",),
        label: str | None = None,
    ) -> "RasterScene":
        """Check a raster and return it as a scene.

        Parameters
        ----------
        path : str or Path
            A file that GDAL reads.
        georeferenced : bool
            Whether a CRS is needed.
        bands : Bands, optional
            The bands to read; by default the first three, and there must be three.
        dtypes : sequence of str
            Types of pixels that will do.
        label : str, optional
            Name in place of the file's.

        Raises
        ------
        RasterError
            Not readable, without the bands, the type or the CRS needed.
        """
        try:
            with open_raster(path) as raster:
                count, types, crs, shape = (
                    raster.count,
                    raster.dtypes,
                    raster.crs,
                    raster.shape,
                )
        except RasterioIOError as error:
            raise RasterError(f"{path} is not a raster that GDAL reads: {error}") from error
        if bands is None and count < len(RGB):
            raise RasterError(
                f"{path} has {count} band(s): three are needed, red, green and blue first"
            )
        numbers = (bands or Bands(RGB)).of(count, str(path))
        found = {types[number - 1] for number in numbers}
        if len(found) > 1 or not found <= set(dtypes):
            raise RasterError(
                f"{path} is {', '.join(sorted(found))}: {', '.join(dtypes)} is needed; rescale it"
                " with gdal_translate -ot Byte -scale"
            )
        if georeferenced and crs is None:
            raise RasterError(
                f"{path} has no CRS: give it one with gdal_edit.py -a_srs EPSG:CODE {path}"
            )
        size = (int(shape[0]), int(shape[1]))
        return cls(str(path), size, np.dtype(found.pop()), numbers, label)

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
        with open_raster(self.path) as raster:
            flags = raster.mask_flag_enums[: len(RGB)]
        return all(flag == [MaskFlags.all_valid] for flag in flags)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the file and of all that GDAL reads with it."""
        return raster_digest(self.path)

    def read(self, window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return the bands (band, y, x) and ``valid`` (y, x) of a window inside the raster.

        A floating-point pixel is missing if any of its bands is nodata, infinite or no number; one
        of whole numbers if all are nodata, since 0 is a dark pixel's value, too.
        """
        height, width = window.shape
        part = RasterWindow(window.x0, window.y0, width, height)
        with open_raster(self.path) as raster:
            image = raster.read(self.numbers, window=part)
            valid = raster.dataset_mask(window=part) != 0
            nodata = raster.nodata
        return image, valid & present(image, nodata) if self.dtype.kind == "f" else valid


def present(image: Any, nodata: float | None) -> Any:
    """Return which pixels of an image (band, y, x), NumPy's or Dask's, hold values, (y, x)."""
    if image.dtype.kind != "f":
        return (image != nodata).any(axis=0)
    held = np.isfinite(image)
    if nodata is not None:  # NaN equals nothing, and is not finite anyway
        held &= image != nodata
    return held.all(axis=0)


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
            with open_raster(part) as raster:
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


def open_inputs(
    path: str | Path,
    *,
    georeferenced: bool = True,
    bands: Bands | None = None,
    dtypes: Sequence[str] = ("uint8",),
) -> list[ReadableScene]:
    """Return the scenes that an ``INPUT`` of the command line names.

    Parameters
    ----------
    path : str or Path
        A mosaic store (all its scenes), ``STORE/SCENE`` (one), or a raster.
    georeferenced : bool
        Whether a raster must have a CRS.
    bands : Bands, optional
        The bands to read; by default the first three of a raster, which it must have, and all of
        a store's.
    dtypes : sequence of str
        Types of pixels that will do.

    Raises
    ------
    StoreError
        An empty store, no such scene in it, or one of another type.
    RasterError
        A raster that cannot be used.
    InputError
        Nothing at the path.
    """
    place = Path(path)
    if place.is_dir() and not (place / "zarr.json").exists():
        raise StoreError(f"{path} is a folder, but not a mosaic store: it has no zarr.json")
    if place.is_dir() and (place.parent / "zarr.json").exists():
        return [_checked(_scene_of(place.parent, place.name), bands, dtypes)]
    if place.is_dir():
        scenes = [MosaicScene(scene.store, scene.name) for scene in scenes_of(path)]
        if not scenes:
            raise StoreError(f"{path} holds no scene yet: run 'srsat harvest {path}' first")
        return [_checked(scene, bands, dtypes) for scene in scenes]
    if (place.parent / "zarr.json").exists():
        return [_checked(_scene_of(place.parent, place.name), bands, dtypes)]
    if not place.exists():
        raise InputError(f"{path} does not exist: give a mosaic store, STORE/SCENE or a raster")
    return [RasterScene.open(path, georeferenced=georeferenced, bands=bands, dtypes=dtypes)]


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
    scene: Readable, window: Window, margin: int
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Read a window with a margin on each side, the scene continued by symmetric reflection.

    Parameters
    ----------
    scene : Readable
        What to read.
    window : Window
        A window inside the scene.
    margin : int
        Pixels to add on each side.

    Returns
    -------
    image : numpy.ndarray of shape (band, y + 2·margin, x + 2·margin)
        Of the scene's type.
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


def _checked(scene: MosaicScene, bands: Bands | None, dtypes: Sequence[str]) -> MosaicScene:
    where = f"{scene.store}/{scene.name}"
    if scene.dtype.name not in dtypes:
        raise StoreError(f"{where} is {scene.dtype}: {', '.join(dtypes)} is needed")
    return scene if bands is None else replace(scene, chosen=bands.of(scene.bands, where))


def _scene_of(store: Path, name: str) -> MosaicScene:
    known = [scene.name for scene in scenes_of(store)]
    if name not in known:
        raise StoreError(f"{store} holds no scene {name!r}; it holds {', '.join(known) or 'none'}")
    return MosaicScene(str(store), name)


__all__ = [
    "DTYPES",
    "Bands",
    "MosaicScene",
    "RasterScene",
    "ReadableScene",
    "check_finished",
    "is_image_folder",
    "open_folder",
    "open_inputs",
    "present",
    "raster_digest",
    "read_mirrored",
]
