"""HTTP for tile services: one pooled session per process, retries, bounded bodies, no leaks."""

from functools import cache
from io import BytesIO

import numpy as np
import numpy.typing as npt
import requests
from PIL import Image, UnidentifiedImageError
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from srsat_dask.errors import SrsatError, TokenError, UnreachableError
from srsat_dask.harvesting.scene import TileError
from srsat_dask.mosaic.grid import TILE

TIMEOUT = (10.0, 30.0)
"""Seconds to connect and to wait for the next bytes."""

MAX_BODY = 4 * 1024 * 1024
"""Bytes of a tile's body that are read at most; a raw RGBA tile has 256 KiB."""

CONNECTIONS = 32
"""Connections kept open per process and host."""

_RETRY_STATUS = (429, 500, 502, 503, 504)
_BODY_TRIES = 3
_FORMATS = ("PNG", "JPEG", "WEBP")


@cache
def session() -> requests.Session:
    """Return this process's session: connections are reused, and asked again when they fail.

    Backoff is exponential with jitter and honours ``Retry-After``.
    """
    retry = Retry(
        total=5,
        backoff_factor=0.3,
        backoff_jitter=0.3,
        status_forcelist=_RETRY_STATUS,
        allowed_methods=("GET",),
        raise_on_status=False,
    )
    kept = requests.Session()
    # Neither proxies' nor .netrc's credentials may take the place of our own token.
    kept.trust_env = False
    for scheme in ("http://", "https://"):
        kept.mount(scheme, HTTPAdapter(CONNECTIONS, CONNECTIONS, max_retries=retry))
    return kept


def get(url: str, token: str | None, params: dict[str, float] | None = None) -> requests.Response:
    """Ask once (with the session's retries) and read a bounded body; follow no redirect.

    Raises
    ------
    TokenError
        Status 401 or 403.
    UnreachableError
        No answer, or a body cut short or too large.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with session().get(
            url,
            params=params,
            headers=headers,
            timeout=TIMEOUT,
            allow_redirects=False,  # a redirect could carry the token to another host
            stream=True,
        ) as response:
            body = response.raw.read(MAX_BODY + 1, decode_content=True)
    except (requests.RequestException, HTTPError) as error:
        raise UnreachableError(
            f"no answer from {url} ({_reason(error)}): check the address and the network"
        ) from error
    if len(body) > MAX_BODY:
        raise UnreachableError(f"{url} sent more than {MAX_BODY} bytes: not a tile")
    if response.status_code in (401, 403):
        raise TokenError(
            f"{url} refused the token (status {response.status_code}):"
            " set SRSAT_TELLUS_TOKEN to a valid token"
        )
    response._content = body
    return response


def get_tile(url: str, token: str | None) -> npt.NDArray[np.uint8] | None:
    """Return a tile as RGBA, uint8 (256, 256, 4), or None for status 404.

    Raises
    ------
    TileError
        Another status, or no readable 256 px image in three tries.
    TokenError
        Status 401 or 403.
    """
    failure: SrsatError | None = None
    for _ in range(_BODY_TRIES):
        try:
            response = get(url, token)
        except UnreachableError as error:
            failure = error
            continue
        if response.status_code == 404:
            return None
        if response.status_code != 200:
            raise TileError(f"status {response.status_code}")
        try:
            return decode_tile(response.content)
        except TileError as error:
            failure = error
    raise TileError(str(failure)) from failure


def decode_tile(body: bytes) -> npt.NDArray[np.uint8]:
    """Decode a PNG, JPEG or WebP tile of any mode to RGBA, uint8 (256, 256, 4).

    Raises
    ------
    TileError
        Not such an image, cut short, or not 256 × 256 px.
    """
    try:
        with Image.open(BytesIO(body), formats=_FORMATS) as image:
            if image.size != (TILE, TILE):  # known before a pixel is decoded: no bomb goes off
                raise TileError(f"image of {image.width} × {image.height} px, not {TILE} px")
            return np.asarray(image.convert("RGBA"))
    except UnidentifiedImageError as error:
        raise TileError(f"{len(body)} bytes that are no image") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise TileError(f"broken image: {error}") from error


def _reason(error: Exception) -> str:
    # The text of requests' errors repeats the address and object ids; the innermost says why.
    cause: BaseException = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__ or cause
    return str(cause).rpartition("] ")[2] or type(cause).__name__
