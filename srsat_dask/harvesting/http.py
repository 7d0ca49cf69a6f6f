"""HTTP for tile services: one pooled session per process, retries, bounded bodies, no leaks."""

import random
import threading
import time
from functools import cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from srsat_dask.errors import TokenError, UnreachableError
from srsat_dask.harvesting.decoding import decode_tile
from srsat_dask.harvesting.politeness import CONCURRENCY, Turnstile
from srsat_dask.harvesting.scene import TileError
from srsat_dask.mosaic.grid import TILE
from srsat_dask.mosaic.ledger import Reason
from srsat_dask.runtime import metrics

TIMEOUT = (10.0, 30.0)
"""Seconds to connect and to wait for the next bytes."""

DEADLINE = 60.0
"""Seconds that a whole body may take, however steadily it drips."""

_PIECE = 65536

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
def session() -> requests.Session:
    """Return this process's session: connections are reused, and asked again when they fail.

    Backoff is exponential with jitter and honours ``Retry-After`` in both its forms.
    """
    retry = _PoliteRetry(
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
    kept = requests.Session()
    # Neither proxies' nor .netrc's credentials may take the place of our own token.
    kept.trust_env = False
    for scheme in ("http://", "https://"):
        kept.mount(scheme, HTTPAdapter(CONNECTIONS, CONNECTIONS, max_retries=retry))
    return kept


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


def get(
    url: str,
    token: str | None,
    params: dict[str, float] | None = None,
    *,
    json: object = None,
) -> requests.Response:
    """Ask (with the session's retries) and read a bounded body; follow no redirect.

    Parameters
    ----------
    url : str
        Address; it may show in messages.
    token : str or None
        Bearer token.
    params : dict, optional
        Query of the address.
    json : object, optional
        Question to send by POST; without one it is GET.

    Raises
    ------
    TokenError
        Status 401 or 403.
    UnreachableError
        No answer, or a body cut short or too large.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    wait_turn()
    start = time.monotonic()
    failure: UnreachableError | None = None
    try:
        response = session().request(
            "GET" if json is None else "POST",
            url,
            params=params,
            json=json,
            headers=headers,
            timeout=TIMEOUT,
            allow_redirects=False,  # a redirect could carry the token to another host
            stream=True,
        )
        with response:
            response._content = body = _bounded_body(response, url)
        metrics.answered(time.monotonic() - start, response.status_code, len(body))
    except requests.RequestException as error:
        failure = UnreachableError(
            f"no answer from {url} ({_reason(error)}): check the address and the network"
        )
    except (HTTPError, OSError) as error:
        failure = _BrokenBodyError(f"{url} sent a broken body ({_reason(error)})")
        metrics.troubled("cut short")
    if failure is not None:
        raise failure  # out here: chained, requests' error would carry the headers, and the token
    if response.status_code in (401, 403):
        raise TokenError(
            f"{url} refused the token (status {response.status_code}):"
            " set SRSAT_TELLUS_TOKEN to a valid token"
        )
    return response


def _bounded_body(response: requests.Response, url: str) -> bytes:
    deadline = time.monotonic() + DEADLINE
    body = bytearray()
    while piece := response.raw.read1(_PIECE, decode_content=True):
        body += piece
        if len(body) > MAX_BODY:
            raise _TooLargeError(f"{url} sent more than {MAX_BODY} bytes: not a tile")
        if time.monotonic() > deadline:
            raise _BrokenBodyError(f"{url} sent {len(body)} bytes in {DEADLINE:g} s")
    return bytes(body)


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
            response = get(url, token)
        except _BrokenBodyError as error:
            failure = TileError(str(error), Reason.CUT_SHORT)
            continue
        except _TooLargeError as error:
            raise TileError(str(error), Reason.TOO_LARGE) from error
        except UnreachableError as error:
            raise TileError(str(error), Reason.NO_ANSWER) from error
        if response.status_code == 404:
            return None
        if response.status_code != 200:
            raise TileError(f"status {response.status_code}", response.status_code)
        try:
            return decode_tile(response.content, size)
        except TileError as error:
            failure = error
            metrics.troubled(Reason.text(error.reason))
    raise failure


def _reason(error: Exception) -> str:
    # The text of requests' errors repeats the address and object ids; the innermost says why.
    cause: BaseException = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__ or cause
    return str(cause).rpartition("] ")[2] or type(cause).__name__
