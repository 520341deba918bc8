"""Say how far a long job is."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType

_LOG = logging.getLogger('pdl_ros.engines')


class Progress:
    """A job of several phases, told in the log when it begins, at least every `period` seconds, and
    when it ends.

    A thread of its own tells, because a phase may take minutes without a sign. Phases may be
    nested and come from any thread. `stop` is for whoever wants the job to be given up; the job
    looks at it.
    """

    def __init__(self, what: str, stop: threading.Event | None = None, period: float = 5.0) -> None:
        self.stop = stop or threading.Event()
        self._what, self._period = what, period
        self._phases: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name='progress', daemon=True)

    def __enter__(self) -> Progress:
        self._start = time.monotonic()
        _LOG.info('%s: begun; this may take minutes.', self._what)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        end = 'done' if kind is None else 'given up'
        _LOG.info('%s: %s after %.0f s.', self._what, end, time.monotonic() - self._start)

    def step(self, phase: str, done: int, steps: int | None = None) -> None:
        """Note that `done` steps of a phase are over; the phase's first note tells of how many."""
        with self._lock:
            known = self._phases.get(phase, (0, 0))[1]
            self._phases[phase] = (done, known if steps is None else steps)

    def finish(self, phase: str) -> None:
        """Note that a phase is over."""
        with self._lock:
            self._phases.pop(phase, None)

    def _beat(self) -> None:
        while not self._over.wait(self._period):
            with self._lock:
                phases = ', '.join(
                    f'{name} {done} of {steps}' for name, (done, steps) in self._phases.items()
                )
            seconds = time.monotonic() - self._start
            _LOG.info('%s: %.0f s%s.', self._what, seconds, phases and f', {phases}')
