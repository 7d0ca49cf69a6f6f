"""Presigned downloads: an address that is its own permission, for a while."""

import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

PIECE = 1 << 17
"""Most bytes of a file in memory at once for one answer."""


@dataclass(frozen=True)
class Signer:
    """Makes queries that open a path until they expire, and checks them."""

    lifetime: float
    """Seconds a query is good for."""

    clock: Callable[[], float] = time.time
    """Seconds since the epoch."""

    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def query(self, path: str) -> str:
        """Return a query string that opens the path from now on."""
        expires = f"{self.clock() + self.lifetime:.3f}"
        return f"Expires={expires}&Signature={self._sign(path, expires)}"

    def refusal(self, path: str, expires: str, signature: str) -> str | None:
        """Say why a query does not open the path, or None where it does."""
        if not hmac.compare_digest(signature.encode(), self._sign(path, expires).encode()):
            return "the signature does not match"
        if self.clock() > float(expires):  # signed, so it is one of our numbers
            return "the address has expired: ask for another"
        return None

    def _sign(self, path: str, expires: str) -> str:
        return hmac.digest(self.key, f"{expires} {path}".encode(), "sha256").hex()


def byte_range(header: str, size: int) -> range | None:
    """Read a ``Range`` header.

    Parameters
    ----------
    header : str
        Its value; empty where the request has none.
    size : int
        Size of the file, bytes.

    Returns
    -------
    range or None
        The bytes asked for, empty if none of them exists; None for the whole file, which also
        answers several ranges at once and headers that make no sense (RFC 9110, 14.2).
    """
    asked = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", header.strip())
    if asked is None or not any(asked.groups()):
        return None
    first, last = asked.groups()
    if not first:
        return range(max(0, size - int(last)), size)
    stop = min(int(last) + 1, size) if last else size
    if last and int(last) < int(first):
        return None
    return range(int(first), max(stop, int(first)))


def pieces(path: Path, part: range) -> Iterator[bytes]:
    """Read some bytes of a file, a piece at a time."""
    with path.open("rb") as file:
        file.seek(part.start)
        left = len(part)
        while left and (piece := file.read(min(PIECE, left))):
            left -= len(piece)
            yield piece
