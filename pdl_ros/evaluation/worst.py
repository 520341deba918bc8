"""The few of many items that have the lowest scores, in bounded memory."""

from __future__ import annotations

import heapq
import math
from typing import Generic, TypeVar

Item = TypeVar('Item')


class Worst(Generic[Item]):
    """Keep the `most` items with the lowest scores; of equals the earlier."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[float, int, Item]] = []
        self._seen = 0

    def wants(self, score: float) -> bool:
        """Tell whether an item of a score would be kept; none without a score is."""
        if math.isnan(score):
            return False
        return len(self._heap) < self._most or -score > self._heap[0][0]

    def add(self, score: float, item: Item) -> None:
        """Add an item, if it is wanted."""
        if not self.wants(score):
            return
        self._seen += 1
        keep = heapq.heappush if len(self._heap) < self._most else heapq.heapreplace
        keep(self._heap, (-score, -self._seen, item))

    def items(self) -> list[Item]:
        """Return what is kept, the worst first."""
        return [item for _, _, item in sorted(self._heap, key=lambda e: e[:2], reverse=True)]
