"""Bodies that a client did not ask for, as broken gateways and hostile servers send them."""

import struct
import zlib
from typing import Literal

HTML = b"""<!DOCTYPE html>
<html><head><title>Maintenance</title></head>
<body><h1>We will be back shortly</h1></body></html>
"""

JSON = b'{"status": "error", "message": "please try again later"}'

BOMB_SIDE = 60_000
"""Width and height that the bomb announces, pixels: 14 GB of RGBA."""


def wrong_body(kind: Literal["html", "json", "empty", "bomb"]) -> tuple[str, bytes]:
    """Content type and bytes of a wrong body."""
    match kind:
        case "html":
            return "text/html; charset=UTF-8", HTML
        case "json":
            return "application/json; charset=UTF-8", JSON
        case "empty":
            return "image/png", b""
        case "bomb":
            return "image/png", png_bomb(BOMB_SIDE)


def png_bomb(side: int) -> bytes:
    """Make a PNG of a few hundred bytes whose valid header announces a picture of side × side."""
    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)  # 8 bits, RGBA
    beginning = zlib.compress(bytes(4 * side), 9)
    chunks = [(b"IHDR", header), (b"IDAT", beginning), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
