"""Tiles decode to RGBA whatever their mode, and never with a silent hole."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from srsat_dask.harvesting.decoding import decode_tile
from srsat_dask.harvesting.scene import TileError
from srsat_dask.mosaic.ledger import Reason

PIXELS = np.random.default_rng(0).integers(0, 256, (256, 256, 4), dtype=np.uint8)


def encoded(image: Image.Image, form: str = "PNG") -> bytes:
    buffer = BytesIO()
    image.save(buffer, form, **({"lossless": True} if form == "WEBP" else {}))
    return buffer.getvalue()


WHOLE = encoded(Image.fromarray(PIXELS))


def test_rgba_png_comes_bit_for_bit() -> None:
    """The quick way gives the pixels that went in, also under transparent ones."""
    np.testing.assert_array_equal(decode_tile(WHOLE), PIXELS)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "LA", "1"])
@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_other_modes_equal_pillow(mode: str, form: str) -> None:
    """Pillow's own conversion is the oracle."""
    image = Image.fromarray(PIXELS[..., :3]).convert(mode)
    if form == "WEBP":
        image = image.convert("RGB")
    expected = np.asarray(image.convert("RGBA"))
    np.testing.assert_array_equal(decode_tile(encoded(image, form)), expected)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    """Bright 16-bit values keep their order."""
    gray = np.linspace(0, 65535, 256 * 256).reshape(256, 256).astype(np.uint16)
    tile = decode_tile(encoded(Image.fromarray(gray)))
    np.testing.assert_array_equal(tile[..., 0], gray >> 8)
    assert (tile[..., 3] == 255).all()


def assert_whole_or_failed(body: bytes) -> None:
    """Let a tile fail, but never differ in a pixel."""
    try:
        tile = decode_tile(body)
    except TileError:
        return
    np.testing.assert_array_equal(tile, PIXELS)


@given(length=st.integers(0, len(WHOLE) - 1))
def test_part_of_a_tile_never_passes_for_the_whole(length: int) -> None:
    """However much is missing at the end, there is no hole in the tile."""
    assert_whole_or_failed(WHOLE[:length])


def test_half_a_tile_fails() -> None:
    """GDAL alone would fill the missing half with zeros."""
    with pytest.raises(TileError):
        decode_tile(WHOLE[: len(WHOLE) // 2])


@given(start=st.integers(41, len(WHOLE) - 6000), count=st.integers(1, 5000))
def test_missing_middle_never_changes_a_pixel(start: int, count: int) -> None:
    """A body that ends as it should but lacks a piece fails, or lost nothing that counts."""
    assert_whole_or_failed(WHOLE[:start] + WHOLE[start + count :])


@given(position=st.integers(60, len(WHOLE) - 17), bit=st.integers(0, 7))
def test_flipped_bit_never_changes_a_pixel(position: int, bit: int) -> None:
    """Either the tile fails, or nothing in it differs."""
    body = bytearray(WHOLE)
    body[position] ^= 1 << bit
    assert_whole_or_failed(bytes(body))


@pytest.mark.parametrize("size", [(512, 512), (256, 255), (60_000, 60_000)])
def test_other_sizes_are_refused_by_their_header(size: tuple[int, int]) -> None:
    """A bomb is known before it is decoded."""
    body = bytearray(WHOLE)
    body[16:24] = size[0].to_bytes(4, "big") + size[1].to_bytes(4, "big")
    with pytest.raises(TileError) as caught:
        decode_tile(bytes(body))
    assert caught.value.reason in {Reason.WRONG_SIZE, Reason.NO_IMAGE}
