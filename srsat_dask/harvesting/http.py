"""HTTP for tile services: one pool of connections per process, retries, bounded bodies, no leaks.

urllib3 itself, without requests on top: a tile costs half the time so, and nothing here needs
cookies, proxies or credentials from files, none of which may stand in for our own token.
"""

import json
import random
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import certifi
import numpy as np
import numpy.typing as npt
from urllib3 import BaseHTTPResponse, PoolManager, Timeout
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from srsat_dask import __version__
from srsat_dask.errors import TokenError, UnreachableError
from srsat_dask.harvesting.decoding import decode_tile
from srsat_dask.harvesting.politeness import CONCURRENCY, Turnstile
from srsat_dask.harvesting.scene import TileError
from srsat_dask.mosaic.grid import TILE
from srsat_dask.mosaic.ledger import Reason
from srsat_dask.runtime import metrics

TIMEOUT = Timeout(connect=10.0, read=30.0)
"""Seconds to connect and to wait for the next bytes."""

DEADLINE = 60.0
"""Seconds that a whole body may take, however steadily it drips."""

_PIECE = 1 << 18
"""Bytes of a body read at once: a usual tile comes in one piece."""

MAX_BODY = 4 * 1024 * 1024
"""Bytes of a tile's body that are read at most; a raw RGBA tile has 256 KiB."""

CONNECTIONS = CONCURRENCY
"""Connections kept open per process and host."""

RETRIES = 7
"""Times that a request is sent again after a passing failure."""

CONNECT_RETRIES = 5
"""Of these, times that a connection is tried again."""

BACKOFF = 0.2
"""Seconds before the second retry; each later one waits twice as long, plus as much jitter."""

BACKOFF_MAX = 6.0
"""Longest backoff in seconds."""

RETRY_AFTER_MAX = 300
"""Longest ``Retry-After`` in seconds that is waited for in full."""

USER_AGENT = f"srsat_dask/{__version__}"
"""How we introduce ourselves: services of maps ask for it."""

_RETRY_STATUS = (429, 500, 502, 503, 504)
_BODY_TRIES = 6
"""Times that a tile is asked for while its body is no image."""


_thread = threading.local()


class _PoliteRetry(Retry):
    """Retries that pass the turnstile like first requests, and slow the cluster on a 429."""

    def increment(self, *args: Any, **kwargs: Any) -> Self:
        """Count a failed request, and pass a 429 on."""
        response = kwargs.get("response")
        turnstile = _turnstile()
        metrics.troubled("no answer" if response is None else f"status {response.status}")
        if response is not None and response.status == 429 and turnstile is not None:
            turnstile.slow_down(self.get_retry_after(response) or self.backoff_factor)
        return super().increment(*args, **kwargs)

    def sleep(self, response: Any = None) -> None:
        """Wait as the service or the backoff says, then for a turn."""
        super().sleep(response)
        wait_turn()


@cache
def pool() -> PoolManager:
    """Return this process's connections: they are reused, and asked again when they fail.

    Backoff is exponential with jitter and honours ``Retry-After`` in both its forms. Certificates
    are checked against those that certifi knows.
    """
    retries = _PoliteRetry(
        total=RETRIES,
        connect=CONNECT_RETRIES,
        backoff_factor=BACKOFF,
        backoff_jitter=BACKOFF,
        backoff_max=BACKOFF_MAX,
        retry_after_max=RETRY_AFTER_MAX,
        status_forcelist=_RETRY_STATUS,
        allowed_methods=("GET", "POST"),  # we post questions: asked twice they change nothing
        raise_on_status=False,
    )
    return PoolManager(
        num_pools=CONNECTIONS,
        maxsize=CONNECTIONS,
        retries=retries,
        timeout=TIMEOUT,
        cert_reqs="CERT_REQUIRED",
        ca_certs=certifi.where(),
    )


def use_turnstile(turnstile: Turnstile | None) -> None:
    """Let the requests of this thread pass a turnstile from now on."""
    _thread.turnstile = turnstile


def _turnstile() -> Turnstile | None:
    turnstile: Turnstile | None = getattr(_thread, "turnstile", None)
    return turnstile


class _TooLargeError(UnreachableError):
    """A body goes on beyond the bound: another try would too."""


class _BrokenBodyError(UnreachableError):
    """An answer began and did not end as announced: worth another try."""


