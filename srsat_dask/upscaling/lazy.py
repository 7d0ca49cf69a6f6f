"""Lazy upscaling of any dask-backed DataArray.

One task per chunk: the task of an output chunk takes the input chunks that its window and halo
touch, cuts the window out of them and upscales it. No overlapped copy of the input is ever made,
chunks of one pixel are as good as any, and slicing the result computes only the chunks it needs.
(``dask.array.overlap`` would make about twelve tasks per chunk and rechunk small ones silently.)
"""

from itertools import product
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import rioxarray
import xarray as xr
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from srsat_dask.errors import InputError, RasterError
from srsat_dask.model.engines import get_upscaler, resolve_engine
from srsat_dask.model.file import ModelFile
from srsat_dask.model.inference import upscale_float
from srsat_dask.mosaic.georeference import Georeference
from srsat_dask.mosaic.windows import Window, mirrored
from srsat_dask.runtime.clusters import threads_here

if TYPE_CHECKING:
    from os import PathLike

    import keras

Range = tuple[float, float]
"""The values that stand for black and white: what the model sees as 0 and 1."""


def upscale(
    image: xr.DataArray,
    model: "str | PathLike[str] | keras.Model | ModelFile" = "srcnn-x4",
    *,
    engine: str = "auto",
    value_range: Range | None = None,
) -> xr.DataArray:
    """Super-resolve an image lazily, chunk by chunk, without seams.

    Parameters
    ----------
    image : xarray.DataArray
        Dimensions y, x (by any name rioxarray knows) and a band dimension, in any order, with
        at least three bands, red, green and blue first; uint8, uint16 or float. Any chunks. A
        coordinate ``valid`` (y, x), NaN, or the nodata value that rioxarray reports mark missing
        pixels.
    model : str, path, keras.Model or ModelFile
        A ``.keras`` file, the name of a bundled model, or what :func:`srsat_dask.train` returned.
    engine : {"auto", "openvino", "keras"}
        What computes the network; ``auto`` is resolved here, once for all chunks.
    value_range : tuple of float, optional
        Values for black and white; by default those of the integer type, and 0 and 1 for floats.
        One range for the whole image: a range per chunk would make seams.

    Returns
    -------
    xarray.DataArray
        Lazy; same order of dimensions, type, name and attributes, three bands, exactly ``scale``
        times as many rows and columns, with CRS, transform and coordinates to match. Missing
        pixels stay missing.

    Raises
    ------
    InputError
        Dimensions, type or size do not fit; an image smaller than the model's halo.
    ModelError
        The model cannot be read.
    """
    engine = resolve_engine(engine)
    file = ModelFile.open(model)
    scale = file.spec.scale
    y, x, band = _dimensions(image)
    bands = file.spec.bands
    if image.sizes[band] < bands:
        raise RasterError(f"the image has {image.sizes[band]} band(s), the model takes {bands}")
    if min(image.sizes[y], image.sizes[x]) < file.spec.halo:
        raise InputError(
            f"an image of {image.sizes[y]} × {image.sizes[x]} px is smaller than the model's halo"
            f" of {file.spec.halo} px: give a larger one"
        )
    values = image.isel({band: slice(0, bands)}).transpose(band, y, x)
    pixels = values.data if isinstance(values.data, da.Array) else da.from_array(values.data)
    pixels = pixels.rechunk({0: -1})
    low, high = _range(pixels.dtype, value_range)
    valid = _valid(image, values, pixels, y, x)
    finer = _upscaled(pixels, valid, file, engine, (low, high), _missing(image))
    result = xr.DataArray(
        finer,
        dims=(band, y, x),
        coords={
            name: coordinate
            for name, coordinate in values.coords.items()
            if not {y, x} & set(coordinate.dims)
        },
        attrs=image.attrs,
    )
    result.name = image.name  # not Dask's name for the data, which xarray would take
    return _georeferenced(result, image, valid, scale, y, x).transpose(*image.dims)


def _dimensions(image: xr.DataArray) -> tuple[Any, Any, Any]:
    try:
        y, x = image.rio.y_dim, image.rio.x_dim
    except rioxarray.exceptions.DimensionError as error:
        raise InputError(
            f"dimensions {image.dims} have no y and x: name them so, or call rio.set_spatial_dims"
        ) from error
    others = [dim for dim in image.dims if dim not in (y, x)]
    if len(others) != 1:
        raise InputError(f"dimensions {image.dims} must be y, x and one of bands")
    return y, x, others[0]


def _range(dtype: np.dtype[Any], value_range: Range | None) -> Range:
    if dtype not in (np.uint8, np.uint16, np.float32, np.float64):
        raise InputError(f"type {dtype} is not uint8, uint16, float32 or float64: convert it first")
    if value_range is None:
        return (0.0, float(np.iinfo(dtype).max)) if dtype.kind == "u" else (0.0, 1.0)
    low, high = value_range
    if not low < high:
        raise InputError(f"value_range {value_range}: black must be less than white")
    return float(low), float(high)


def _missing(image: xr.DataArray) -> float | None:
    nodata = image.rio.nodata
    return None if nodata is None else float(nodata)


