"""Metrics for Prometheus, in Dask's own ``/metrics`` of every worker and of the scheduler.

Counters live in the process that does the work and start with it at nought, as Prometheus
expects; Dask serves its default registry. ``cluster/grafana.json`` draws them.

============================  ===================================================================
``srsat_tiles_total``         tiles that a harvest dealt with, by ``outcome``
``srsat_request_seconds``     histogram: from asking a service to the end of its answer, retries
                              included, by ``status``
``srsat_troubled_requests_total``  tries that failed, by ``kind``: ``status 503``, ``no answer``, …
``srsat_received_bytes_total``  bytes of answers
``srsat_upscaled_pixels_total``  output pixels written
``srsat_engine_seconds``      histogram: the network over one shard
``srsat_shard_seconds``       histogram: one shard's task, reading and writing included, by
                              ``workflow``
``srsat_shards``              on the scheduler: shards by ``workflow`` and ``state``
``srsat_queue_depth``         on the scheduler: shards of running work not finished yet
============================  ===================================================================
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import prometheus_client
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from srsat_dask.runtime.board import Board

_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)

TILES = prometheus_client.Counter("srsat_tiles", "Tiles dealt with", ["outcome"])
REQUESTS = prometheus_client.Histogram(
    "srsat_request_seconds", "From asking to the end of the answer", ["status"], buckets=_SECONDS
)
TROUBLE = prometheus_client.Counter("srsat_troubled_requests", "Tries that failed", ["kind"])
RECEIVED = prometheus_client.Counter("srsat_received_bytes", "Bytes of answers")
PIXELS = prometheus_client.Counter("srsat_upscaled_pixels", "Output pixels written")
ENGINE = prometheus_client.Histogram(
    "srsat_engine_seconds", "The network over one shard", buckets=_SECONDS
)
SHARDS = prometheus_client.Histogram(
    "srsat_shard_seconds", "The task of one shard", ["workflow"], buckets=_SECONDS
)


class _SinceLast:
    """What this process met since it last told the scheduler."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received = 0
        self._trouble: Counter[str] = Counter()

    def add(self, received: int, trouble: str | None) -> None:
        with self._lock:
            self._received += received
            if trouble is not None:
                self._trouble[trouble] += 1

    def take(self) -> tuple[int, dict[str, int]]:
        with self._lock:
            taken = self._received, dict(self._trouble)
            self._received, self._trouble = 0, Counter()
        return taken


_since_last = _SinceLast()


def answered(seconds: float, status: int, received: int) -> None:
    """Count an answer of a service: seconds since it was first asked, HTTP status, bytes."""
    REQUESTS.labels(str(status)).observe(seconds)
    RECEIVED.inc(received)
    _since_last.add(received, None)


def troubled(kind: str) -> None:
    """Count a try that failed, whether or not another follows.

    Parameters
    ----------
    kind : str
        What was wrong, in a word or two of a small vocabulary: ``status 503``, ``no answer``.
        Never an address.
    """
    TROUBLE.labels(kind).inc()
    _since_last.add(0, kind)


def take() -> tuple[int, dict[str, int]]:
    """Return the bytes and troubles counted since the last call in this process."""
    return _since_last.take()


@contextmanager
def engine_time() -> Iterator[None]:
    """Count the body as the engine's time over one shard."""
    start = time.perf_counter()
    yield
    ENGINE.observe(time.perf_counter() - start)


class _BoardCollector(Collector):
    """The board of this process's scheduler, as metrics."""

    board: "Board | None" = None

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the shards in each state and the depth of the queue."""
        shards = GaugeMetricFamily("srsat_shards", "Shards", labels=["workflow", "state"])
        depth = GaugeMetricFamily("srsat_queue_depth", "Shards not finished", labels=["workflow"])
        for work in list(self.board.works.values()) if self.board else []:
            for state, count in work.counts().items():
                shards.add_metric([work.workflow, state.name.lower()], count)
            left = work.planned - work.finished if work.ended is None else 0
            depth.add_metric([work.workflow], left)
        yield shards
        yield depth


_collector = _BoardCollector()
prometheus_client.REGISTRY.register(_collector)


def watch(board: "Board") -> None:
    """Show a board in this process's metrics; the latest one wins."""
    _collector.board = board