def wait_turn() -> None:
    """Wait until the run's rate allows this thread another request."""
    turnstile = _turnstile()
    if turnstile is not None:
        turnstile.wait()


@dataclass(frozen=True)
class Answer:
    """What a service answered."""

    status: int
    """HTTP status."""
    body: bytes
    """All of the body."""

    def json(self) -> Any:
        """Return the body as JSON; ValueError if it is none."""
        return json.loads(self.body)


def get(
    url: str,
    token: str | None,
    params: dict[str, float] | None = None,
    *,
    question: object = None,
) -> Answer:
    """Ask (with the pool's retries) and read a bounded body; follow no redirect.

    Parameters
    ----------
    url : str
        Address; it may show in messages.
    token : str or None
        Bearer token.
    params : dict, optional
        Query of the address.
    question : object, optional
        JSON to send by POST; without one it is GET.

    Raises
    ------
    TokenError
        Status 401 or 403.
    UnreachableError
        No answer, or a body cut short or too large.
    """
    if not url.startswith(("https://", "http://")):  # urllib3 would take it for a host
        raise UnreachableError(f"{url} is no address: it must begin with https:// or http://")
    headers = {"User-Agent": USER_AGENT}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    asked = {"fields": params} if question is None else {"json": question}
    wait_turn()
    start = time.monotonic()
    failure: UnreachableError | None = None
    try:
        response = pool().request(
            "GET" if question is None else "POST",
            url,
            headers=headers,
            redirect=False,  # a redirect could carry the token to another host
            preload_content=False,
            **asked,
        )
    except HTTPError as error:
        failure = UnreachableError(
            f"no answer from {url} ({_reason(error)}): check the address and the network"
        )
    else:
        try:
            with closing(response):
                body = _bounded_body(response, url)
        except (HTTPError, OSError) as error:
            failure = _BrokenBodyError(f"{url} sent a broken body ({_reason(error)})")
            metrics.troubled("cut short")
        else:
            metrics.answered(time.monotonic() - start, response.status, len(body))
    if failure is not None:
        raise failure  # out here: chained, urllib3's error could carry the token
    if response.status in (401, 403):
        raise TokenError(
            f"{url} refused the token (status {response.status}):"
            " set SRSAT_TELLUS_TOKEN to a valid token"
        )
    return Answer(response.status, body)


def _bounded_body(response: BaseHTTPResponse, url: str) -> bytes:
    deadline = time.monotonic() + DEADLINE
    pieces: list[bytes] = []
    size = 0
    while piece := response.read1(_PIECE, decode_content=True):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BODY:
            raise _TooLargeError(f"{url} sent more than {MAX_BODY} bytes: not a tile")
        if time.monotonic() > deadline:
            raise _BrokenBodyError(f"{url} sent {size} bytes in {DEADLINE:g} s")
    return b"".join(pieces)


def get_tile(url: str, token: str | None, size: int = TILE) -> npt.NDArray[np.uint8] | None:
    """Return a tile as RGBA, uint8 (size, size, 4), or None for status 404.

    Parameters
    ----------
    url : str
        Address of the tile; it may show in messages.
    token : str or None
        Bearer token.
    size : int
        Side of the tile in pixels.

    Raises
    ------
    TileError
        No answer, another status, or no image of that size in six tries.
    TokenError
        Status 401 or 403.
    """
    failure = TileError("")
    for attempt in range(_BODY_TRIES):
        if attempt:
            # As urllib3 waits between retries: twice as long each time, with jitter.
            wait = min(BACKOFF * 2 ** (attempt - 1), BACKOFF_MAX)
            time.sleep(wait * random.uniform(0.5, 1.5))  # noqa: S311  no secret hangs on it
        try:
            answer = get(url, token)
        except _BrokenBodyError as error:
            failure = TileError(str(error), Reason.CUT_SHORT)
            continue
        except _TooLargeError as error:
            raise TileError(str(error), Reason.TOO_LARGE) from error
        except UnreachableError as error:
            raise TileError(str(error), Reason.NO_ANSWER) from error
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise TileError(f"status {answer.status}", answer.status)
        try:
            return decode_tile(answer.body, size)
        except TileError as error:
            failure = error
            metrics.troubled(Reason.text(error.reason))
    raise failure


def _reason(error: Exception) -> str:
    # The text of urllib3's errors repeats the address and object ids; the innermost says why.
    cause: BaseException = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__ or cause
    return str(cause).rpartition("] ")[2] or type(cause).__name__
