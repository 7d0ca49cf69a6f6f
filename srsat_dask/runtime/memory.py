"""How a worker process keeps memory that it will need again at once."""

import ctypes
from contextlib import suppress
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's settings for ``mallopt``."""

KEPT = 64 << 20
"""Bytes of freed memory that the process may keep for itself."""

FROM_HEAP = 4 << 20
"""Bytes up to which a buffer comes from kept memory, and is not mapped anew by the kernel."""


@cache
def keep_freed_memory() -> None:
    """Let this process keep freed buffers of a few megabytes instead of handing them back.

    Dask starts workers with ``MALLOC_TRIM_THRESHOLD_=65536``: the kernel then takes back the
    buffers of every tile and clears new pages for those of the next, which took a third of a
    harvest's time. Only glibc is told; other C libraries have no such call.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_TRIM_THRESHOLD, KEPT)
        libc.mallopt(_MMAP_THRESHOLD, FROM_HEAP)
