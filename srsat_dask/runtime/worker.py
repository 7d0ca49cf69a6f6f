"""What the worker processes of a cluster on this machine do when they start: a Dask preload."""

import logging
import signal
from typing import Any


def dask_setup(_worker: Any) -> None:
    """Leave Ctrl-C to the process that started the work, and be quiet about cancelled tasks."""
    # A terminal sends Ctrl-C to every process of the group: a worker would die in a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    quiet_when_cancelled()


def quiet_when_cancelled() -> None:
    """Let a worker cancel its running tasks without a warning for each."""
    logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)
