"""Run on one engine while a better one is being made."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import torch
from torch import Tensor

from pdl_ros.engines.engine import Engine
from pdl_ros.errors import PdlError
from pdl_ros.network.heads import HeadOutputs

_LOG = logging.getLogger('pdl_ros.engines')


class BackgroundEngine:
    """An `Engine` (which see) that is `first` until `make` has made another.

    `make` runs in a thread of its own; it is given an event that `release` sets, to give up early.
    The change comes between two calls, and only once the new engine has run; if it cannot be made,
    or fails on its first images, `first` stays. Either is said in one sentence of the log.
    """

    def __init__(self, first: Engine, make: Callable[[threading.Event], Engine]) -> None:
        self._engine, self._make = first, make
        self._made: Engine | None = None
        self._released = threading.Event()
        self._lock = threading.Lock()  # of _made and _released, together
        threading.Thread(target=self._work, name='engine builder', daemon=True).start()

    @property
    def name(self) -> str:
        """What runs now."""
        return self._engine.name

    @property
    def precision(self) -> str:
        """The precision that runs now."""
        return self._engine.precision

    @property
    def device(self) -> torch.device:
        """Where both run."""
        return self._engine.device

    def __call__(self, images: Tensor) -> HeadOutputs:
        """Run the network."""
        with self._lock:
            made, self._made = self._made, None
        if made is None:
            return self._engine(images)
        try:
            heads = made(images)
        except Exception as error:
            made.release()
            self._stay(error)
            return self._engine(images)
        old, self._engine = self._engine, made
        _LOG.info('From now on frames run on %s %s.', made.name, made.precision)
        old.release()
        return heads

    def release(self) -> None:
        """Release what runs, and what comes later; does not wait for `make`."""
        with self._lock:
            self._released.set()
            made, self._made = self._made, None
        if made is not None:
            made.release()
        self._engine.release()

    def _work(self) -> None:
        start = time.monotonic()
        try:
            made = self._make(self._released)
        except Exception as error:
            if not self._released.is_set():
                self._stay(error)
            return
        with self._lock:
            if not self._released.is_set():
                self._made = made
                took = time.monotonic() - start
                _LOG.info('%s %s is ready after %.0f s.', made.name, made.precision, took)
                return
        made.release()

    def _stay(self, error: Exception) -> None:
        expected = isinstance(error, (PdlError, torch.cuda.OutOfMemoryError))
        _LOG.warning(
            'Frames stay on %s %s: %s',
            self.name,
            self.precision,
            ' '.join(str(error).split()),
            exc_info=None if expected else error,
        )
