"""Errors that come with every frame are logged now and then."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 5.0
"""Between two sentences of one kind on one camera."""


class Throttle:
    """Hand on sentences like `/image: no points: ...`, of those that begin alike one in a while.

    rclpy's own throttle goes by the line of code: what one camera repeats would hide what is wrong
    with another. `parts`: how many, between colons, are to be alike; 0: all sentences are.
    """

    def __init__(
        self, log: Callable[[str], object], seconds: float = SECONDS, parts: int = 2
    ) -> None:
        self._log, self._seconds, self._parts = log, seconds, parts
        self._said: dict[tuple[str, ...], float] = {}

    def __call__(self, sentence: str) -> None:
        """Log a sentence, unless one that begins like it was logged a moment ago."""
        kind, now = tuple(sentence.split(': ')[: self._parts]), time.monotonic()
        if now - self._said.get(kind, -self._seconds) >= self._seconds:
            self._said[kind] = now
            self._log(sentence)
