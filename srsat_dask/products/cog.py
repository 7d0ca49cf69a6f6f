"""Export of a scene to a Cloud-Optimized GeoTIFF."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path, PurePosixPath, PureWindowsPath
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.errors import RasterioIOError

from srsat_dask.errors import InputError, StoreError
from srsat_dask.mosaic.inputs import DTYPES, MosaicScene, check_finished, open_inputs
from srsat_dask.mosaic.opening import open_raster
from srsat_dask.mosaic.store import Lineage
from srsat_dask.runtime.progress import track

_BLOCK = 512
_ENDINGS = {".tif", ".tiff"}
_TAG = "SRSAT_"


def export(
    store: str | Path,
    output: str | Path,
    *,
    allow_partial: bool = False,
    progress: bool = True,
) -> Path:
    """Write a scene of a mosaic store as a Cloud-Optimized GeoTIFF.

    The pixels pass through shard by shard; GDAL's COG driver then lays them out with overviews
    (averaged) and an internal mask. The file appears whole, or not at all.

    Parameters
    ----------
    store : str or Path
        A mosaic store with one scene, or ``STORE/SCENE``.
    output : str or Path
        The file to write, ending in ``.tif``; an earlier export of the same scene is replaced.
    allow_partial : bool
        Take a scene with shards that are not done too; they are missing pixels in the file.
    progress : bool
        Show progress on stderr.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        Another ending, a folder that does not exist, or a store of several scenes.
    StoreError
        Not a mosaic store, a scene that is not done, or the file exists and is not an export of
        the same scene.
    """
    target = check_target(output)
    scene = _only_scene(store)
    holds_export(target, scene.lineage)
    check_finished(scene, allow_partial=allow_partial)
    # Beside the target, so that the last step is a rename and space runs out here, not there.
    with TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        flat, cog = Path(folder, "flat.tif"), Path(folder, "cog.tif")
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True, GDAL_NUM_THREADS="ALL_CPUS"):
            _write_flat(scene, flat, progress)
            rasterio.shutil.copy(
                flat,
                cog,
                driver="COG",
                compress="DEFLATE",
                predictor="YES",
                blocksize=_BLOCK,
                overview_resampling="AVERAGE",
                bigtiff="IF_SAFER",
                num_threads="ALL_CPUS",
            )
        os.replace(cog, target)
    return target


def check_target(output: str | Path) -> Path:
    """Return the path of a GeoTIFF to write.

    Raises
    ------
    InputError
        Another ending, a folder that does not exist, or a path that is a folder.
    """
    target = Path(output)
    if target.suffix.lower() not in _ENDINGS:
        raise InputError(f"{output} must end in .tif")
    if target.is_dir():
        raise InputError(f"{target} is a folder: give the path of a file")
    if not target.parent.is_dir():
        raise InputError(f"{target.parent} is not a folder: make it first")
    return target


def holds_export(target: Path, lineage: Lineage) -> bool:
    """Say whether a file is there already, and is the export of a scene of this lineage.

    Raises
    ------
    StoreError
        The file is something else, which is not ours to replace.
    """
    if not os.path.lexists(target):
        return False
    try:
        with open_raster(target) as raster:
            tags = raster.tags()
    except RasterioIOError:
        tags = {}
    kept = {name: value for name, value in tags.items() if name.startswith(_TAG)}
    if not kept or kept != _tags(lineage):
        raise StoreError(f"{target} belongs to other inputs; delete it or give another path")
    return True


def _only_scene(store: str | Path) -> MosaicScene:
    scenes = open_inputs(store, dtypes=DTYPES)
    if len(scenes) > 1:
        names = ", ".join(scene.name for scene in scenes)
        raise InputError(f"{store} holds {len(scenes)} scenes, give one as {store}/SCENE: {names}")
    (scene,) = scenes
    if not isinstance(scene, MosaicScene):
        raise InputError(f"{store} is a raster already: give a mosaic store")
    return scene


def _write_flat(scene: MosaicScene, path: Path, progress: bool) -> None:
    ground = scene.georeference
    shards = list(scene.shards())
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "count": scene.bands,
        "height": ground.height,
        "width": ground.width,
        "dtype": scene.dtype.name,
        "crs": ground.crs,
        "transform": ground.transform,
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        # With red, green and blue first; a fourth band is no alpha, and one band is grey.
        **({"photometric": "RGB", "alpha": "NO"} if scene.bands >= 3 else {}),
        "interleave": "pixel",
        "compress": "ZSTD",
        "zstd_level": 1,
        "bigtiff": "IF_SAFER",
    }
    with ExitStack() as stack:
        bar = stack.enter_context(track("export", len(shards), shown=progress))
        flat = stack.enter_context(rasterio.open(path, "w", **profile))
        flat.update_tags(**_tags(scene.lineage))
        for _, window in shards:
            image, valid = scene.read(window)
            part = rasterio.windows.Window.from_slices(*window.slices)
            flat.write(image, window=part)
            flat.write_mask(valid.astype(np.uint8) * np.uint8(255), window=part)
            bar.advance()


def _tags(lineage: Lineage) -> dict[str, str]:
    return {f"{_TAG}{name.upper()}": str(_public(lineage[name])) for name in sorted(lineage)}


def _public(value: Any) -> Any:
    """Return a value of a lineage without the folders of this machine."""
    if isinstance(value, Mapping):
        return {name: _public(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_public(part) for part in value]
    if isinstance(value, str):
        path = value.removeprefix("file://")
        if PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute():
            return PureWindowsPath(path).name  # it splits at both kinds of slash
    return value
