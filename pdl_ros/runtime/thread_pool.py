"""How the compiled kernels share the processor's cores: by Python threads.

The kernels release the interpreter's lock, any thread may fuse at any time, and a forked process
starts afresh. numba's own loops over threads (`prange`) took half as long again to compile, were
seen to lose a write to an array in a tuple, and, depending on the library underneath, end the
process after a fork or when two threads meet.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_pool: ThreadPoolExecutor | None = None


def parallel_for(task: Callable[[int, int], None], items: int, workers: int) -> None:
    """Call task(item, worker) for each of 0..items - 1, on as many cores as there are workers.

    Whoever is free takes the next item, so that a core that is busy elsewhere delays one item, not
    its share of all. A worker does one item at a time.
    """
    queue = itertools.count()  # next() on it is atomic

    def work(worker: int) -> None:
        for item in queue:
            if item >= items:
                return
            task(item, worker)

    helpers = min(workers, items) - 1
    futures = [_threads().submit(work, 1 + i) for i in range(helpers)]
    try:
        work(0)
    finally:
        for future in futures:
            future.result()


def num_threads() -> int:
    """Return how many cores PyTorch may use, and so the kernels; all where nobody needs it."""
    torch = sys.modules.get('torch')
    return torch.get_num_threads() if torch else os.cpu_count() or 1


def _threads() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(max(os.cpu_count() or 1, num_threads()), 'fusion')
    return _pool


def _forget_threads() -> None:
    global _pool
    _pool = None


os.register_at_fork(after_in_child=_forget_threads)
