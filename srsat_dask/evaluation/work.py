"""The measuring of images, spread over the workers of the current Dask client or over threads.

A task measures a few windows: many small images, or a part of a large one. The sums are put
together in the order of images and windows, so they do not hang on who measured them.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from dask.system import CPU_COUNT
from distributed import get_client

from srsat_dask.evaluation.images import Image
from srsat_dask.evaluation.measure import (
    Cell,
    Compared,
    Mask,
    cell_side,
    check_size,
    compare,
    measure,
    windows_of,
)
from srsat_dask.model.degradation import Degradation
from srsat_dask.model.engines import Upscaler, get_upscaler, resolve_engine
from srsat_dask.model.file import ModelFile
from srsat_dask.mosaic.inputs import ReadableScene
from srsat_dask.mosaic.windows import Window
from srsat_dask.runtime.clusters import threads_here
from srsat_dask.runtime.progress import track
from srsat_dask.runtime.runner import run_shards

TASK_PIXELS = 2**20
"""Pixels of a task: a second or less, and several tasks for each thread of a small folder."""

MOST_THREADS = 4
"""Threads without a Dask client; each holds the activations of a few windows."""


@dataclass(frozen=True)
class Judge:
    """What is judged and how; pickles, so that workers judge in the same way."""

    file: ModelFile
    """The model."""
    engine: str
    """What computes it; not ``auto``."""
    degradation: Degradation
    """How images are made coarser."""

    @classmethod
    def of(cls, file: ModelFile, engine: str, degradation: Degradation) -> "Judge":
        """Choose the engine, once for all workers.

        Raises
        ------
        InputError
            The engine is unknown.
        """
        return cls(file, resolve_engine(engine), degradation)

    def upscaler(self) -> Upscaler:
        """Return this process' upscaler."""
        return get_upscaler(self.file, self.engine, threads_here())

    def compare(self, scene: ReadableScene, window: Window, counts: Mask | None) -> Compared | None:
        """Degrade and upscale a window; see `compare`."""
        return compare(scene, window, self.upscaler(), self.degradation, counts)


Part = tuple[int, int, ReadableScene, Mask | None, Window]
"""Number of the image, number of the window in it, and what to measure."""

Measured = list[list[Cell]]
"""Cells of an image, by window."""


def measure_images(
    judge: Judge, images: Sequence[Image], *, by_cell: bool, progress: bool
) -> list[Measured]:
    """Measure images on the current Dask client, or on threads of this process without one.

    Parameters
    ----------
    judge : Judge
        The model and the degradation.
    images : sequence of Image
        What to measure.
    by_cell : bool
        Whether to keep the sums of every cell, or of whole windows only.
    progress : bool
        Show progress on stderr.

    Returns
    -------
    list of list of list of Cell
        By image and window; a window in which no pixel counts has none.

    Raises
    ------
    InputError
        An image is too small.
    ShardError
        A task failed for good.
    """
    spec = judge.file.spec
    for image in images:
        check_size(image.scene, spec.scale, spec.halo, judge.degradation)
    planned = [windows_of(image.scene, spec.scale) for image in images]
    measured: list[Measured] = [[[] for _ in windows] for windows in planned]
    parts = [
        (number, place, image.scene, image.counts, window)
        for number, (image, windows) in enumerate(zip(images, planned, strict=True))
        for place, window in enumerate(windows)
    ]
    cell = cell_side(spec.scale) if by_cell else None
    with track("evaluate", len(parts), shown=progress, count=False) as bar:
        for task, cells in _run(judge, cell, _tasks(parts), images):
            for (number, place, *_), found in zip(task, cells, strict=True):
                measured[number][place] = found
            bar.advance(len(task), note=images[task[-1][0]].name)
    return measured


def _run(
    judge: Judge, cell: int | None, tasks: list[list[Part]], images: Sequence[Image]
) -> Iterator[tuple[list[Part], list[list[Cell]]]]:
    shared = (judge, cell)
    try:
        client = get_client()
    except ValueError:
        judge.upscaler()  # once, before threads ask for it
        with ThreadPoolExecutor(min(CPU_COUNT, MOST_THREADS)) as pool:
            try:
                yield from zip(
                    tasks, pool.map(lambda task: measure_parts(shared, task), tasks), strict=True
                )
            finally:
                pool.shutdown(cancel_futures=True)
        return
    shards = [((images[task[0][0]].name, number, 0), (task,)) for number, task in enumerate(tasks)]
    for (_, number, _), cells in run_shards(
        client, measure_parts, shards, prefix="evaluate-images", shared=shared
    ):
        yield tasks[number], cells


def measure_parts(shared: tuple[Judge, int | None], parts: list[Part]) -> list[list[Cell]]:
    """Measure windows of images, on a worker."""
    judge, cell = shared
    result = []
    for _, _, scene, counts, window in parts:
        compared = judge.compare(scene, window, counts)
        result.append([] if compared is None else measure(compared, cell))
    return result


def _tasks(parts: list[Part]) -> list[list[Part]]:
    tasks: list[list[Part]] = []
    pixels = TASK_PIXELS
    for part in parts:
        height, width = part[-1].shape
        if pixels + height * width > TASK_PIXELS:
            tasks.append([])
            pixels = 0
        tasks[-1].append(part)
        pixels += height * width
    return tasks
