"""A training on the live page: its loss, told to the scheduler as it falls."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client

from srsat_dask.runtime import plugin
from srsat_dask.runtime.events import TOPIC

_EVERY = 0.5
"""Seconds between two points: the mean of the losses in between is told."""


class Learning:
    """The line from a training to the live page.

    Parameters
    ----------
    client : distributed.Client or None
        Whose scheduler is told; None tells nobody.
    run : str
        Name of the training.
    """

    def __init__(self, client: Client | None, run: str) -> None:
        self._client, self._run = client, run
        self._losses: list[float] = []
        self._told = 0.0

    def tell(self, part: float, loss: float, note: str) -> None:
        """Say how far the training is (0 to 1), its latest loss and a note."""
        self._losses.append(loss)
        now = time.monotonic()
        if self._client is None or (now - self._told < _EVERY and part < 1):
            return
        mean = sum(self._losses) / len(self._losses)
        self._losses, self._told = [], now
        message = {"event": "learn", "run": self._run, "part": part, "loss": mean, "note": note}
        self._client.log_event(TOPIC, message)

    def end(self) -> None:
        """Say that the training is over."""
        if self._client is not None and self._client.status == "running":
            self._client.log_event(TOPIC, {"event": "end", "run": self._run})


@contextmanager
def learning_on(client: Client) -> Iterator[Learning]:
    """Yield the line from a training to the page of a client's scheduler."""
    learning = Learning(client if plugin.register(client) else None, uuid.uuid4().hex)
    try:
        yield learning
    finally:
        learning.end()
