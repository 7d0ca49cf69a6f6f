"""What an upscaling will cost: memory for a worker, and time from a short measurement."""

import time

import numpy as np

from srsat_dask.upscaling.plan import UpscalePlan
from srsat_dask.upscaling.recipe import Recipe

SIDE_HR = 1024
"""Side of the random image that the speed is measured on, in output pixels."""

WORKER_BYTES = 350_000_000
"""What a worker holds without a shard: Python, the libraries, a compiled network and its tiles."""


def measure_speed(recipe: Recipe, seconds: float = 1.0) -> float:
    """Run an engine on random pixels for about a second and return its speed.

    Parameters
    ----------
    recipe : Recipe
        Engine, model and bands; an ensemble is measured as it is.
    seconds : float
        How long to measure; building the engine and one call before come on top.

    Returns
    -------
    float
        Output pixels per second on all cores of this process.
    """
    side = SIDE_HR // recipe.scale
    shape = (side + 2 * recipe.halo, side + 2 * recipe.halo, recipe.bands)
    image = np.random.default_rng(0).random(shape, dtype=np.float32)
    upscaler = recipe.upscaler()
    upscaler(image)  # the first call compiles and allocates
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        upscaler(image)
        calls += 1
    return float(calls * (side * recipe.scale) ** 2 / (time.perf_counter() - start))


def worker_bytes(plan: UpscalePlan, threads: int) -> int:
    """Return about how much memory a worker takes, in bytes, whatever the size of the scene.

    Parameters
    ----------
    plan : UpscalePlan
        Shard, bands and type.
    threads : int
        Shards that the worker computes at once.
    """
    itemsize = plan.parts[0].scene.dtype.itemsize
    # The network's floats, the pixels, the pixels once more as compressed chunks, and the mask.
    per_pixel = plan.recipe.bands * (4 + 2 * itemsize) + 2
    return WORKER_BYTES + threads * per_pixel * plan.shard**2
