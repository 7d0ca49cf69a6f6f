"""The board behind the live page: where every shard of every scene stands, and how fast it goes.

Plain state without Dask, Bokeh or a clock of its own: the scheduler's plugin writes to it, the
page and the metrics read from it. A shard costs one byte and an update a few microseconds, so ten
thousand of them do not slow a scheduler.
"""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from srsat_dask.runtime.events import Plan, ShardDone, ShardState, public

RATE_WINDOW = 30.0
"""Seconds over which rates are averaged."""

MOST_FAILURES = 200
"""Failed shards kept with their reasons, of each workflow; all are counted."""

MOST_SCENES = 400
"""Scenes kept of each workflow; the oldest go first."""

MOST_POINTS = 2000
"""Points kept of a loss curve; when there are more, every second one goes."""


class Rate:
    """Amounts per second over the last half minute.

    Amounts are gathered by the second, so memory is bounded however many come.
    """

    def __init__(self) -> None:
        self._parts: deque[tuple[float, float]] = deque()
        self._start: float | None = None

    def add(self, amount: float, now: float) -> None:
        """Count an amount at a time in seconds."""
        if self._start is None:
            self._start = now
        if self._parts and now - self._parts[-1][0] < 1:
            self._parts[-1] = (self._parts[-1][0], self._parts[-1][1] + amount)
        else:
            self._parts.append((now, amount))

    def at(self, now: float) -> float:
        """Return the amount per second at a time; 0 when nothing came for long."""
        while self._parts and now - self._parts[0][0] > RATE_WINDOW:
            self._parts.popleft()
        if not self._parts or self._start is None:
            return 0.0
        seconds = min(max(now - self._start, 1.0), RATE_WINDOW)
        return sum(amount for _, amount in self._parts) / seconds


@dataclass
class Grid:
    """The shards of one scene."""

    scene: str
    """Name of the scene."""
    states: npt.NDArray[np.uint8]
    """`ShardState` of each, (rows, columns)."""
    failures: dict[tuple[int, int], str] = field(default_factory=dict)
    """Why shards failed, by row and column."""
    version: int = 0
    """Grows with each change."""

    def set(self, row: int, column: int, state: ShardState) -> None:
        """Note the state of a shard; one that is not of the grid is left out."""
        if 0 <= row < self.states.shape[0] and 0 <= column < self.states.shape[1]:
            self.states[row, column] = state
            self.version += 1


@dataclass
class Work:
    """The latest run of one workflow, and every scene that it and the ones before it were at."""

    workflow: str
    """Prefix of the tasks, such as ``harvest-shard``."""
    run: str
    """Name of the latest run."""
    started: float
    """When it began, in seconds."""
    grids: dict[str, Grid] = field(default_factory=dict)
    """Shards by scene."""
    planned: int = 0
    """Shards that the latest run has to do."""
    finished: int = 0
    """Shards that it is done with."""
    ended: float | None = None
    """When it ended, in seconds."""
    tiles: Counter[str] = field(default_factory=Counter)
    """Tiles by outcome, of all runs."""
    trouble: Counter[str] = field(default_factory=Counter)
    """Requests made again or given up, and shards that failed, by kind, of all runs."""
    pixels: int = 0
    """Pixels written by all runs."""
    received: int = 0
    """Bytes received by all runs."""
    rates: dict[str, Rate] = field(default_factory=dict)
    """Rates of the latest run: of tiles, pixels and bytes."""

    def count(self, what: str, amount: float, now: float) -> None:
        """Add to one of the rates."""
        self.rates.setdefault(what, Rate()).add(amount, now)

    def rate(self, what: str, now: float) -> float:
        """Return one of the rates, per second."""
        kept = self.rates.get(what)
        return kept.at(now if self.ended is None else self.ended) if kept else 0.0

    def seconds_left(self, now: float) -> float | None:
        """Return how long the latest run has still to go, if that can be said yet."""
        if self.ended is not None or not self.finished:
            return None
        return (now - self.started) * (self.planned - self.finished) / self.finished

    def counts(self) -> dict[ShardState, int]:
        """Return the number of shards in each state."""
        total = np.zeros(len(ShardState), dtype=np.int64)
        for grid in self.grids.values():
            total += np.bincount(grid.states.ravel(), minlength=len(ShardState))
        return {state: int(total[state]) for state in ShardState}


