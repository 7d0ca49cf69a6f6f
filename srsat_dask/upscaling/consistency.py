"""How true a result is to its input: the result made coarse again, less the input.

The layer lies beside the result, at the input's resolution. It is what is left when the output is
degraded as the model's training images were (without noise), so 0 everywhere would be an output
that explains its input in full.
"""

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import zarr
from scipy.ndimage import minimum_filter

from srsat_dask.mosaic.georeference import Georeference
from srsat_dask.mosaic.inputs import read_mirrored
from srsat_dask.mosaic.store import CHUNK, StoreScene, write_aligned
from srsat_dask.mosaic.windows import Window
from srsat_dask.upscaling.degraded import degradation_of, degradation_reach
from srsat_dask.upscaling.plan import ScenePart
from srsat_dask.upscaling.recipe import Recipe

NAME = "consistency"
"""The layer's array in the scene's group: (band, low_y, low_x), int16, in the image's unit."""

MISSING = np.iinfo(np.int16).min
"""Where a pixel that is not there lies within reach of the degradation."""


def create_layer(finer: StoreScene, coarse: Georeference, scale: int, bands: int) -> None:
    """Make the layer and its coordinates, unless they are there."""
    group = finer.group("r+")
    if NAME in group:
        return
    side = finer.shard // scale
    chunk = CHUNK if side % CHUNK == 0 else side
    for axis, values in coarse.coordinates().items():
        array = group.create_array(
            f"low_{axis}",
            shape=values.shape,
            chunks=values.shape,
            dtype="float64",
            dimension_names=(f"low_{axis}",),
            overwrite=True,
        )
        array[:] = values
    group.create_array(
        NAME,
        shape=(bands, coarse.height, coarse.width),
        shards=(bands, side, side),
        chunks=(bands, chunk, chunk),
        dtype="int16",
        fill_value=MISSING,
        dimension_names=("band", "low_y", "low_x"),
        attributes={
            "long_name": "the result made coarse again, less the input",
            "_FillValue": MISSING,
        },
    )


def write_layer(recipe: Recipe, part: ScenePart, finer: StoreScene, coarse: Window) -> None:
    """Compute and write the layer of a shard, a window of the part in input pixels."""
    array = cast("zarr.Array[Any]", finer.group("r+")[NAME])
    write_aligned(array, coarse, consistency(recipe, part, coarse))


def consistency(recipe: Recipe, part: ScenePart, coarse: Window) -> npt.NDArray[np.int16]:
    """Return the layer of a window of a part, (band, y, x).

    The result is made once more with what the degradation reaches around the window, as far as the
    scene goes, so that the layer has no seams either.
    """
    scale, margin = recipe.scale, recipe.margin
    reach = degradation_reach(recipe.model)
    at = part.in_scene(coarse)
    wide = at.expanded(reach).clipped(part.scene.shape)
    image, valid = read_mirrored(part.scene, wide, margin)
    pixels, _ = recipe.apply(image, valid)
    again = degradation_of(recipe.model).apply(pixels.transpose(1, 2, 0), scale)
    core = (slice(margin, -margin),) * 2
    difference = again.transpose(2, 0, 1).astype(np.int16) - image[:, *core]
    side = 2 * reach + 1
    there = minimum_filter(valid[core], size=side, mode="nearest")
    layer = np.where(there, difference, np.int16(MISSING))
    inner = at.shifted(-wide.y0, -wide.x0).slices
    return np.ascontiguousarray(layer[:, *inner])
