"""The scheduler's plugin: listens to runs, keeps the board, brings the page and the metrics.

The client sends it to whatever scheduler it is connected to, so a remote one will do. Where the
scheduler has no Bokeh, or no dashboard, there is no page and everything else works.
"""

import logging
import time
from typing import Any

from distributed import Client, Scheduler, SchedulerPlugin

from srsat_dask.runtime import metrics
from srsat_dask.runtime.board import Board
from srsat_dask.runtime.events import TOPIC, Plan, ShardDone, ShardState

logger = logging.getLogger(__name__)

_KEY_PARTS = 4
"""Prefix with run, scene, row, column: the parts of a shard's key."""


class LivePlugin(SchedulerPlugin):
    """Keeps the board of a scheduler."""

    name = "srsat-live"
    idempotent = True  # one for all clients: a second registration keeps the first

    def __init__(self) -> None:
        self.board = Board()
        self._scheduler: Scheduler | None = None

    async def start(self, scheduler: Scheduler) -> None:
        """Add the page to the dashboard, and the board's counts to the metrics."""
        self._scheduler = scheduler
        metrics.watch(self.board)
        try:
            from srsat_dask.runtime.page import add_page
        except ImportError:  # no Bokeh: no dashboard either
            return
        add_page(scheduler, self.board)

    def log_event(self, topic: str, msg: Any) -> None:
        """Take in what the client and the workers tell."""
        if topic != TOPIC:
            return
        now = time.monotonic()
        kind = msg["event"]
        if kind == "plan":
            self.board.begin(Plan.of(msg), now)
        elif kind == "shard":
            self.board.finish(ShardDone.of(msg), msg["workflow"], now)
        elif kind == "learn":
            self.board.learn(msg["run"], msg["part"], msg["loss"], msg["note"], now)
        elif kind == "end":
            self.board.end(msg["run"], now)

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        """Colour a shard as its task is taken up, handed back or fails."""
        # Called for every step of every task of everybody: foreign ones leave at once.
        if type(key) is not tuple or len(key) != _KEY_PARTS:
            return
        work = self.board.work_of(key[0])
        if work is None:
            return
        at = (key[1], key[2], key[3])
        if finish == "processing":
            self.board.move(work, at, ShardState.RUNNING)
        elif start == "processing" and finish in {"released", "waiting", "queued", "no-worker"}:
            self.board.move(work, at, ShardState.PENDING)
        elif finish == "erred" and self._scheduler is not None:
            said = self._scheduler.tasks[key].exception_text or ""
            kind, _, reason = said.partition("(")
            self.board.fail(work, at, kind or "Error", reason.removesuffix(")").strip("'\""))


def register(client: Client) -> bool:
    """Send the plugin to a client's scheduler, unless it is there; return whether it is there now.

    A scheduler that takes no plugins, or whose Python has no ``srsat_dask``, has no page: that is
    said once and hinders no work.
    """
    if not hasattr(client, "_srsat_live"):
        try:
            client.register_plugin(LivePlugin())
            client._srsat_live = True
        except (ImportError, ValueError) as error:
            client._srsat_live = False
            logger.warning("no page /srsat in the dashboard of this scheduler: %s", error)
    return bool(client._srsat_live)
