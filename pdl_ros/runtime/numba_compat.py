"""numba's private parts, all in one place: tested with numba 0.59.1 and 0.68.1.

- `Dispatcher._cache`, and of `numba.core.caching` the interface `_Cache` and how
  `CompileResultCacheImpl` takes a compiled function apart: a `KernelCache` stands where numba puts
  a `FunctionCache`. That one believes whatever its files hold, and they are pickles and machine
  code: one that a power failure cut ends in an EOFError or worse, a full disk in an OSError, and
  whoever may write there has code run. Where a numba has none of this, kernels are compiled in each
  process.
- The options `_nrt`, without which kernels are right as well, and take four times as long, and
  `no_cpython_wrapper` and `no_cfunc_wrapper`, without which they compile slower.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
from numba.core.options import DefaultOptions

from pdl_ros.runtime import cache, precompile

_Base: Any = object
_parts: Any = None  # takes a compiled function apart, and puts it together
_dumps: Any = None
with suppress(ImportError, AttributeError):
    from numba.core import caching, serialize

    _Base, _parts, _dumps = caching._Cache, caching.CompileResultCacheImpl, serialize.dumps

_LOG = logging.getLogger('pdl_ros.runtime')
NO_REFERENCE_COUNTS = {'_nrt': False} if hasattr(DefaultOptions, '_nrt') else {}
"""Options of a function that makes no array."""
NOT_FROM_PYTHON = {
    name: True
    for name in ('no_cpython_wrapper', 'no_cfunc_wrapper')
    if hasattr(DefaultOptions, name)
}
"""Options of a function that only other kernels call: what would take its arguments from Python is
not compiled, a quarter of all the work.
"""


def keep_machine_code(kernel: Any, sources: str) -> None:
    """Have a compiled function kept on disk; `sources` is a digest of all code that ends up in it.

    A cache that is damaged, foreign, full or missing costs the time to compile, nothing else.
    """
    if _dumps is not None and hasattr(kernel, '_cache'):
        kernel._cache = KernelCache(kernel.py_func, sources)


class KernelCache(_Base):
    """The machine code of one function, in the cache folder, by signature and processor."""

    def __init__(self, function: Any, sources: str) -> None:
        self._function, self._sources = function, sources
        package = Path(__file__).parents[1]
        self._shipped = package in Path(function.__code__.co_filename).parents

    @property
    def cache_path(self) -> str:
        """The folder."""
        return str(cache.cache_folder())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled function from disk, or None."""
        target_context.refresh()  # loads what the code may call
        facts = self._facts(sig, target_context.codegen())
        if self._shipped:
            precompile.wait_for(cache.cache_file(facts))
        content = cache.load(facts)
        if content is None:
            return None
        try:
            return _parts.rebuild(None, target_context, pickle.loads(content))
        except Exception as error:
            _LOG.warning('%s is compiled anew: %s', self._function.__qualname__, error)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled function, in place of what was compiled from older sources."""
        if data.lifted or data.library.has_dynamic_globals:  # only right in this process
            return
        cache.replace(self._facts(sig, data.codegen), _dumps(_parts.reduce(None, data)))

    def enable(self) -> None:
        """Do nothing: a kernel's cache is never off."""

    disable = flush = enable

    def _facts(self, sig: Any, codegen: Any) -> dict[str, str]:
        code = self._function.__code__
        name = f'{Path(code.co_filename).stem}.{self._function.__qualname__}'
        which = {
            'place': f'{code.co_filename}:{code.co_firstlineno}',
            'signature': str(sig),
            'processor': repr(codegen.magic_tuple()),
            'versions': f'{numba.__version__} {sys.version}',
        }
        key = hashlib.sha256(repr(sorted(which.items())).encode()).hexdigest()[:16]
        return {'what': f'kernel-{name}-{key}', 'sources': self._sources, **which}
