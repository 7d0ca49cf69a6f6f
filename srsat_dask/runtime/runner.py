"""The shard runner: one task per shard, a bounded number in flight, failures that name the shard.

Every workflow plans its shards first and then hands them over here. Tasks are submitted one by
one (``client.submit`` keeps ``retries``, where annotations around a graph are dropped by
optimisation), so a scene of a hundred thousand shards never sits in the scheduler at once.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import dask
from distributed import Client, as_completed, get_worker

from srsat_dask.errors import ShardError, SrsatError
from srsat_dask.runtime import metrics, plugin
from srsat_dask.runtime.clusters import threads_of
from srsat_dask.runtime.events import TOPIC, Outcome, Plan, SceneGrid, ShardDone, ShardState

Result = TypeVar("Result")

AHEAD = 8
"""Tasks submitted per worker thread: enough that no thread waits for the client."""

RETRIES = 2
"""Times that a task is run again after an exception."""

ShardKey = tuple[str, int, int]
"""Scene, shard row, shard column."""


def run_shards(
    client: Client,
    work: Callable[..., Result],
    shards: Iterable[tuple[ShardKey, tuple[Any, ...]]],
    *,
    prefix: str,
    shared: Any = None,
    retries: int = RETRIES,
    at_once: int | None = None,
    scenes: Sequence[SceneGrid] = (),
    outcome: Callable[[Result], Outcome] | None = None,
) -> Iterator[tuple[ShardKey, Result]]:
    """Run one task per shard on a Dask cluster and yield results as they come.

    Parameters
    ----------
    client : distributed.Client
        Where to run.
    work : callable
        ``work(shared, *arguments)``, run on a worker; what it returns should be small.
    shards : iterable of (key, arguments)
        The shards and the arguments of each one's task.
    prefix : str
        Name of the tasks in the dashboard, such as ``"harvest-shard"``.
    shared : Any
        Given to every task, and sent to each worker once.
    retries : int
        Times a task is run again after an exception that is not a `SrsatError`.
    at_once : int, optional
        Most tasks in flight; by default eight for each thread of the workers.
    scenes : sequence of SceneGrid
        All shards of the scenes, for the live page.
    outcome : callable, optional
        Says what became of a shard from its result; run on the worker, for the live page and the
        metrics.

    Yields
    ------
    key, result
        In the order of completion.

    Raises
    ------
    ShardError
        A task failed for good; names its shard and chains the cause.
    SrsatError
        Raised by a task on purpose; passed on as it is.
    """
    run = uuid.uuid4().hex
    waiting = iter(shards)
    # A task of its own, not scattered data: it can be computed again when its worker is lost.
    common = client.submit(_identity, shared, key=f"{prefix}-shared-{run}")

    def submit(key: ShardKey, arguments: tuple[Any, ...]) -> Any:
        future = client.submit(
            _guarded,
            work,
            outcome,
            common,
            arguments,
            key=(f"{prefix}-{run}", *key),
            retries=retries,
            resources=resources,
        )
        running[future] = key
        return future

    def top_up() -> list[Any]:
        # Asked anew each time: workers may come and go during a run.
        room = (at_once or AHEAD * threads_of(client)) - len(running)
        return [submit(*shard) for shard in islice(waiting, max(room, 0))]

    # Workers of several kinds: which may take these tasks is for the cluster's profile to say.
    resources = dask.config.get("srsat.resources", {}).get(prefix)
    running: dict[Any, ShardKey] = {}
    live = plugin.register(client)
    if live:
        client.log_event(TOPIC, Plan(run, prefix, tuple(scenes)).message())
    futures = as_completed(top_up())
    try:
        for future in futures:
            key = running.pop(future)
            if future.status != "finished":
                cause = future.exception()
                scene, row, column = key
                raise ShardError(
                    f"{prefix} ({row}, {column}) of {scene} failed:"
                    f" {type(cause).__name__}: {cause}; run it again to go on from there"
                ) from cause
            result, error = future.result()
            future.release()
            if error is not None:
                raise error
            futures.update(top_up())
            yield key, result
    finally:
        client.cancel(list(running))
        if live and client.status == "running":
            client.log_event(TOPIC, {"event": "end", "run": run})


def _identity(value: Any) -> Any:
    return value


def _guarded(
    work: Callable[..., Result],
    outcome: Callable[[Result], Outcome] | None,
    shared: Any,
    arguments: tuple[Any, ...],
) -> tuple[Result | None, SrsatError | None]:
    start = time.perf_counter()
    # An error raised on purpose will not go away: return it, so that Dask does not retry it.
    try:
        result = work(shared, *arguments)
    except SrsatError as error:
        return None, error
    if outcome is not None:
        _tell(outcome(result), time.perf_counter() - start)
    return result, None


def _tell(outcome: Outcome, seconds: float) -> None:
    """Tell the scheduler and the metrics what became of this task's shard."""
    worker = get_worker()
    prefix, *at = worker.get_current_task()
    workflow, _, run = prefix.rpartition("-")
    metrics.SHARDS.labels(workflow).observe(seconds)
    for state, count in outcome.tiles.items():
        metrics.TILES.labels(state).inc(count)
    if outcome.state is ShardState.UPSCALED:
        metrics.PIXELS.inc(outcome.pixels)
    received, trouble = metrics.take()
    scene, row, column = at
    done = ShardDone(run, (scene, row, column), outcome, received, trouble)
    worker.log_event(TOPIC, {**done.message(), "workflow": workflow})
