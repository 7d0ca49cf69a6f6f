"""The mosaic store: one Zarr 3 group per scene, written shard by shard.

A scene's group holds ``image`` (band, y, x), ``valid`` (y, x), coordinates, the CF grid mapping
``spatial_ref`` and the ledger (:mod:`srsat_dask.mosaic.ledger`). The shard is the unit of
writing: :func:`write_aligned` is the only function that writes pixels, and it refuses any region
that is not whole shards, because two writers inside one shard overwrite each other silently.
"""

import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import lcm
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import zarr
from affine import Affine
from zarr.codecs import BloscCodec
from zarr.errors import ArrayNotFoundError, GroupNotFoundError, ZarrUserWarning

from srsat_dask.errors import StoreError
from srsat_dask.mosaic.georeference import Georeference
from srsat_dask.mosaic.grid import TILE
from srsat_dask.mosaic.windows import Window, split

if TYPE_CHECKING:
    import xarray as xr

FORMAT = 1
"""Version of the layout, kept at the store's root."""

SHARD = 2048
"""Side of a shard in pixels: 8 × 8 tiles."""

CHUNK = 512
"""Side of the chunks inside a shard, in pixels."""

KEY = "srsat"
"""Attribute under which a store and its scenes keep what belongs to srsat_dask."""

Lineage = Mapping[str, Any]
"""What a scene was made from, as JSON values: the same lineage gives the same pixels."""


@dataclass(frozen=True)
class StoreScene:
    """One scene of a mosaic store; cheap to send to workers."""

    store: str
    """Path of the Zarr store."""
    name: str
    """Name of the scene's group."""

    def group(self, mode: str = "r") -> zarr.Group:
        """Open the scene's group; ``mode`` is Zarr's, ``r`` or ``r+``."""
        return _open(f"{self.store}/{self.name}", mode)

    def array(self, name: str, mode: str = "r") -> "zarr.Array[Any]":
        """Open one of the scene's arrays."""
        return self.arrays(name, mode=mode)[0]

    def arrays(self, *names: str, mode: str = "r") -> "list[zarr.Array[Any]]":
        """Open several of the scene's arrays, in the order asked for."""
        group = self.group(mode)
        try:
            return [cast("zarr.Array[Any]", group[name]) for name in names]
        except KeyError as error:
            raise StoreError(
                f"{self.store}/{self.name} has no array {error}: it is damaged, make it anew"
            ) from error

    @property
    def lineage(self) -> dict[str, Any]:
        """What the scene was made from."""
        return dict(cast("Mapping[str, Any]", self.group().attrs[KEY]))

    @property
    def georeference(self) -> Georeference:
        """Where the scene lies on the ground."""
        group = self.group()
        attributes = cast("dict[str, Any]", group["spatial_ref"].attrs.asdict())
        geotransform = [float(v) for v in str(attributes["GeoTransform"]).split()]
        code = group.attrs.get("proj:code")
        height, width = cast("zarr.Array[Any]", group["valid"]).shape
        return Georeference(
            str(code or attributes["crs_wkt"]), Affine.from_gdal(*geotransform), height, width
        )

    @property
    def bands(self) -> int:
        """Number of bands."""
        return int(self.array("image").shape[0])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels."""
        return np.dtype(self.array("image").dtype)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.array("valid").shape
        return height, width

    @property
    def shard(self) -> int:
        """Side of a shard in pixels."""
        return shard_of(self.array("valid"))

    def shards(self) -> Iterator[tuple[tuple[int, int], Window]]:
        """Yield the index and window of every shard, row by row."""
        return split(self.shape, self.shard)

    def read(self, window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return ``image`` (band, y, x) and ``valid`` (y, x) of a window inside the scene."""
        image, valid = self.arrays("image", "valid")
        pixels = np.asarray(image[(slice(None), *window.slices)])
        return pixels, np.asarray(valid[window.slices]) != 0


