"""What a training says of itself: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import logging
import time
from collections import deque
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

_LOG = logging.getLogger('pdl_ros.training')
_MOST_SECONDS = 60.0  # between two lines
_WINDOW = 50  # steps whose time tells how long the rest will take


class TrainingProgress:
    """Say after each step how far a training is, how fast, and how long the rest will take.

    The time left counts training alone, not the validations to come. Without a terminal the first
    step is a line, then 2, 4, 8, ... seconds later the next, and one a minute at last.
    """

    def __init__(self, step: int, steps: int, batch_size: int, quiet: bool) -> None:
        self._steps, self._batch_size, self._quiet = steps, batch_size, quiet
        self._ends: deque[float] = deque([time.monotonic()], _WINDOW + 1)
        self._due, self._pause = self._ends[0], 1.0
        self._bar: Progress | None = None
        if not quiet and Console().is_terminal:
            columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn())
            self._bar = Progress(*columns)
            self._task = self._bar.add_task('training', total=steps, completed=step)

    def __enter__(self) -> TrainingProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, step: int, losses: dict[str, float]) -> None:
        """Take note of a step that is over."""
        now = time.monotonic()
        self._ends.append(now)
        if self._quiet or (self._bar is None and now < self._due and step < self._steps):
            return
        words = self._words(step, losses)
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=words)
            return
        _LOG.info('step %d of %d: %s', step, self._steps, words)
        self._pause = min(2 * self._pause, _MOST_SECONDS)
        self._due = now + self._pause

    def pause(self) -> None:
        """Take note that what comes now, such as a validation, is no step."""
        self._pause_began = time.monotonic()
        if self._bar is not None:
            self._bar.stop()  # a terminal has room for one bar, and a validation has its own

    def go_on(self) -> None:
        """Take note that the pause is over: its time does not count."""
        away = time.monotonic() - self._pause_began
        self._ends = deque((end + away for end in self._ends), self._ends.maxlen)
        if self._bar is not None:
            self._bar.start()

    def _words(self, step: int, losses: dict[str, float]) -> str:
        seconds = (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)
        left = timedelta(seconds=round(seconds * (self._steps - step)))
        return (
            f'loss {sum(losses.values()):.2f}, {self._batch_size / max(seconds, 1e-9):.1f} '
            f'crops/s, {left} left'
        )
