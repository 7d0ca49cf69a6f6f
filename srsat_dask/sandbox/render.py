"""Scenes into PNG bytes: a few threads and a bounded memory of what was drawn before."""

import asyncio
import io
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from srsat_dask.sandbox.scenes import Rgba, SceneProvider, thumbnail

CACHE_BYTES = 64 * 2**20
"""Most PNG bytes kept: about 400 tiles."""


class Renderer:
    """Draws tiles and thumbnails off the event loop and remembers the latest.

    Parameters
    ----------
    cache_bytes : int
        Most bytes of encoded pictures kept; the least recently used go first.
    """

    def __init__(self, cache_bytes: int = CACHE_BYTES) -> None:
        self._pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1), "sandbox-render")
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[object, ...], bytes | None] = OrderedDict()
        self._bytes = 0
        self._limit = cache_bytes

    async def tile(self, scene: SceneProvider, z: int, x: int, y: int) -> bytes | None:
        """Return one tile as PNG, or None outside the footprint."""
        return await self._picture((scene.entity_id, z, x, y), lambda: scene.tile(z, x, y))

    async def thumbnail(self, scene: SceneProvider) -> bytes | None:
        """Return the scene's thumbnail as PNG."""
        return await self._picture((scene.entity_id,), lambda: thumbnail(scene))

    def close(self) -> None:
        """Drop what is queued and wait for what is being drawn."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def _picture(
        self, key: tuple[object, ...], draw: Callable[[], Rgba | None]
    ) -> bytes | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        loop = asyncio.get_running_loop()
        png = await loop.run_in_executor(self._pool, lambda: _encode(draw()))
        with self._lock:
            if key not in self._kept:  # two requests may have drawn the same tile at once
                self._kept[key] = png
                self._bytes += _weight(png)
            while self._bytes > self._limit:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= _weight(oldest)
        return png


def _weight(png: bytes | None) -> int:
    """Bytes a picture is charged with; an absence costs its key."""
    return 256 + len(png or b"")


def _encode(rgba: Rgba | None) -> bytes | None:
    if rgba is None:
        return None
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
