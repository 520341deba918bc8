"""How the CPU kernels are compiled, and where their machine code is kept.

On disk, beside the sources or where the user may write. numba would notice an edit of the file that
holds a function, but not of those whose functions and constants it took in; here any edit of the
fusion or the label sets makes all of it stale.
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
    from numba.core.options import DefaultOptions
except ImportError as error:
    raise PdlError(
        f'Fusing on the CPU needs the package numba, which cannot be imported here ({error}); '
        'install it with: pip install numba.'
    ) from None

Function = TypeVar('Function', bound=Callable[..., Any])
# The option is numba's own: without it kernels are right as well, and take four times as long.
_NO_COUNTING = {'_nrt': False} if hasattr(DefaultOptions, '_nrt') else {}


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
    package = Path(__file__).parents[1]
    for path in sorted(
        (*package.glob('fusion/*.py'), *package.glob('labels/*.py'), Path(__file__))
    ):
        digest.update(path.read_bytes())
    return digest.hexdigest()
