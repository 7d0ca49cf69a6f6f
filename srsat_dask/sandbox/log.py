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
    """HTTP status -> number of answers with it."""


@dataclass(frozen=True)
class LogSnapshot:
    """The request log at one moment."""

    total: int
    """Answers given, the log's own address not counted."""

    peak_concurrency: int
    """Most requests ever in progress at once."""

    paths: Mapping[str, PathLog]
    """Path without its query -> its counts."""

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
        }


@dataclass
class RequestLog:
    """The running counts behind a :class:`LogSnapshot`; safe to use from any thread."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _answers: Counter[tuple[str, int]] = field(default_factory=Counter)
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

    def reset(self) -> None:
        """Forget every answer; requests in progress still count towards the new peak."""
        with self._lock:
            self._answers.clear()
            self._peak = self._in_progress

    def snapshot(self) -> LogSnapshot:
        """Return the counts so far."""
        with self._lock:
            answers, peak = dict(self._answers), self._peak
        statuses: dict[str, dict[int, int]] = {}
        for (path, status), count in sorted(answers.items()):
            statuses.setdefault(path, {})[status] = count
        paths = {path: PathLog(sum(each.values()), each) for path, each in statuses.items()}
        return LogSnapshot(sum(answers.values()), peak, paths)
