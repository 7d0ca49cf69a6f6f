"""Bodies of tiles to pixels: bounded, strict, any mode, and quick for the usual one."""

import struct
import uuid
import zlib
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from srsat_dask.harvesting.scene import TileError
from srsat_dask.mosaic.grid import TILE
from srsat_dask.mosaic.ledger import Reason

_FORMATS = ("PNG", "JPEG", "WEBP")
_PNG_RGBA = struct.Struct(">8s4x4sIIBB")
"""Signature, type of the first chunk, width, height, bits and colour type of a PNG."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_CHUNK = struct.Struct(">I4s")
"""Length of a PNG chunk's data, and its type."""

_WORLD_FILE = b"1\n0\n0\n-1\n0.5\n-0.5\n"
"""Beside a tile in memory: GDAL warns of every raster that lies nowhere."""


def decode_tile(body: bytes, size: int = TILE) -> npt.NDArray[np.uint8]:
    """Decode a PNG, JPEG or WebP tile of any mode to RGBA, uint8 (size, size, 4).

    Gray, palette, RGB, RGBA and 16-bit images all come out as 8-bit RGBA.

    Raises
    ------
    TileError
        Not such an image, cut short, or of another size.
    """
    if _is_plain_rgba(body, size):
        return _decode_by_gdal(body)
    try:
        with Image.open(BytesIO(body), formats=_FORMATS) as image:
            if image.size != (size, size):  # known before a pixel is decoded: no bomb goes off
                raise TileError(
                    f"image of {image.width} × {image.height} px, not {size} px", Reason.WRONG_SIZE
                )
            if image.mode.startswith("I"):  # Pillow would clip 16 bits at 255, not scale them
                gray = (np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)
                return np.asarray(Image.fromarray(gray).convert("RGBA"))
            return np.asarray(image.convert("RGBA"))
    except UnidentifiedImageError as error:
        raise TileError(f"{len(body)} bytes that are no image", Reason.NO_IMAGE) from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise TileError(f"broken image: {error}", Reason.NO_IMAGE) from error


def _is_plain_rgba(body: bytes, size: int) -> bool:
    """Return whether this is an intact PNG of 8-bit RGBA and the size asked for.

    GDAL takes what is missing or broken in a PNG for zeros or noise, and says nothing: only one
    whose chunks are all there, each with the right checksum, may be given to it.
    """
    if len(body) < _PNG_RGBA.size:
        return False
    if _PNG_RGBA.unpack_from(body) != (_PNG_SIGNATURE, b"IHDR", size, size, 8, 6):
        return False
    view, start, kind = memoryview(body), len(_PNG_SIGNATURE), b""
    while start + _CHUNK.size <= len(body):
        length, kind = _CHUNK.unpack_from(body, start)
        end = start + _CHUNK.size + length
        if body[end : end + 4] != zlib.crc32(view[start + 4 : end]).to_bytes(4, "big"):
            return False
        start = end + 4
    return kind == b"IEND" and start == len(body)


def _decode_by_gdal(body: bytes) -> npt.NDArray[np.uint8]:
    # Twice as fast as Pillow: GDAL inflates the whole image at once.
    folder = uuid.uuid4().hex
    try:
        with (
            MemoryFile(_WORLD_FILE, dirname=folder, filename="tile.wld"),
            MemoryFile(body, dirname=folder, filename="tile.png") as file,
            file.open(driver="PNG") as image,
        ):
            pixels: npt.NDArray[np.uint8] = image.read()
    except RasterioError as error:
        raise TileError(f"broken image: {error}", Reason.NO_IMAGE) from error
    return pixels.transpose(1, 2, 0)
