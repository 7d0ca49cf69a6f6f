"""What the sandbox was asked: counts only, so that no token or query can leak into it."""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class PathLog:
    """How often one path was asked for, and what was answered."""

    count: int
    """Answers given."""

    statuses: Mapping[int, int]
    """HTTP status -> number of answers with it; 0 counts connections reset without one."""


@dataclass(frozen=True)
class LogSnapshot:
    """The request log at one moment."""

    total: int
    """Answers given, the log's own address not counted."""

    peak_concurrency: int
    """Most requests ever in progress at once."""

    paths: Mapping[str, PathLog]
    """Path without its query -> its counts."""

    faults: Mapping[str, int]
    """Fault rule -> how often it did something; those that never did are here too."""

    def as_json(self) -> dict[str, object]:
        """Return the snapshot as plain dicts, statuses as strings."""
        return {
            "total": self.total,
            "peak_concurrency": self.peak_concurrency,
            "paths": {
                path: {
                    "count": entry.count,
                    "statuses": {str(status): n for status, n in entry.statuses.items()},
                }
                for path, entry in self.paths.items()
            },
            "faults": dict(self.faults),
        }


@dataclass
class RequestLog:
    """The running counts behind a :class:`LogSnapshot`; safe to use from any thread."""

    rules: tuple[str, ...] = ()
    """Names of the fault rules."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    _fired: Counter[str] = field(default_factory=Counter)
    _in_progress: int = 0
    _peak: int = 0

    def begin(self) -> None:
        """Note that a request arrived."""
        with self._lock:
            self._in_progress += 1
            self._peak = max(self._peak, self._in_progress)

    def end(self, path: str, status: int) -> None:
        """Note that the request for ``path`` was answered with ``status``."""
        with self._lock:
            self._in_progress -= 1
            self._answers[path, status] += 1

    def fire(self, rule: str) -> None:
        """Note that a fault rule did something to a request."""
        with self._lock:
            self._fired[rule] += 1

    def reset(self) -> None:
        """Forget every answer; requests in progress still count towards the new peak."""
        with self._lock:
            self._answers.clear()
            self._fired.clear()
            self._peak = self._in_progress

    def snapshot(self) -> LogSnapshot:
        """Return the counts so far."""
        with self._lock:
            answers, peak = dict(self._answers), self._peak
            fired = {rule: self._fired[rule] for rule in self.rules}
        statuses: dict[str, dict[int, int]] = {}
        for (path, status), count in sorted(answers.items()):
            statuses.setdefault(path, {})[status] = count
        paths = {path: PathLog(sum(each.values()), each) for path, each in statuses.items()}
        return LogSnapshot(sum(answers.values()), peak, paths, fired)
