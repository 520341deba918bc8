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
    a frame's time, and much of a training step's. Where the C library is not glibc nothing happens.
    """
    with _glibc() as libc:
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_TRIM_THRESHOLD, _NEVER)


def give_freed_memory_back() -> None:
    """Give the system what was kept."""
    with _glibc() as libc:
        libc.malloc_trim(0)


class FrameMemory:
    """Gives back what frames of one camera leave that were unusual: of another size, or failed.

    What the usual frames free is kept for the next one. A large one, or what a hostile file made a
    decoder take before it gave up, would be kept for ever.
    """

    _UNLIKE = 4

    def __init__(self) -> None:
        self._last: int | None = None

    def frame_done(self, size: int) -> None:
        """A frame of `size` bytes was published; 0: it failed, whatever it had taken."""
        last, self._last = self._last, size
        if last is not None and max(last, size) > self._UNLIKE * min(last, size):
            give_freed_memory_back()


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
