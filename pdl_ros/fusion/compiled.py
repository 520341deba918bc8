"""How the CPU kernels are compiled, and how they share the processor's cores.

Machine code is kept on disk, beside the sources or where the user may write. numba would notice an
edit of the file that holds a function, but not of those whose functions and constants it took in;
here any edit of the fusion makes all of it stale.

Cores are shared by Python threads: the kernels release the interpreter's lock, any thread may fuse
at any time, and a forked process starts afresh. numba's own loops over threads (`prange`) took half
as long again to compile, were seen to lose a write to an array in a tuple, and, depending on the
library underneath, end the process after a fork or when two threads meet.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import torch

from pdl_ros.errors import PdlError
from pdl_ros.labels import label_set

try:
    import numba
    from numba.core.options import DefaultOptions
except ImportError as error:
    raise PdlError(
        f'Fusing on the CPU needs the package numba, which cannot be imported here ({error}); '
        'install it with: pip install numba.'
    ) from None

Function = TypeVar('Function', bound=Callable[..., Any])
# The option is numba's own: without it kernels are right as well, and take four times as long.
_NO_COUNTING = {'_nrt': False} if hasattr(DefaultOptions, '_nrt') else {}
_pool: ThreadPoolExecutor | None = None


def compiled(function: Function) -> Function:
    """Compile at the first call; later processes read the machine code from disk."""
    return _compile(function)


def compiled_inner(function: Function) -> Function:
    """Compile a function that makes no array, only views: it need not count references to them,
    which would take longer than a row of pixels.
    """
    return _compile(function, **_NO_COUNTING)


def compiled_unordered(function: Function) -> Function:
    """Compile an inner function of finite numbers that may sum and compare them in any order, to
    use the whole width of the processor.
    """
    unordered = {'nnan', 'ninf', 'nsz', 'reassoc'}
    return _compile(function, fastmath=unordered, **_NO_COUNTING)


def share(task: Callable[[int, int], None], items: int, workers: int) -> None:
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


def cores() -> int:
    """Return how many cores PyTorch may use, and so the kernels."""
    return torch.get_num_threads()


def _threads() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(max(os.cpu_count() or 1, cores()), 'fusion')
    return _pool


def _forget_threads() -> None:
    global _pool
    _pool = None


os.register_at_fork(after_in_child=_forget_threads)


def _compile(function: Function, **options: Any) -> Any:
    # No fastmath in general: a product rounded with its sum moves the border between two classes.
    # NumPy's error model: a division that must check for zero is not vectorised.
    options |= {'nogil': True, 'error_model': 'numpy'}
    kept: Any = numba.njit(function, **options)
    try:
        kept.enable_caching()
        file = kept._cache._cache_file
        file._source_stamp = file._source_stamp, _sources()
    except (RuntimeError, OSError, AttributeError):
        # No folder to keep machine code in, no sources, or a numba that keeps its stamps elsewhere:
        # rather compile once a process than run what is stale.
        return numba.njit(function, **options)
    return kept


@lru_cache
def _sources() -> str:
    """Return a digest of all files whose functions or constants end up in a kernel."""
    digest = hashlib.sha256()
    for path in (*sorted(Path(__file__).parent.glob('*.py')), Path(label_set.__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()
