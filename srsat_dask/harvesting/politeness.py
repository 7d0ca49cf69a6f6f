"""Politeness: one rate and one concurrency for the whole cluster.

A token bucket lives on the scheduler. A worker reserves a few requests at a time and is told how
long to wait, in seconds from now, so clocks need not agree. When a service answers 429, the
worker that met it tells the bucket, and every worker waits with it.

Concurrency is a number of places beside the bucket: a task that fetches holds one, and has its
share of the requests under way. A Dask semaphore would not do: it bounds concurrency, not rate,
and its leases expire under load; a place is free again when its task or its worker ends.
"""

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from distributed import Client, Scheduler, SchedulerPlugin, Worker, get_worker
from distributed.utils import sync

from srsat_dask.errors import InputError, SrsatError

RATE = 50.0
"""Requests per second of the whole cluster, unless said otherwise: the article's loop made 4."""

CONCURRENCY = 64
"""Requests under way at once over the whole cluster, unless said otherwise."""

_RESERVE_SECONDS = 0.25
"""A worker reserves what it may send in so many seconds: fewer questions, little overshoot."""

_RESERVE_MOST = 64
_ASK_AGAIN = 0.02
"""Seconds after which a task without a place asks for one again."""

_RECOVERY = 1.1
"""After a 429 the rate halves; each second without another it grows by this factor again."""

_ENDED = "the run that this task belongs to has ended"

_SLOWEST = 1 / 16
"""Share of the rate asked for that is always kept."""


class RunEndedError(SrsatError):
    """A task outlived its run; nobody waits for what it does."""


@dataclass(frozen=True)
class Politeness:
    """How a harvest treats the service that it draws from."""

    rate: float = RATE
    """Requests per second of the whole cluster; infinite for no limit."""
    concurrency: int = CONCURRENCY
    """Requests under way at once over the whole cluster."""

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise InputError(f"rate {self.rate} must be more than 0 requests per second")
        if self.concurrency < 1:
            raise InputError(f"concurrency {self.concurrency} must be at least 1")

    def per_task(self, threads: int) -> int:
        """Return the requests that one of ``threads`` tasks may have under way."""
        return max(self.concurrency // threads, 1)

    def tasks(self, threads: int) -> int:
        """Return how many tasks may run at once: each needs one request at least."""
        return min(self.concurrency, threads)


class Bucket:
    """A token bucket that can be slowed; it keeps no clock of its own.

    Parameters
    ----------
    rate : float
        Requests per second.
    """

    def __init__(self, rate: float) -> None:
        self._asked = self._rate = rate
        self._next = -math.inf
        self._slowed_at = -math.inf
        self._grown_at = -math.inf

    def reserve(self, count: int, now: float) -> tuple[float, float]:
        """Reserve requests; return seconds until the first and between two of them."""
        self._grow(now)
        start = max(self._next, now)
        self._next = start + count / self._rate
        return start - now, 1 / self._rate

    def slow_down(self, seconds: float, now: float) -> None:
        """Send nothing for so many seconds, and go on more slowly.

        Several workers meet the same refusal: within a second of another it halves nothing more.
        """
        self._next = max(self._next, now + seconds)
        if now - self._slowed_at >= 1:
            self._rate = max(self._rate / 2, self._asked * _SLOWEST)
            self._slowed_at = now
        self._grown_at = max(now + seconds, self._grown_at)

    def _grow(self, now: float) -> None:
        if self._rate < self._asked and now > self._grown_at:
            self._rate = min(self._asked, self._rate * _RECOVERY ** (now - self._grown_at))
            self._grown_at = now


@dataclass
class _Run:
    """What the scheduler knows of one run."""

    bucket: Bucket
    places: float
    """Tasks that may fetch at once."""
    taken: Counter[str] = field(default_factory=Counter)
    """Places taken, by address of the worker."""


class PolitenessPlugin(SchedulerPlugin):
    """Keeps the buckets and the places of the runs on the scheduler."""

    name = "srsat-politeness"
    idempotent = True  # one for all runs: a second registration keeps the first

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}

    async def start(self, scheduler: Scheduler) -> None:
        """Answer the workers' questions."""
        scheduler.handlers["srsat_open_run"] = self.open_run
        scheduler.handlers["srsat_close_run"] = self.close_run
        scheduler.handlers["srsat_reserve"] = self.reserve
        scheduler.handlers["srsat_slow_down"] = self.slow_down
        scheduler.handlers["srsat_take_place"] = self.take_place
        scheduler.handlers["srsat_leave_place"] = self.leave_place

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: Any) -> None:
        """Free the places of a worker that is gone."""
        for run in self._runs.values():
            run.taken.pop(worker, None)

    def open_run(self, run: str, rate: float, places: float) -> None:
        """Make the bucket and the places of a run."""
        self._runs[run] = _Run(Bucket(rate), places)

    def close_run(self, run: str) -> None:
        """Forget a run."""
        self._runs.pop(run, None)

    def reserve(self, run: str, count: int) -> tuple[float, float] | None:
        """Reserve requests for a worker; None if the run has ended."""
        known = self._runs.get(run)
        return None if known is None else known.bucket.reserve(count, time.monotonic())

    def slow_down(self, run: str, seconds: float) -> None:
        """Let every worker of a run wait."""
        if run in self._runs:
            self._runs[run].bucket.slow_down(seconds, time.monotonic())

    def take_place(self, run: str, worker: str) -> bool | None:
        """Take a place for a worker's task if one is free; None if the run has ended."""
        known = self._runs.get(run)
        if known is None:
            return None
        free = known.taken.total() < known.places
        known.taken[worker] += free
        return free

    def leave_place(self, run: str, worker: str) -> None:
        """Free a worker's place."""
        if run in self._runs:
            self._runs[run].taken[worker] -= 1


