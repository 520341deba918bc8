"""How this process takes memory from the system, and gives it back."""

from __future__ import annotations

import contextlib
import ctypes
from typing import Any

# <malloc.h>
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Have this process keep what it frees, up to 2 GB, instead of asking the system for it again.

    The system hands out memory page by page, each cleared first: at 1024×2048 that is a third of
    a frame's time. Where the C library is not glibc nothing happens.
    """
    with _glibc() as libc:
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_TRIM_THRESHOLD, _NEVER)


def give_freed_memory_back() -> None:
    """Give the system what was kept."""
    with _glibc() as libc:
        libc.malloc_trim(0)


def share_one_heap() -> None:
    """Have all threads take memory from one heap.

    glibc gives every thread a heap of its own, and what is freed there stays there: after each
    cleanup of a node a little more memory would be missing.
    """
    with _glibc() as libc:
        libc.mallopt(_ARENA_MAX, 1)


@contextlib.contextmanager
def _glibc() -> Any:
    with contextlib.suppress(AttributeError, OSError):
        yield ctypes.CDLL(None)
