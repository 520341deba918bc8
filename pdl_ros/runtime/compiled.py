"""How the CPU kernels are compiled, and where their machine code is kept.

On disk, in the user's cache folder. numba would notice an edit of the file that holds a function,
but not of those whose functions and constants it took in; here any edit of the fusion or the label
sets makes all of it stale.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pdl_ros.errors import PdlError

try:
    import numba

    from pdl_ros.runtime.numba_compat import NO_REFERENCE_COUNTS, keep_machine_code
except ImportError as error:
    raise PdlError(
        f'Fusing on the CPU needs the package numba, which cannot be imported here ({error}); '
        'install it with: pip install numba.'
    ) from None

Function = TypeVar('Function', bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile at the first call; later processes read the machine code from disk."""
    return _compile(function)


def compiled_inner(function: Function) -> Function:
    """Compile a function that makes no array, only views: it need not count references to them,
    which would take longer than a row of pixels.
    """
    return _compile(function, **NO_REFERENCE_COUNTS)


def compiled_unordered(function: Function) -> Function:
    """Compile an inner function of finite numbers that may sum and compare them in any order, to
    use the whole width of the processor.
    """
    unordered = {'nnan', 'ninf', 'nsz', 'reassoc'}
    return _compile(function, fastmath=unordered, **NO_REFERENCE_COUNTS)


def _compile(function: Function, **options: Any) -> Any:
    # No fastmath in general: a product rounded with its sum moves the border between two classes.
    # NumPy's error model: a division that must check for zero is not vectorised.
    options |= {'nogil': True, 'error_model': 'numpy'}
    kernel: Any = numba.njit(function, **options)
    try:
        keep_machine_code(kernel, _sources(function.__code__.co_filename))
    except OSError:  # no sources to tell whether code is stale: rather compile once a process
        return numba.njit(function, **options)
    return kernel


@lru_cache
def _sources(file: str) -> str:
    """Return a digest of all files whose functions or constants end up in a kernel of `file`."""
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    shared = (*package.glob('fusion/*.py'), *package.glob('labels/*.py'), Path(__file__))
    for path in sorted({*shared, Path(file)}):
        digest.update(path.read_bytes())
    return digest.hexdigest()