def _valid(
    image: xr.DataArray, values: xr.DataArray, pixels: da.Array, y: Any, x: Any
) -> da.Array | None:
    """Return the mask of present pixels (y, x), chunked as the pixels are; None if all are."""
    chunks = pixels.chunks[1:]
    masks = []
    if "valid" in image.coords and set(image.coords["valid"].dims) == {y, x}:
        kept = values.coords["valid"].transpose(y, x).data
        masks.append(da.asarray(kept, chunks=chunks).rechunk(chunks) != 0)
    nodata = _missing(image)
    if pixels.dtype.kind == "f":
        masks.append(~da.isnan(pixels).any(axis=0))
    if nodata is not None and not np.isnan(nodata):
        masks.append((pixels != nodata).any(axis=0))
    if not masks:
        return None
    valid = masks[0]
    for mask in masks[1:]:
        valid = valid & mask
    return valid


def _upscaled(
    pixels: da.Array,
    valid: da.Array | None,
    file: ModelFile,
    engine: str,
    value_range: Range,
    missing: float | None,
) -> da.Array:
    scale, margin = file.spec.scale, 2 * file.spec.halo
    name = f"upscale-{tokenize(pixels, valid, file, engine, value_range, missing)}"
    model = f"model-{file.sha256}"
    rows, columns = (np.cumsum((0, *chunks)) for chunks in pixels.chunks[1:])
    graph: dict[Any, Any] = {model: file}
    for i, j in product(range(len(rows) - 1), range(len(columns) - 1)):
        window = Window(int(rows[i]), int(rows[i + 1]), int(columns[j]), int(columns[j + 1]))
        wide = window.expanded(margin)
        at_rows, near_rows = _reach(wide.y0, wide.y1, rows)
        at_columns, near_columns = _reach(wide.x0, wide.x1, columns)
        graph[(name, 0, i, j)] = (
            _upscale_chunk,
            model,
            engine,
            value_range,
            missing,
            (at_rows, at_columns),
            [[(pixels.name, 0, k, m) for m in near_columns] for k in near_rows],
            valid is not None and [[(valid.name, k, m) for m in near_columns] for k in near_rows],
        )
    return da.Array(
        HighLevelGraph.from_collections(
            name, graph, dependencies=[pixels] if valid is None else [pixels, valid]
        ),
        name,
        chunks=(
            (file.spec.bands,),
            *(tuple(scale * size for size in chunks) for chunks in pixels.chunks[1:]),
        ),
        dtype=pixels.dtype,
    )


def _reach(
    start: int, stop: int, borders: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.intp], range]:
    """Return the chunks that a mirrored range of positions touches, and where it lies in them."""
    positions = mirrored(start, stop, int(borders[-1]))
    first = int(np.searchsorted(borders, positions.min(), side="right")) - 1
    last = int(np.searchsorted(borders, positions.max(), side="right")) - 1
    return positions - borders[first], range(first, last + 1)


def _upscale_chunk(
    file: ModelFile,
    engine: str,
    value_range: Range,
    missing: float | None,
    at: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]],
    blocks: list[list[npt.NDArray[Any]]],
    masks: list[list[npt.NDArray[np.bool_]]] | bool,
) -> npt.NDArray[Any]:
    """Upscale one chunk from the chunks around it; runs on a worker."""
    dtype = blocks[0][0].dtype
    rows, columns = at
    low, high = value_range
    margin = 2 * file.spec.halo
    scale = file.spec.scale
    image = np.block(blocks)[:, rows[:, None], columns].astype(np.float32)
    valid = None if isinstance(masks, bool) else np.block(masks)[rows[:, None], columns]
    shape = (file.spec.bands, *(scale * (side - 2 * margin) for side in image.shape[1:]))
    empty = missing if missing is not None else (np.nan if dtype.kind == "f" else 0)
    if valid is not None and not valid[margin:-margin, margin:-margin].any():
        return np.full(shape, empty, dtype=dtype)
    upscaler = get_upscaler(file, engine, threads_here())
    values = upscale_float((image - low) / np.float32(high - low), valid, upscaler)
    values = values * np.float32(high - low) + np.float32(low)
    if dtype.kind == "u":
        values = np.clip(np.rint(values), 0, np.iinfo(dtype).max)
    result: npt.NDArray[Any] = values.astype(dtype)
    if valid is not None:
        core = valid[margin:-margin, margin:-margin]
        result[:, ~core.repeat(scale, axis=0).repeat(scale, axis=1)] = empty
    return result


def _georeferenced(
    result: xr.DataArray, image: xr.DataArray, valid: da.Array | None, scale: int, y: Any, x: Any
) -> xr.DataArray:
    if "valid" in image.coords and valid is not None:
        finer = da.repeat(da.repeat(valid, scale, axis=0), scale, axis=1).astype(np.uint8)
        result = result.assign_coords(valid=((y, x), finer, image.coords["valid"].attrs))
    located = y in image.coords or image.rio.grid_mapping in image.coords
    if not located:
        return result
    # From the coordinates, where there are any: slicing leaves the kept transform behind.
    regular = y in image.coords and min(image.sizes[y], image.sizes[x]) > 1
    transform = image.rio.transform(recalc=regular)
    crs = image.rio.crs
    ground = Georeference("", transform, image.sizes[y], image.sizes[x]).finer(scale)
    if y in image.coords:
        result = result.assign_coords(
            {
                dim: (dim, values, image.coords[dim].attrs)
                for dim, values in zip((y, x), ground.coordinates().values(), strict=True)
            }
        )
    if crs is not None:
        result = result.rio.write_crs(crs, grid_mapping_name=image.rio.grid_mapping)
    located_finer: xr.DataArray = result.rio.write_transform(
        ground.transform, grid_mapping_name=image.rio.grid_mapping
    )
    return located_finer
