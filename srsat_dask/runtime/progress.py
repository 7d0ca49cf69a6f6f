"""Progress on stderr: a bar in a terminal or notebook, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

_LINE_EVERY = 10.0
"""Seconds between plain lines when stderr is not a terminal."""


class Tracker:
    """What is done of one piece of work, shown as it grows."""

    def __init__(self, label: str, total: float, bar: Progress | None, shown: bool) -> None:
        self._label = label
        self._total = total
        self._done = 0.0
        self._bar = bar
        self._shown = shown
        self._start = self._line_at = time.monotonic()
        self._task: TaskID | None = None
        if bar is not None:
            self._task = bar.add_task(label, total=total, note="")

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        """Add what was done and say a short note beside the bar."""
        self.move_to(self._done + amount, note)

    def move_to(self, done: float, note: str = "") -> None:
        """Set what is done and say a short note beside the bar."""
        self._done = done
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, note=note)
        elif self._shown and (
            time.monotonic() - self._line_at >= _LINE_EVERY or done >= self._total
        ):
            self._line_at = time.monotonic()
            sys.stderr.write(f"{self._label}: {self._share()} {note}\n")

    def _share(self) -> str:
        share = self._done / self._total if self._total else 1.0
        if not 0 < share < 1:
            return f"{100 * share:.0f} %"
        left = (self._line_at - self._start) * (1 - share) / share
        return f"{100 * share:.0f} %, {left:.0f} s left,"


@contextmanager
def track(label: str, total: float, *, shown: bool = True, count: bool = True) -> Iterator[Tracker]:
    """Show the progress of a piece of work while the block runs.

    Parameters
    ----------
    label : str
        What is going on, in a word or two.
    total : float
        Amount of work.
    shown : bool
        Show nothing when false.
    count : bool
        Whether to print ``done/total``; false for amounts that are not counts.

    Yields
    ------
    Tracker
        To be advanced as the work goes on.
    """
    console = Console(stderr=True)
    if not shown or not (console.is_terminal or console.is_jupyter):
        yield Tracker(label, total, None, shown)
        return
    counted = [MofNCompleteColumn()] if count else []
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *counted,
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=console,
    ) as bar:
        yield Tracker(label, total, bar, shown)