@dataclass
class Training:
    """The latest training."""

    run: str
    """Name of the run."""
    started: float
    """When it began, in seconds."""
    part: float = 0.0
    """Part that is done, 0 to 1."""
    ended: float | None = None
    """When it ended, in seconds."""
    seconds: list[float] = field(default_factory=list)
    """When each point of the curve was, in seconds since the start."""
    losses: list[float] = field(default_factory=list)
    """Mean squared error of the latest steps at each point."""
    note: str = ""
    """What the training says of itself."""
    version: int = 0
    """Grows with each change."""

    def seconds_left(self, now: float) -> float | None:
        """Return how long it has still to go, if that can be said yet."""
        if self.ended is not None or self.part <= 0:
            return None
        return (now - self.started) * (1 - self.part) / self.part


class Board:
    """Everything that the page shows."""

    def __init__(self) -> None:
        self.works: dict[str, Work] = {}
        """Work by workflow, in the order of their first run."""
        self.training: Training | None = None
        """The latest training."""
        self._runs: dict[str, Work] = {}

    def begin(self, plan: Plan, now: float) -> None:
        """Take in the plan of a run."""
        work = self.works.get(plan.workflow)
        if work is None:
            work = self.works[plan.workflow] = Work(plan.workflow, plan.run, now)
        self._runs = {key: kept for key, kept in self._runs.items() if kept is not work}
        self._runs[f"{plan.workflow}-{plan.run}"] = work
        work.run, work.started, work.ended = plan.run, now, None
        work.planned = work.finished = 0
        work.rates = {}
        for scene in plan.scenes:
            before = work.grids.pop(scene.name, None)
            version = before.version + 1 if before else 0
            work.grids[scene.name] = Grid(scene.name, scene.states.copy(), version=version)
            # A shard with failed tiles is done again too.
            again = (scene.states == ShardState.PENDING) | (scene.states == ShardState.FAILED)
            work.planned += int(again.sum())
        for name in list(work.grids)[:-MOST_SCENES]:
            del work.grids[name]

    def end(self, run: str, now: float) -> None:
        """Note that a run is over, whether or not it did everything."""
        for work in self.works.values():
            if work.run == run:
                work.ended = now
                for grid in work.grids.values():
                    grid.states[grid.states == ShardState.RUNNING] = ShardState.PENDING
                    grid.version += 1
        if self.training is not None and self.training.run == run:
            self.training.ended = now

    def work_of(self, prefix: str) -> Work | None:
        """Return what the tasks belong to whose keys begin with ``prefix``, if it is ours."""
        return self._runs.get(prefix)

    def move(self, work: Work, at: tuple[str, int, int], state: ShardState) -> None:
        """Note that a task was taken up, or has to be done again."""
        scene, row, column = at
        grid = work.grids.get(scene)
        if grid is not None:
            grid.set(row, column, state)

    def finish(self, done: ShardDone, workflow: str, now: float) -> None:
        """Take in what became of a shard."""
        work = self.works.get(workflow)
        if work is None or work.run != done.run:
            return
        outcome = done.outcome
        scene, row, column = done.at
        self.move(work, done.at, outcome.state)
        work.finished += 1
        work.tiles.update(outcome.tiles)
        work.trouble.update(done.trouble)
        work.pixels += outcome.pixels
        work.received += done.received
        work.count("tiles", sum(outcome.tiles.values()), now)
        work.count("pixels", outcome.pixels, now)
        work.count("bytes", done.received, now)
        grid = work.grids.get(scene)
        if grid is not None:
            grid.failures.pop((row, column), None)
        if outcome.state is ShardState.FAILED:
            self._note_failure(work, done.at, outcome.reason)

    def fail(self, work: Work, at: tuple[str, int, int], kind: str, reason: str) -> None:
        """Note that a task failed for good, with the name of its error and what that says."""
        self.move(work, at, ShardState.FAILED)
        work.finished += 1
        work.trouble[kind] += 1
        self._note_failure(work, at, f"{kind}: {reason}" if reason else kind)

    def learn(self, run: str, part: float, loss: float | None, note: str, now: float) -> None:
        """Take in how far a training is."""
        if self.training is None or self.training.run != run:
            self.training = Training(run, now)
        training = self.training
        training.part, training.note = part, public(note)
        if loss is not None:
            training.seconds.append(now - training.started)
            training.losses.append(loss)
            if len(training.losses) > MOST_POINTS:
                training.seconds, training.losses = training.seconds[::2], training.losses[::2]
        training.version += 1

    def _note_failure(self, work: Work, at: tuple[str, int, int], reason: str) -> None:
        scene, row, column = at
        grid = work.grids.get(scene)
        kept = sum(len(grid.failures) for grid in work.grids.values())
        if grid is not None and kept < MOST_FAILURES:
            grid.failures[row, column] = public(reason)

    def failures(self, work: Work) -> Iterator[tuple[str, int, int, str]]:
        """Yield the failed shards that are kept: scene, row, column, reason."""
        for grid in work.grids.values():
            for (row, column), reason in grid.failures.items():
                yield grid.scene, row, column, reason
