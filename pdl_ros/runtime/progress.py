"""Say what this process is doing where that takes long."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

_LOG = logging.getLogger('pdl_ros.runtime')
_SLOW = 1.0  # seconds


@contextlib.contextmanager
def told_if_slow(what: str, say: Callable[[str], object] = _LOG.info) -> Iterator[None]:
    """Say once what a block does, if it is not over within a second: for an INFO log.

    So a fast machine is quiet, and on a slow one nobody wonders whether it hangs.
    """
    timer = threading.Timer(_SLOW, say, (f'{what} ...',))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
