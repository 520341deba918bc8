"""Import what takes long to import, PyTorch above all."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Callable, Iterator

from pdl_ros.runtime.progress import told_if_slow

_LOG = logging.getLogger('pdl_ros.runtime')


@contextlib.contextmanager
def slow_import(package: str, say: Callable[[str], object] = _LOG.info) -> Iterator[None]:
    """Import in this block: said where it takes long, and without the garbage collector.

    The collector would look again and again at modules that stay: a tenth of the time. Later it
    leaves out all that is there now; with PyTorch a full collection took 180 ms, longer than a
    frame.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        with told_if_slow(f'Importing {package}', say):
            yield
        gc.freeze()
    finally:
        if collects:
            gc.enable()
