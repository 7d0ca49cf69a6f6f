"""The task of one output shard: read its window and a margin, upscale, write; runs on a worker."""

from typing import Any, cast

import numpy as np
import zarr

from srsat_dask.mosaic.ledger import write_shard
from srsat_dask.mosaic.store import StoreScene
from srsat_dask.mosaic.windows import Window
from srsat_dask.runtime import metrics
from srsat_dask.upscaling.consistency import write_layer
from srsat_dask.upscaling.plan import ScenePart
from srsat_dask.upscaling.recipe import Recipe


def upscale_shard(
    shared: tuple[Recipe, int, bool], part: ScenePart, finer: StoreScene, window: Window
) -> int:
    """Make one shard of the output.

    Parameters
    ----------
    shared : (Recipe, int, bool)
        How pixels become finer, input pixels around a shard that decide it, and whether to write
        the consistency layer too.
    part : ScenePart
        The input.
    finer : StoreScene
        The output; its template exists.
    window : Window
        The shard, in output pixels.

    Returns
    -------
    int
        Pixels written.
    """
    recipe, reach, consistency = shared
    coarse = window.coarsened(recipe.scale)
    # Before the pixels: an input that changes meanwhile then has another digest in the next run.
    seen = part.input_digest(coarse, reach)
    image, valid = part.read(coarse, recipe.margin)
    with metrics.engine_time():
        pixels, mask = recipe.apply(image, valid)
    keep_input_digest(finer, window, seen)
    if consistency:
        write_layer(recipe, part, finer, coarse)
    write_shard(finer, window, pixels, mask)
    return int(mask.size)


def keep_input_digest(finer: StoreScene, window: Window, seen: bytes) -> None:
    """Write what a shard is made from into its ledger, ahead of its pixels.

    The shard is pending in between, so a run cut short leaves no shard with another's digest.
    """
    row, column = window.y0 // finer.shard, window.x0 // finer.shard
    group = finer.group("r+")
    digests = cast("zarr.Array[Any]", group["shard_digest"])
    if np.any(digests[row, column]):
        digests[row, column] = 0
    inputs = cast("zarr.Array[Any]", group["input_digest"])
    inputs[row, column] = np.frombuffer(seen, dtype=np.uint8)