@dataclass(frozen=True)
class Gate:
    """The way of a run's requests through its bucket; travels to workers."""

    run: str
    """Name of the run."""
    politeness: Politeness
    """What was asked for."""

    def open(self, client: Client, tasks: float = math.inf) -> None:
        """Make the bucket, and places for so many tasks, on a client's scheduler."""
        client.register_plugin(PolitenessPlugin())
        client.sync(
            client.scheduler.srsat_open_run,
            run=self.run,
            rate=self.politeness.rate,
            places=tasks,
        )

    def close(self, client: Client) -> None:
        """Forget them."""
        client.sync(client.scheduler.srsat_close_run, run=self.run)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place among the tasks that fetch, waiting for it if need be; call it in the task.

        Raises
        ------
        RunEndedError
            The run that the task belongs to has ended.
        """
        worker = get_worker()
        while not (taken := _ask(worker, "srsat_take_place", run=self.run, worker=worker.address)):
            if taken is None:
                raise RunEndedError(_ENDED)
            time.sleep(_ASK_AGAIN)
        try:
            yield
        finally:
            _ask(worker, "srsat_leave_place", run=self.run, worker=worker.address)

    def enter(self, tasks: int) -> "Turnstile":
        """Return the way through for the threads of one of ``tasks`` tasks; call it in the task."""
        share = self.politeness.rate * _RESERVE_SECONDS / tasks
        return Turnstile(self.run, int(min(max(share, 1), _RESERVE_MOST)), get_worker())


class Turnstile:
    """Lets the threads of one task through, as the bucket on the scheduler allows."""

    def __init__(self, run: str, count: int, worker: Worker) -> None:
        self._run = run
        self._count = count
        self._worker = worker
        self._lock = threading.Lock()
        self._due: deque[float] = deque()

    def check(self) -> None:
        """Raise `RunEndedError` if the run that the task belongs to has ended."""
        self._reserve(0)

    def wait(self) -> None:
        """Block until the next request may be sent; raise `RunEndedError` if none may be."""
        with self._lock:
            if not self._due:
                wait, step = self._reserve(self._count)
                now = time.monotonic()
                self._due.extend(now + wait + n * step for n in range(self._count))
            due = self._due.popleft()
        delay = due - time.monotonic()
        if delay > 0:
            time.sleep(delay)

    def slow_down(self, seconds: float) -> None:
        """Tell the whole cluster to wait so many seconds."""
        with self._lock:
            self._due.clear()
        _ask(self._worker, "srsat_slow_down", run=self._run, seconds=seconds)

    def _reserve(self, count: int) -> tuple[float, float]:
        reserved = _ask(self._worker, "srsat_reserve", run=self._run, count=count)
        if reserved is None:
            raise RunEndedError(_ENDED)
        wait, step = reserved
        return float(wait), float(step)


def _ask(worker: Worker, question: str, /, **about: Any) -> Any:
    """Ask the scheduler from a thread of a worker."""
    return sync(worker.loop, getattr(worker.scheduler, question), **about)
