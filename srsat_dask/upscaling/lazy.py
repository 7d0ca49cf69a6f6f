"""Lazy upscaling of any dask-backed DataArray.

One task per chunk: the task of an output chunk takes the input chunks that its window and halo
touch, cuts the window out of them and upscales it. No overlapped copy of the input is ever made,
chunks of one pixel are as good as any, and slicing the result computes only the chunks it needs.
(``dask.array.overlap`` would make about twelve tasks per chunk and rechunk small ones silently.)
"""

import warnings
from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import rioxarray
import xarray as xr
from dask.array import PerformanceWarning
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from srsat_dask.errors import InputError, RasterError
from srsat_dask.mosaic.georeference import Georeference
from srsat_dask.mosaic.inputs import Bands, present
from srsat_dask.mosaic.windows import Window, mirrored
from srsat_dask.upscaling.recipe import Range, Recipe, check_other_bands, make_recipe

if TYPE_CHECKING:
    from os import PathLike

    import keras

    from srsat_dask.model.file import ModelFile

MANY = 10_000
"""Chunks of an image from which on tiny ones are warned of."""

TINY = 64
"""Side in pixels of a chunk that is smaller than its task is worth."""


def upscale(
    image: xr.DataArray,
    model: "str | PathLike[str] | keras.Model | ModelFile" = "srcnn-x4",
    *,
    engine: str = "auto",
    value_range: Range | None = None,
    bands: Sequence[Any] | None = None,
    other_bands: str | None = None,
    ensemble: bool = False,
) -> xr.DataArray:
    """Super-resolve an image lazily, chunk by chunk, without seams.

    Parameters
    ----------
    image : xarray.DataArray
        Dimensions y, x (by any name rioxarray knows) and a band dimension, in any order, with
        red, green and blue first, or one band, which the model then sees as grey; uint8, uint16
        or float. Any chunks: the result's are ``scale`` times as large, so chunks of some 512 px
        are best; a warning is given for an image of many tiny ones. A coordinate ``valid`` (y, x),
        NaN, infinity, or the nodata value that rioxarray reports mark missing pixels.
    model : str, path, keras.Model or ModelFile
        A ``.keras`` file, the name of a bundled model, or what :func:`srsat_dask.train` returned.
    engine : {"auto", "openvino", "keras"}
        What computes the network; ``auto`` is resolved here, once for all chunks.
    value_range : tuple of float, optional
        Values for black and white; by default those of the integer type, and 0 and 1 for floats.
        One range for the whole image: a range per chunk would make seams. What lies beyond it is
        not clipped.
    bands : sequence, optional
        Red, green and blue, or one band, by their labels in the band coordinate, their names in
        the attribute ``long_name``, or, where there is neither, their positions; by default the
        first three, or the only one.
    other_bands : {"bicubic"}, optional
        What to do with the other bands, which then follow; by default they are left out.
    ensemble : bool
        Average over the eight rotations and flips of the input: a little better, at eight times
        the computing.

    Returns
    -------
    xarray.DataArray
        Lazy; same order of dimensions, type, name and attributes, exactly ``scale`` times as many
        rows and columns, with CRS, transform and coordinates to match. Missing pixels stay
        missing, and change no pixel further away than the model's halo.

    Raises
    ------
    InputError
        Dimensions, type or size do not fit; an image smaller than the model's halo.
    ModelError
        The model cannot be read.
    """
    y, x, band = _dimensions(image)
    check_other_bands(other_bands)
    positions = _positions(image, band, bands, others=other_bands is not None)
    values = image.isel({band: positions}).transpose(band, y, x)
    recipe = make_recipe(
        model,
        image.dtype,
        values.sizes[band],
        engine=engine,
        value_range=value_range,
        ensemble=ensemble,
    )
    scale = recipe.scale
    if min(image.sizes[y], image.sizes[x]) < recipe.halo:
        raise InputError(
            f"an image of {image.sizes[y]} × {image.sizes[x]} px is smaller than the model's halo"
            f" of {recipe.halo} px: give a larger one"
        )
    pixels = values.data if isinstance(values.data, da.Array) else da.from_array(values.data)
    pixels = pixels.rechunk({0: -1})
    _warn_of_tiny(pixels)
    valid = _valid(image, values, pixels, y, x)
    finer = _upscaled(pixels, valid, recipe, _missing(image))
    result = xr.DataArray(
        finer,
        dims=(band, y, x),
        coords={
            name: coordinate
            for name, coordinate in values.coords.items()
            if not {y, x} & set(coordinate.dims)
        },
        attrs=_attributes(image, positions, image.sizes[band]),
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


def _positions(
    image: xr.DataArray, band: Any, bands: Sequence[Any] | None, *, others: bool
) -> list[int]:
    """Return the positions of the bands to upscale, those for the model first."""
    names = image.attrs.get("long_name")
    count = image.sizes[band]
    labels: list[Any] = list(range(count))
    if band in image.coords:
        labels = image.coords[band].values.tolist()
    first = None
    if bands is not None:
        if isinstance(names, list | tuple) and len(names) == count:
            labels = [*labels, *names]
        unknown = [name for name in bands if name not in labels]
        if unknown:
            raise RasterError(f"no band {unknown[0]!r}: the image has {labels}")
        first = tuple(labels.index(name) % count + 1 for name in bands)
    return [number - 1 for number in Bands(first, others=others).of(count, "the image")]


def _attributes(image: xr.DataArray, positions: list[int], count: int) -> dict[Any, Any]:
    """Return the image's attributes, with the names of those bands that are left."""
    names = image.attrs.get("long_name")
    if not isinstance(names, list | tuple) or len(names) != count:
        return dict(image.attrs)
    return {**image.attrs, "long_name": type(names)(names[at] for at in positions)}


def _warn_of_tiny(pixels: da.Array) -> None:
    """Say that an image of very many tiny chunks is better rechunked: a task each is slow."""
    if pixels.npartitions > MANY and np.prod(pixels.chunksize[1:]) < TINY**2:
        warnings.warn(
            f"{pixels.npartitions} chunks of at most {pixels.chunksize[1:]} px make as many tasks:"
            " image.chunk(y=512, x=512) first is faster",
            PerformanceWarning,
            stacklevel=3,
        )


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
    if pixels.dtype.kind == "f" or (nodata is not None and not np.isnan(nodata)):
        masks.append(present(pixels, nodata))
    if not masks:
        return None
    valid = masks[0]
    for mask in masks[1:]:
        valid = valid & mask
    return valid


def _upscaled(
    pixels: da.Array,
    valid: da.Array | None,
    recipe: Recipe,
    missing: float | None,
) -> da.Array:
    scale, margin = recipe.scale, recipe.margin
    name = f"upscale-{tokenize(pixels, valid, recipe, missing)}"
    shared = f"upscale-recipe-{tokenize(recipe)}"
    rows, columns = (np.cumsum((0, *chunks)) for chunks in pixels.chunks[1:])
    graph: dict[Any, Any] = {shared: recipe}
    for i, j in product(range(len(rows) - 1), range(len(columns) - 1)):
        window = Window(int(rows[i]), int(rows[i + 1]), int(columns[j]), int(columns[j + 1]))
        wide = window.expanded(margin)
        at_rows, near_rows = _reach(wide.y0, wide.y1, rows)
        at_columns, near_columns = _reach(wide.x0, wide.x1, columns)
        graph[(name, 0, i, j)] = (
            _upscale_chunk,
            shared,
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
            (recipe.bands,),
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
    recipe: Recipe,
    missing: float | None,
    at: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]],
    blocks: list[list[npt.NDArray[Any]]],
    masks: list[list[npt.NDArray[np.bool_]]] | bool,
) -> npt.NDArray[Any]:
    """Upscale one chunk from the chunks around it; runs on a worker."""
    rows, columns = at
    image = np.block(blocks)[:, rows[:, None], columns]
    if isinstance(masks, bool):
        return recipe.apply(image, np.ones(image.shape[1:], bool))[0]
    pixels, valid = recipe.apply(image, np.block(masks)[rows[:, None], columns])
    empty = missing if missing is not None else (np.nan if image.dtype.kind == "f" else 0)
    if empty != 0 and not valid.all():
        pixels[:, valid == 0] = empty
    return pixels


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