def shard_of(array: "zarr.Array[Any]") -> int:
    """Return the side, in pixels, of the shards of an array whose last axis is x."""
    return int((array.shards or array.chunks)[-1])


def shard_side(scale: int) -> int:
    """Return the side of a shard, in pixels, for a store ``scale`` times finer than its input.

    The largest multiple of both the chunk and the scale up to 2048, so that every shard border
    falls on a border of input pixels: 2048 for ×1, ×2 and ×4, 1536 for ×3.
    """
    step = lcm(CHUNK, scale)
    return max(SHARD // step, 1) * step


def open_store(path: str | Path) -> zarr.Group:
    """Open a mosaic store for reading.

    Raises
    ------
    StoreError
        Nothing at the path, or a Zarr store that is not one of ours.
    """
    root = _open(str(path), "r")
    kept = root.attrs.get(KEY)
    if not isinstance(kept, Mapping) or "format" not in kept:
        raise StoreError(
            f"{path} is a Zarr store, but not a mosaic of srsat_dask (its root has no '{KEY}'"
            " format): give a store made by 'srsat harvest' or 'srsat upscale'"
        )
    if kept["format"] != FORMAT:
        raise StoreError(
            f"{path} has store format {kept['format']}, this version reads {FORMAT}:"
            " open it with the version that made it"
        )
    return root


def scenes_of(path: str | Path) -> list[StoreScene]:
    """Return the finished templates of a store's scenes, by name.

    Raises
    ------
    StoreError
        Not a store of ours.
    """
    root = open_store(path)
    with warnings.catch_warnings():
        # Zarr writes a file as NAME.partial first; a writer that was killed leaves it there.
        warnings.filterwarnings("ignore", r"Object at \S+\.partial ", ZarrUserWarning)
        groups = sorted(root.groups())
    return [StoreScene(str(path), name) for name, group in groups if KEY in group.attrs]


def find_scene(path: str | Path, name: str) -> StoreScene | None:
    """Return a scene of a store, or None if the store or the scene is not there yet.

    Raises
    ------
    StoreError
        Something else lies at the path.
    """
    if not _holds_something(path):
        return None
    return next((scene for scene in scenes_of(path) if scene.name == name), None)


def create_scene(
    path: str | Path,
    name: str,
    *,
    georeference: Georeference,
    lineage: Lineage,
    bands: int = 3,
    dtype: npt.DTypeLike = np.uint8,
    shard: int = SHARD,
    from_shards: bool = False,
    smooth: bool = True,
    attributes: Mapping[str, Any] | None = None,
) -> StoreScene:
    """Make a scene's empty arrays, or take them up again if they are there.

    Parameters
    ----------
    path : str or Path
        The store; made if it does not exist.
    name : str
        Name of the scene's group.
    georeference : Georeference
        CRS, transform and size of the scene.
    lineage : mapping
        JSON values that decide the pixels. A scene that exists with another lineage is refused.
    bands : int
        Number of bands.
    dtype : numpy.dtype
        Type of the pixels.
    shard : int
        Side of a shard in pixels, a multiple of 512.
    from_shards : bool
        Whether the ledger keeps ``input_digest`` too: what each shard was made from.
    smooth : bool
        Whether the pixels are interpolated ones, which are packed in another way than a camera's.
    attributes : mapping, optional
        Further attributes of the scene's group, such as an acquisition date.

    Returns
    -------
    StoreScene
        The scene, ready for its shards to be written.

    Raises
    ------
    StoreError
        The path holds something else, or the scene exists with another lineage.
    """
    scene = find_scene(path, name)
    if scene is not None:
        refuse_other_lineage(scene, lineage)
        return scene
    root = _open(str(path), "r+") if _holds_something(path) else _make(path)
    group = root.create_group(name, overwrite=True)
    size = {"height": georeference.height, "width": georeference.width}
    _create_pixels(group, size, bands=bands, dtype=np.dtype(dtype), shard=shard, smooth=smooth)
    _create_coordinates(group, georeference, bands)
    _create_ledger(group, size, shard=shard)
    if from_shards:
        _create_digests(group, "input_digest", size, shard, "SHA-256 of what a shard was made from")
    # The lineage comes last: a template cut short has none and is made again.
    group.attrs.update(
        {**georeference.geozarr_attributes(), **(attributes or {}), KEY: dict(lineage)}
    )
    return StoreScene(str(path), name)


def write_aligned(array: "zarr.Array[Any]", window: Window, pixels: npt.NDArray[Any]) -> None:
    """Write whole shards of an array whose last two axes are y and x.

    Raises
    ------
    ValueError
        The window does not start and end on shard borders (or at the array's edge), or the
        pixels have another shape: a partial write would lose another writer's pixels.
    """
    side = shard_of(array)
    height, width = array.shape[-2:]
    starts_aligned = window.y0 % side == 0 and window.x0 % side == 0
    ends_aligned = (window.y1 % side == 0 or window.y1 == height) and (
        window.x1 % side == 0 or window.x1 == width
    )
    if not (starts_aligned and ends_aligned):
        raise ValueError(f"{window} is not whole shards of {side} px in {height} × {width} px")
    if pixels.shape[-2:] != window.shape:
        raise ValueError(f"pixels of shape {pixels.shape} do not fill {window}")
    # Zarr compares every chunk with the fill value first, which takes as long as compressing it:
    # only an empty shard, which is to leave no file, is worth that.
    writer = array.with_config({"write_empty_chunks": True}) if pixels.any() else array
    writer[(..., *window.slices)] = pixels


def open_mosaic(path: str | Path) -> "xr.DataTree":
    """Open a mosaic store as an xarray tree with one dask-backed dataset per scene.

    Parameters
    ----------
    path : str or Path
        A store made by :func:`srsat_dask.harvest` or :func:`srsat_dask.upscale_store`.

    Returns
    -------
    xarray.DataTree
        One child per scene, with ``image`` (band, y, x) uint8 and, as its coordinates, ``valid``
        (y, x) uint8 and ``spatial_ref``; rioxarray knows CRS and transform.

    Raises
    ------
    StoreError
        Not a store of ours.
    """
    import rioxarray  # noqa: F401  registers the .rio accessor that users of the tree expect
    import xarray as xr

    open_store(path)
    tree: xr.DataTree = xr.open_datatree(
        str(path), engine="zarr", chunks={}, decode_coords="all", consolidated=False
    )
    # As a coordinate the mask travels along with ``mosaic["SCENE"]["image"]``.
    masked = tree.map_over_datasets(lambda ds: ds.set_coords("valid") if "valid" in ds else ds)
    return cast("xr.DataTree", masked)


def _open(path: str, mode: str) -> zarr.Group:
    try:
        return zarr.open_group(path, mode=cast("Any", mode), use_consolidated=False)
    except (GroupNotFoundError, ArrayNotFoundError, FileNotFoundError) as error:
        raise StoreError(
            f"no Zarr group at {path}: give the path of a store made by 'srsat harvest'"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} has torn Zarr metadata ({error}): remake the store") from error


def _holds_something(path: str | Path) -> bool:
    place = Path(path)
    if place.exists() and not place.is_dir():
        raise StoreError(f"{path} is a file: give another path for the mosaic store")
    return place.is_dir() and any(place.iterdir())


def _make(path: str | Path) -> zarr.Group:
    return zarr.create_group(str(path), zarr_format=3, attributes={KEY: {"format": FORMAT}})


def refuse_other_lineage(scene: StoreScene, lineage: Lineage) -> None:
    """Raise if a scene that exists was made from anything else.

    Raises
    ------
    StoreError
        Names what differs.
    """
    kept = scene.lineage
    wanted = json.loads(json.dumps(dict(lineage)))
    differing = sorted(k for k in {*kept, *wanted} if kept.get(k) != wanted.get(k))
    if differing:
        said = "; ".join(f"{k} was {kept.get(k)!r}, is now {wanted.get(k)!r}" for k in differing)
        raise StoreError(
            f"{scene.store} holds {scene.name} made from other inputs ({said}):"
            " give another path, or delete it to make it anew"
        )


def _create_pixels(
    group: zarr.Group,
    size: Mapping[str, int],
    *,
    bands: int,
    dtype: np.dtype[Any],
    shard: int,
    smooth: bool,
) -> None:
    # Blosc Zstd 1 wrote imagery twice as fast as plain Zstd. Bit shuffle makes upscaled imagery
    # smaller and quicker to pack, and a camera's, whose low bits are noise, larger and slower.
    codec = BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle" if smooth else "noshuffle")
    height, width = size["height"], size["width"]
    names = ("red", "green", "blue")
    image_attributes: dict[str, Any] = {
        "grid_mapping": "spatial_ref",
        "ancillary_variables": "valid",
    }
    if bands == len(names):
        image_attributes["long_name"] = list(names)
    group.create_array(
        "image",
        shape=(bands, height, width),
        shards=(bands, shard, shard),
        chunks=(bands, CHUNK, CHUNK),
        dtype=dtype.name,
        fill_value=0,
        compressors=codec,
        dimension_names=("band", "y", "x"),
        attributes=image_attributes,
    )
    group.create_array(
        "valid",
        shape=(height, width),
        shards=(shard, shard),
        chunks=(CHUNK, CHUNK),
        dtype="uint8",
        fill_value=0,
        compressors=codec,
        dimension_names=("y", "x"),
        attributes={
            "grid_mapping": "spatial_ref",
            "long_name": "1 where a source pixel exists",
            "flag_values": [0, 1],
            "flag_meanings": "missing present",
        },
    )


def _create_coordinates(group: zarr.Group, georeference: Georeference, bands: int) -> None:
    attributes = georeference.coordinate_attributes()
    for name, values in georeference.coordinates().items():
        axis = group.create_array(
            name,
            shape=values.shape,
            chunks=values.shape,
            dtype="float64",
            dimension_names=(name,),
            attributes=cast("dict[str, Any]", attributes[name]),
        )
        axis[:] = values
    band = group.create_array("band", shape=(bands,), dtype="int64", dimension_names=("band",))
    band[:] = np.arange(1, bands + 1)
    reference = group.create_array(
        "spatial_ref",
        shape=(),
        dtype="int64",
        dimension_names=(),
        attributes=georeference.spatial_ref_attributes(),
    )
    reference[...] = 0


def _create_ledger(group: zarr.Group, size: Mapping[str, int], *, shard: int) -> None:
    said = "SHA-256 of a shard's pixels; all zero while it is pending"
    _create_digests(group, "shard_digest", size, shard, said)
    tiles = (-(-size["height"] // TILE), -(-size["width"] // TILE))
    tile_arrays: dict[str, tuple[str, dict[str, Any]]] = {
        "tile_state": (
            "uint8",
            {
                "flag_values": [0, 1, 2, 3, 4, 5],
                "flag_meanings": "pending stored partial absent blank failed",
            },
        ),
        "tile_reason": (
            "uint16",
            {"long_name": "why a tile failed: 0 it did not, from 100 on the HTTP status"},
        ),
    }
    for name, (dtype, attributes) in tile_arrays.items():
        group.create_array(
            name,
            shape=tiles,
            chunks=(shard // TILE, shard // TILE),
            dtype=dtype,
            fill_value=0,
            compressors=None,
            dimension_names=("tile_y", "tile_x"),
            attributes=attributes,
        )


def _create_digests(
    group: zarr.Group, name: str, size: Mapping[str, int], shard: int, said: str
) -> None:
    rows, columns = (-(-size[axis] // shard) for axis in ("height", "width"))
    group.create_array(
        name,
        shape=(rows, columns, 32),
        chunks=(1, 1, 32),
        dtype="uint8",
        fill_value=0,
        compressors=None,
        dimension_names=("shard_y", "shard_x", "sha256"),
        attributes={"long_name": said},
    )
