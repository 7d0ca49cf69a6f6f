"""A run is followed on the scheduler: shards, page, metrics; without Bokeh all else works."""

import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import requests
from distributed import Client, LocalCluster

from srsat_dask.errors import ShardError
from srsat_dask.runtime import metrics, plugin
from srsat_dask.runtime.board import Board
from srsat_dask.runtime.events import Outcome, SceneGrid, ShardState
from srsat_dask.runtime.learning import learning_on
from srsat_dask.runtime.page import words
from srsat_dask.runtime.runner import ShardKey, run_shards


def board_of(client: Client) -> Board:
    board: Board = client.cluster.scheduler.plugins[plugin.LivePlugin.name].board
    return board


def until(condition: Callable[[], bool]) -> None:
    """Events travel: wait for them a little."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def shards(rows: int, columns: int, scene: str) -> Iterator[tuple[ShardKey, tuple[int]]]:
    for row, column in np.ndindex(rows, columns):
        yield (scene, row, column), (row * columns + column,)


def work(shared: None, number: int) -> int:
    metrics.troubled("status 503")
    if number == 5:
        raise OSError("no space left on '/secret/place/<b>x</b>'")
    return number


def outcome(number: int) -> Outcome:
    return Outcome(ShardState.UPSCALED, {"stored": 1}, pixels=100)


def run(client: Client, scene: str = "scene", rows: int = 2) -> None:
    grid = SceneGrid(scene, np.zeros((rows, 2), np.uint8))
    list(
        run_shards(
            client,
            work,
            shards(rows, 2, scene),
            prefix="test-shard",
            retries=0,
            scenes=[grid],
            outcome=outcome,
        )
    )


def test_board_follows_a_run(client: Client) -> None:
    """Every shard's outcome, the pixels and the troubles of the workers are on the scheduler."""
    before = metrics.PIXELS._value.get()
    run(client)
    board = board_of(client)
    until(lambda: board.works["test-shard"].ended is not None)
    done = board.works["test-shard"]
    assert done.counts()[ShardState.UPSCALED] == done.finished == done.planned == 4
    assert done.pixels == 400
    assert done.trouble["status 503"] >= 4
    assert metrics.PIXELS._value.get() - before == 400


def test_failed_shard_shows_its_reason_escaped(client: Client) -> None:
    """Exceptions are named with their reason; markup is text, and folders are not told."""
    with pytest.raises(ShardError):
        run(client, "<script>alert(1)</script>", rows=3)
    board = board_of(client)
    ((scene, row, column, reason),) = board.failures(board.works["test-shard"])
    assert (scene, row, column) == ("<script>alert(1)</script>", 2, 1)
    assert reason.startswith("OSError: no space left on")
    assert "secret" not in reason
    said = words.trouble(board)
    assert "<script>" not in said
    assert "<b>x" not in said
    assert "OSError" in said


def test_page_and_tab_are_in_the_dashboard(client: Client) -> None:
    """``/srsat`` answers, and the other pages lead there."""
    address = f"http://127.0.0.1:{client.cluster.scheduler.http_server.port}"
    assert requests.get(f"{address}/srsat", timeout=30).status_code == 200
    assert '<a href="srsat">' in requests.get(f"{address}/status", timeout=30).text
    plugin.register(client)
    text = requests.get(f"{address}/status", timeout=30).text
    assert text.count('<a href="srsat">') == 1


def test_metrics_are_in_dasks_own(client: Client) -> None:
    """Counters of the work and the board's states, where Prometheus looks for Dask's."""
    run(client)
    until(lambda: board_of(client).works["test-shard"].finished == 4)
    port = client.cluster.scheduler.http_server.port
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
    assert 'srsat_shards{state="upscaled",workflow="test-shard"} 4.0' in text
    assert 'srsat_queue_depth{workflow="test-shard"} 0.0' in text
    assert 'srsat_tiles_total{outcome="stored"}' in text
    assert 'srsat_shard_seconds_bucket{le="0.02",workflow="test-shard"}' in text
    assert 'srsat_troubled_requests_total{kind="status 503"}' in text


def test_training_draws_its_curve(client: Client) -> None:
    """Losses come averaged, the last one at once, and the end is told."""
    with learning_on(client) as learning:
        learning.tell(0.1, 0.5, "loss 0.5")
        for _ in range(100):
            learning.tell(0.2, 0.3, "loss 0.3")
        learning.tell(1.0, 0.1, "loss 0.1")
    training = board_of(client).training
    assert training is not None
    assert training.losses[0] == 0.5
    assert len(training.losses) < 10
    assert training.note == "loss 0.1"
    until(lambda: training.ended is not None)


def test_nothing_breaks_without_bokeh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler without a dashboard runs the same work and keeps the same board."""
    monkeypatch.setitem(sys.modules, "srsat_dask.runtime.page", None)
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        run(client)
        until(lambda: board_of(client).works["test-shard"].finished == 4)


def test_no_page_where_there_is_no_dashboard() -> None:
    """With Bokeh but ``dashboard=False`` nothing is added."""
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        assert plugin.register(client)
        assert cluster.scheduler.http_application.applications == []
