"""What a fault plan is made of: rules, each a pattern on the path, a trigger and an effect.

Values only. :mod:`.faultfile` reads them, :mod:`.referee` applies the triggers to the requests and
:mod:`.door` the effects to the connections.
"""

import re
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class Moment:
    """What a trigger may look at: one request, as one rule sees it."""

    draw: float
    """In [0, 1), the same in every run for the k-th request of a path."""

    count: int
    """How many requests the rule has matched, this one included."""

    under_way: int
    """How many of them are being answered, this one included."""

    authorised: int
    """How many of them carried the token, this one included; 0 if this one does not."""


class Trigger(Protocol):
    """When a rule fires."""

    def fires(self, moment: Moment) -> bool:
        """Whether the rule does something to this request."""


@dataclass(frozen=True)
class Always:
    """Every matching request."""

    def fires(self, moment: Moment) -> bool:
        """Say yes."""
        return True


@dataclass(frozen=True)
class Chance:
    """A share of the matching requests; the same request tried again is another draw."""

    probability: float

    def fires(self, moment: Moment) -> bool:
        """Whether the draw is below the probability."""
        return moment.draw < self.probability


@dataclass(frozen=True)
class Nth:
    """The matching requests of these numbers, counted from 1 in order of arrival."""

    numbers: frozenset[int]

    def fires(self, moment: Moment) -> bool:
        """Whether it is one of them."""
        return moment.count in self.numbers


@dataclass(frozen=True)
class Every:
    """Every n-th matching request."""

    period: int

    def fires(self, moment: Moment) -> bool:
        """Whether the count is a multiple."""
        return moment.count % self.period == 0


@dataclass(frozen=True)
class Crowd:
    """Requests beyond a number under way at once."""

    limit: int

    def fires(self, moment: Moment) -> bool:
        """Whether this one is too many."""
        return moment.under_way > self.limit


@dataclass(frozen=True)
class Expired:
    """Requests with the token, once it has served so many."""

    after: int

    def fires(self, moment: Moment) -> bool:
        """Whether the token has served its number."""
        return moment.authorised > self.after


@dataclass(frozen=True)
class Status:
    """Answer an error instead."""

    code: int
    retry_after: int | None = None
    """Seconds, in a ``Retry-After`` header."""

    as_date: bool = False
    """Whether that header holds an HTTP date instead of seconds."""


@dataclass(frozen=True)
class Reset:
    """Reset the TCP connection without an answer."""


@dataclass(frozen=True)
class Stall:
    """Answer as usual, but late."""

    seconds: float


@dataclass(frozen=True)
class Drip:
    """Send the body slowly."""

    bytes_per_second: float


@dataclass(frozen=True)
class Truncate:
    """Announce the whole body, send its beginning and close."""

    length: int
    """Bytes sent."""


@dataclass(frozen=True)
class Body:
    """Answer status 200 with something that was not asked for."""

    kind: Literal["html", "json", "empty", "bomb"]


@dataclass(frozen=True)
class Redirect:
    """Send the client elsewhere, status 302."""

    url: str


@dataclass(frozen=True)
class Latency:
    """Hold the request back, whatever else befalls it."""

    seconds: float
    jitter: float = 0.0
    """Up to so many seconds more, drawn for each request."""


Effect = Status | Reset | Stall | Drip | Truncate | Body | Redirect | Latency


@dataclass(frozen=True)
class Rule:
    """One line of a fault plan."""

    name: str
    """As the log names it, like ``rule 1: status 503``."""

    match: re.Pattern[str]
    """Searched for in the path, which has no query."""

    trigger: Trigger
    effect: Effect


@dataclass(frozen=True)
class Faults:
    """A fault plan; read one with :func:`srsat_dask.sandbox.faultfile.read_faults`."""

    seed: int = 0
    rules: tuple[Rule, ...] = ()
