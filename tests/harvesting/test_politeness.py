"""One rate and one concurrency hold for the whole cluster, and a 429 slows all of it."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import cast

import pytest
from distributed import Client, Scheduler
from hypothesis import given
from hypothesis import strategies as st

from srsat_dask.errors import InputError
from srsat_dask.harvesting import http
from srsat_dask.harvesting.politeness import (
    Bucket,
    Gate,
    Politeness,
    PolitenessPlugin,
    RunEndedError,
)
from srsat_dask.runtime.clusters import connect


@given(
    rate=st.floats(0.5, 1000),
    asked=st.lists(st.tuples(st.integers(1, 64), st.floats(0, 2)), min_size=1, max_size=40),
)
def test_no_window_of_time_holds_more_than_the_rate(
    rate: float, asked: list[tuple[int, float]]
) -> None:
    """Whoever asks whenever: requests are sent one interval apart, at the soonest."""
    bucket, now = Bucket(rate), 0.0
    sent: list[float] = []
    for count, pause in asked:
        now += pause
        wait, step = bucket.reserve(count, now)
        assert wait >= 0
        sent += [now + wait + n * step for n in range(count)]
    assert sent == sorted(sent)
    gaps = [after - before for before, after in pairwise(sent)]
    assert all(gap >= 1 / rate - 1e-9 for gap in gaps)


def test_idle_time_is_not_saved_up() -> None:
    """After a pause the bucket does not let a burst through."""
    bucket = Bucket(10)
    bucket.reserve(1, 0)
    assert bucket.reserve(5, 100) == (0, 0.1)
    assert bucket.reserve(1, 100)[0] == pytest.approx(0.5)


def test_refusal_stops_everyone_and_halves_the_rate_once() -> None:
    """Two refusals at once count as one; later the rate comes back, and no further."""
    bucket = Bucket(8)
    bucket.slow_down(3, now=10)
    bucket.slow_down(2, now=10.1)
    wait, step = bucket.reserve(1, 10.2)
    assert wait == pytest.approx(2.8)
    assert step == pytest.approx(1 / 4)
    assert 1 / bucket.reserve(1, 15)[1] > 4
    assert bucket.reserve(1, 1000)[1] == pytest.approx(1 / 8)


def test_rate_never_falls_to_nothing() -> None:
    """However many refusals, a sixteenth of the rate is left."""
    bucket = Bucket(16)
    for now in range(0, 100, 2):
        bucket.slow_down(0, now)
    assert bucket.reserve(1, 98.0)[1] == pytest.approx(1)


def test_no_limit_still_waits_when_told_to() -> None:
    """An infinite rate reserves at once, until a refusal."""
    bucket = Bucket(math.inf)
    assert bucket.reserve(64, 5) == (0, 0)
    bucket.slow_down(2, 5)
    assert bucket.reserve(64, 6) == (1, 0)


@given(concurrency=st.integers(1, 200), threads=st.integers(1, 64))
def test_concurrency_holds_for_the_cluster(concurrency: int, threads: int) -> None:
    """Tasks times requests of a task never exceed what was asked for."""
    politeness = Politeness(concurrency=concurrency)
    tasks = politeness.tasks(threads)
    assert 1 <= tasks * politeness.per_task(tasks) <= concurrency


@pytest.mark.parametrize(("rate", "concurrency"), [(0, 1), (-1, 1), (math.nan, 1), (1, 0)])
def test_nonsense_is_refused(rate: float, concurrency: int) -> None:
    """Nothing per second, or nothing at once, never ends."""
    with pytest.raises(InputError, match="must be"):
        Politeness(rate, concurrency)


def ask_for(gate: Gate, requests: int) -> list[float]:
    """Pass a turnstile in a worker and say when (machine-wide monotonic clock)."""
    turnstile = gate.enter(2)
    times = []
    for _ in range(requests):
        turnstile.wait()
        times.append(time.monotonic())
    return times


def test_two_worker_processes_share_one_rate() -> None:
    """Twenty requests of each of two processes at forty a second take about a second."""
    with connect("local") as client:
        gate = Gate("run", Politeness(rate=40))
        gate.open(client)
        workers = list(client.scheduler_info()["workers"])[:2]
        futures = [
            client.submit(ask_for, gate, 20, workers=[worker], pure=False) for worker in workers
        ]
        times = sorted(moment for future in futures for moment in future.result())
        gate.close(client)
    assert len(times) == 20 * len(workers)
    assert times[-1] - times[0] >= (len(times) - 6) / 40


@contextmanager
def refusing_once(retry_after: str) -> Iterator[tuple[str, list[float]]]:
    """Answer 429 to the first request and 404 to all others; yield address and arrival times."""
    arrivals: list[float] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            arrivals.append(time.monotonic())
            self.send_response(429 if len(arrivals) == 1 else 404)
            if len(arrivals) == 1:
                self.send_header("Retry-After", retry_after)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", arrivals
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        http.pool().clear()


def fetch(gate: Gate, url: str, count: int) -> None:
    """Fetch tiles one after another through the gate, in a worker."""
    http.use_turnstile(gate.enter(2))
    for number in range(count):
        http.get_tile(f"{url}/{number}.png", None)
    http.use_turnstile(None)


def test_refusal_of_one_worker_slows_the_others(client: Client) -> None:
    """After a 429 with Retry-After nobody asks before the time is up."""
    with refusing_once("1") as (url, arrivals):
        gate = Gate("run", Politeness(rate=math.inf))
        gate.open(client)
        first = client.submit(fetch, gate, url, 1, pure=False)
        while not arrivals:
            time.sleep(0.01)
        time.sleep(0.2)  # the refusal is on its way to the scheduler
        second = client.submit(fetch, gate, url, 5, pure=False)
        client.gather([first, second])
        gate.close(client)
    assert len(arrivals) == 7
    assert min(arrivals[1:]) - arrivals[0] >= 0.9


def test_places_hold_for_the_cluster_and_outlive_no_worker() -> None:
    """No more tasks fetch than were asked for; a lost worker's places are free again."""
    plugin = PolitenessPlugin()
    assert plugin.take_place("run", "a") is None
    plugin.open_run("run", rate=1, places=2)
    assert [plugin.take_place("run", worker) for worker in "aba"] == [True, True, False]
    plugin.leave_place("run", "b")
    assert [plugin.take_place("run", worker) for worker in "aa"] == [True, False]
    plugin.remove_worker(cast(Scheduler, None), "a")
    assert [plugin.take_place("run", worker) for worker in "bbb"] == [True, True, False]
    plugin.close_run("run")
    assert plugin.take_place("run", "b") is None


