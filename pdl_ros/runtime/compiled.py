"""How the CPU kernels are compiled, and where their machine code is kept.

On disk, in the user's cache folder. numba would notice an edit of the file that holds a function,
but not of those whose functions and constants it took in; here any edit of the fusion or the label
sets makes all of it stale.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pdl_ros.errors import PdlError
from pdl_ros.runtime.precompile import kernel_sources

try:
    import numba

    from pdl_ros.runtime.numba_compat import NO_REFERENCE_COUNTS, NOT_FROM_PYTHON, keep_machine_code
except ImportError as error:
    raise PdlError(
        f'Fusing on the CPU needs the package numba, which cannot be imported here ({error}); '
        'install it with: pip install numba.'
    ) from None

Function = TypeVar('Function', bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile at the first call; later processes read the machine code from disk.

    The function makes no array, only views: it need not count references to them, which would take
    longer than a row of pixels.
    """
    return _compile(function, **NO_REFERENCE_COUNTS)


def compiled_inner(function: Function) -> Function:
    """Do the same for a function that only other kernels call."""
    return _compile(function, **NO_REFERENCE_COUNTS, **NOT_FROM_PYTHON)


def compiled_scores(function: Function) -> Function:
    """Do the same for an inner function of finite numbers that may be rounded otherwise and summed
    in any order, to use all that the processor has.
    """
    loose = {'nnan', 'ninf', 'nsz', 'reassoc', 'contract'}
    return _compile(function, fastmath=loose, **NO_REFERENCE_COUNTS, **NOT_FROM_PYTHON)


def inlined(function: Function) -> Function:
    """Make a function a part of the kernels that call it, with their rules of rounding."""
    kernel: Any = numba.njit(function, inline='always')
    return kernel


def _compile(function: Function, **options: Any) -> Any:
    # No fastmath in general: a product rounded with its sum moves the border between two classes.
    # NumPy's error model: a division that must check for zero is not vectorised.
    options |= {'nogil': True, 'error_model': 'numpy'}
    kernel: Any = numba.njit(function, **options)
    try:
        keep_machine_code(kernel, kernel_sources(function.__code__.co_filename))
    except OSError:  # no sources to tell whether code is stale: rather compile once a process
        return numba.njit(function, **options)
    return kernel
