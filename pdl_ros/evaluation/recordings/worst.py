"""The frames of a recording that went worst, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from pdl_ros.evaluation.recordings.result import WorstFrame

_APART = 10**9
"""Nanoseconds between two frames that are kept: successive ones look alike."""


class WorstFrames:
    """Keep the `most` frames with the lowest PQ that are a second apart; of equals the earlier."""

    def __init__(self, recording: str, most: int) -> None:
        self._recording, self._most = recording, most
        self._kept: list[WorstFrame] = []

    def add(self, stamp: int, pq: float, draw: Callable[[], dict[str, np.ndarray]]) -> None:
        """Add a frame; its pictures are drawn if it is kept. One without a PQ never is."""
        near = [frame for frame in self._kept if abs(frame.stamp - stamp) < _APART]
        rest = [frame for frame in self._kept if abs(frame.stamp - stamp) >= _APART]
        rivals = near
        if not near and len(rest) >= self._most:
            rivals = [max(rest, key=lambda frame: frame.pq)]
            rest = [frame for frame in rest if frame is not rivals[0]]
        if math.isnan(pq) or not self._most or any(frame.pq <= pq for frame in rivals):
            return
        self._kept = [*rest, WorstFrame(self._recording, stamp, pq, draw())]

    def frames(self) -> list[WorstFrame]:
        """Return what is kept, the worst first."""
        return sorted(self._kept, key=lambda frame: frame.pq)