def hold_place(gate: Gate, seconds: float) -> tuple[float, float]:
    """Hold a place in a worker; say from when to when."""
    with gate.place():
        start = time.monotonic()
        time.sleep(seconds)
        return start, time.monotonic()


def test_tasks_wait_for_their_place(client: Client) -> None:
    """Of three tasks with one place, one fetches at a time; after the run none does."""
    gate = Gate("run", Politeness())
    gate.open(client, 1)
    futures = [client.submit(hold_place, gate, 0.1, pure=False) for _ in range(3)]
    spans = sorted(client.gather(futures))
    assert all(first[1] <= second[0] for first, second in pairwise(spans))
    gate.close(client)
    with pytest.raises(RunEndedError):
        client.submit(hold_place, gate, 0, pure=False).result()


def test_task_that_outlives_its_run_asks_for_nothing_more(client: Client) -> None:
    """After the run is closed its tasks may neither fetch nor write."""

    def late(gate: Gate) -> list[str]:
        turnstile = gate.enter(1)
        said = []
        for step in (turnstile.wait, turnstile.check):
            try:
                step()
            except RunEndedError:
                said.append("ended")
        return said

    gate = Gate("run", Politeness())
    gate.open(client)
    gate.close(client)
    assert client.submit(late, gate, pure=False).result() == ["ended", "ended"]
