"""The task of one output shard: read its window and a margin, upscale, write; runs on a worker."""

from srsat_dask.mosaic.ledger import keep_input_digest, write_shard
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
