"""Which request goes wrong, and how.

Every rule looks at every request that its pattern matches, so what one rule does never depends on
the others. Of those that fire, all latencies add up and the first other effect counts.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass

from srsat_dask.sandbox.faults import Faults, Latency, Moment, Rule


@dataclass(frozen=True)
class Ruling:
    """What befalls one request."""

    delay: float
    """Seconds to hold it back, all latencies together."""

    delayed_by: tuple[Rule, ...]
    """The latency rules that fired."""

    fault: Rule | None
    """The one other rule that counts, if any fired."""

    held: tuple[int, ...]
    """Rules, by position, that count the request as under way until it is released."""


class Referee:
    """Rules on each request; the one place that remembers the requests before it.

    Not for several threads: the server calls it on its event loop only.
    """

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._asked: Counter[str] = Counter()
        self._matched: Counter[int] = Counter()
        self._under_way: Counter[int] = Counter()
        self._authorised: Counter[int] = Counter()

    def admit(self, path: str, *, authorised: bool) -> Ruling:
        """Rule on a request that has arrived; follow it with :meth:`release`."""
        if self._faults.rules:
            self._asked[path] += 1
        delay, delayed_by, held = 0.0, [], []
        fault: Rule | None = None
        for position, rule in enumerate(self._faults.rules):
            if not rule.match.search(path):
                continue
            self._matched[position] += 1
            self._authorised[position] += authorised
            moment = Moment(
                draw=self._draw("trigger", position, path),
                count=self._matched[position],
                under_way=self._under_way[position] + 1,
                authorised=self._authorised[position] if authorised else 0,
            )
            if not rule.trigger.fires(moment):
                # One turned away does not count as under way: it would keep others out.
                self._under_way[position] += 1
                held.append(position)
            elif isinstance(rule.effect, Latency):
                jitter = rule.effect.jitter * self._draw("jitter", position, path)
                delay += rule.effect.seconds + jitter
                delayed_by.append(rule)
            else:
                fault = fault or rule
        return Ruling(delay, tuple(delayed_by), fault, tuple(held))

    def release(self, ruling: Ruling) -> None:
        """Note that a request has been answered or dropped."""
        self._under_way.subtract(ruling.held)

    def _draw(self, purpose: str, position: int, path: str) -> float:
        """Draw from [0, 1) for the latest request of a path: a hash, so order does not matter."""
        key = f"{self._faults.seed} {position} {purpose} {self._asked[path]} {path}"
        return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=6).digest()) / 2**48
