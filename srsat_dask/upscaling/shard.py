"""The task of one output shard: read its window and a margin, upscale, write; runs on a worker."""

import numpy as np
import numpy.typing as npt

from srsat_dask.model.engines import get_upscaler
from srsat_dask.model.file import ModelFile
from srsat_dask.model.inference import upscale_window
from srsat_dask.mosaic.inputs import ReadableScene, read_mirrored
from srsat_dask.mosaic.ledger import write_shard
from srsat_dask.mosaic.store import StoreScene
from srsat_dask.mosaic.windows import Window
from srsat_dask.runtime.clusters import threads_here


def upscale_shard(
    shared: tuple[ModelFile, str], scene: ReadableScene, finer: StoreScene, window: Window
) -> int:
    """Make one shard of the output; runs on a worker.

    Returns
    -------
    int
        Pixels written.
    """
    file, engine = shared
    scale, margin = file.spec.scale, 2 * file.spec.halo
    image, valid = read_mirrored(scene, window.coarsened(scale), margin)
    height, width = window.shape
    pixels = np.zeros((file.spec.bands, height, width), dtype=np.uint8)
    mask: npt.NDArray[np.uint8] | None = None
    if valid[margin:-margin, margin:-margin].any():
        pixels, mask = upscale_window(image, valid, get_upscaler(file, engine, threads_here()))
    write_shard(finer, window, pixels, np.zeros_like(pixels[0]) if mask is None else mask)
    return height * width
