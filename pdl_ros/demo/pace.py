"""When the demo's camera sends its next frame."""

from __future__ import annotations

import time
from collections.abc import Callable

_FIRST = 30.0  # seconds for the first answer
_LEAST = 3.0  # and for every later one at least
_TIMES = 4.0  # or so many times as long as the slowest answer so far


class Pace:
    """Ask a camera for one frame at a time: the next one once the last one is answered, or overdue.

    ask: has the camera send a frame. period: seconds that it may take for that by its own rate.
    clock: seconds.
    """

    def __init__(
        self, ask: Callable[[], None], period: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask, self._period, self._clock = ask, period, clock
        self._asked = 0
        self._seen = 0
        self._since = 0.0
        self._slowest = 0.0
        self.patience = _FIRST

    def look(self, frames: int, answered: bool) -> bool:
        """Ask for a frame if it is time; return whether the answer to the last one is given up.

        To be called often. frames: how many the camera has sent; answered: whether the last of them
        has its result.
        """
        now = self._clock()
        if frames > self._seen:
            self._seen, self._since = frames, now
        done = answered and frames >= self._asked
        overdue = now - self._since > self.patience + self._period
        if not done and not overdue:
            return False
        if done and frames:
            self._note(now - self._since)
        self._asked, self._since = frames + 1, now
        self._ask()
        return not done

    def _note(self, seconds: float) -> None:
        self._slowest = max(self._slowest, seconds)
        self.patience = max(_LEAST, _TIMES * self._slowest)
