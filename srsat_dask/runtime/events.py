"""What a run tells of itself: its plan, what became of each shard, how a training learns.

Runs speak in Dask's events (`distributed.Client.log_event`), which reach the scheduler from the
client and from every worker, whatever machine they are on. `srsat_dask.runtime.plugin` listens
there. An event holds names, counts and reasons; never a token, an address or a path.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import Any, Self

import numpy as np
import numpy.typing as npt

TOPIC = "srsat"
"""Topic of our events in Dask's log of events."""


class ShardState(IntEnum):
    """What a shard is at, as the live page colours it."""

    PENDING = 0
    RUNNING = 1
    STORED = 2
    PARTIAL = 3
    ABSENT = 4
    FAILED = 5
    UPSCALED = 6

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do for it in this run."""
        return self > ShardState.RUNNING


@dataclass(frozen=True)
class SceneGrid:
    """The shards of one scene before a run."""

    name: str
    """Name of the scene."""
    states: npt.NDArray[np.uint8]
    """`ShardState` of every shard, (rows, columns): what is there already, and what is pending."""


@dataclass(frozen=True)
class Plan:
    """A run begins."""

    run: str
    """Name of the run; its tasks' keys are ``(f"{workflow}-{run}", scene, row, column)``."""
    workflow: str
    """Prefix of its tasks, such as ``harvest-shard``."""
    scenes: tuple[SceneGrid, ...]
    """The scenes that it works on."""

    def message(self) -> dict[str, Any]:
        """Return what travels: plain values that msgpack knows."""
        scenes = [[s.name, list(s.states.shape), s.states.tobytes()] for s in self.scenes]
        return {"event": "plan", "run": self.run, "workflow": self.workflow, "scenes": scenes}

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> Self:
        """Return the plan that a message holds."""
        scenes = tuple(
            SceneGrid(name, np.frombuffer(states, dtype=np.uint8).reshape(shape))
            for name, shape, states in message["scenes"]
        )
        return cls(message["run"], message["workflow"], scenes)


@dataclass(frozen=True)
class Outcome:
    """What became of one shard."""

    state: ShardState
    """What the shard is now."""
    tiles: Mapping[str, int] = field(default_factory=dict)
    """Tiles of the shard that the run dealt with, by the state they ended in."""
    pixels: int = 0
    """Pixels written."""
    reason: str = ""
    """Why the shard failed, in a few words."""


@dataclass(frozen=True)
class ShardDone:
    """A worker is done with a shard; also what it met on the way."""

    run: str
    """Name of the run."""
    at: tuple[str, int, int]
    """Scene, shard row, shard column."""
    outcome: Outcome
    """What became of it."""
    received: int = 0
    """Bytes that the worker received from services since its last event."""
    trouble: Mapping[str, int] = field(default_factory=dict)
    """Requests that had to be made again or given up since its last event, by kind."""

    def message(self) -> dict[str, Any]:
        """Return what travels: plain values that msgpack knows."""
        parts = asdict(self)
        parts["outcome"]["state"] = int(self.outcome.state)
        return {"event": "shard", **parts}

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> Self:
        """Return what a message holds."""
        outcome = Outcome(
            **{**message["outcome"], "state": ShardState(message["outcome"]["state"])}
        )
        scene, row, column = message["at"]
        return cls(
            message["run"],
            (scene, row, column),
            outcome,
            message["received"],
            message["trouble"],
        )


TILE_PIXELS = 256 * 256
"""Pixels of a tile."""


def harvested(
    shard: Mapping[str, int], fetched: Mapping[str, int], reasons: Sequence[str]
) -> Outcome:
    """Return the outcome of a harvested shard.

    Parameters
    ----------
    shard : mapping of str to int
        All tiles of the shard, by state.
    fetched : mapping of str to int
        Those that the run asked for, by state.
    reasons : sequence of str
        Why tiles failed, each once.
    """
    there = {name for name, count in shard.items() if count}
    if "failed" in there:
        state = ShardState.FAILED
    elif not there - {"absent", "blank"}:
        state = ShardState.ABSENT
    else:
        state = ShardState.STORED if there == {"stored"} else ShardState.PARTIAL
    pixels = TILE_PIXELS * sum(fetched.get(name, 0) for name in ("stored", "partial"))
    failed = shard.get("failed", 0)
    reason = f"{failed} tile{'s' if failed > 1 else ''}: {', '.join(reasons)}" if failed else ""
    return Outcome(state, dict(fetched), pixels, reason)


_URL = re.compile(r"\b([a-z][a-z0-9+.-]*)://[^\s'\"<>]*", re.IGNORECASE)
_FOLDERS = re.compile(r"(?<![\w.…/:])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\'\"<>:]+[/\\])+")
_CREDENTIAL = re.compile(
    r"\b(bearer|token|key|secret|password)\b(\s*[:=]\s*|\s+)\S+", re.IGNORECASE
)


def public(text: str) -> str:
    """Return a reason fit for a page that everybody may look at.

    Addresses lose all but their scheme, paths all but their last part, and whatever follows a
    word such as ``token`` is hidden.

    >>> public("no space left: '/home/ann/data/mosaic.zarr'")
    "no space left: '…/mosaic.zarr'"
    """
    text = _URL.sub(r"\1://…", " ".join(text.split()))
    text = _CREDENTIAL.sub(r"\1 …", text)
    return _FOLDERS.sub("…/", text)[:300]
