"""Whether things keep their ids: CLEAR MOT (Bernardin and Stiefelhagen 2008) and IDF1 (Ristani et
al. 2016), counted frame by frame.

The package motmetrics keeps every pair of every frame, hundreds of megabytes for an hour of video.
Segments do not overlap, so a thing has one partner at most with an IoU above 0.5, and a few numbers
for each pair of ids are enough; the tests hold the results against those of motmetrics.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pdl_ros.evaluation.arithmetic import added
from pdl_ros.evaluation.overlaps import Overlaps
from pdl_ros.evaluation.panoptic_quality import union_areas


class IdentityCounts(NamedTuple):
    """Counts of things in frames, of one or more recordings.

    objects: labelled; predictions: predicted, without those mostly on void or in crowds. matches:
    found. switches: found under another id than the time before. id_matches: found under the one id
    that each identity is given for the whole recording, so that these are most.
    """

    objects: int = 0
    predictions: int = 0
    matches: int = 0
    switches: int = 0
    id_matches: int = 0

    def __add__(self, other: tuple[Any, ...]) -> IdentityCounts:
        return added(self, other)

    @property
    def mota(self) -> float:
        """1 - (missed + false + switched) / labelled; below 0 where more is wrong than there is."""
        if not self.objects:
            return math.nan
        wrong = self.objects + self.predictions - 2 * self.matches + self.switches
        return 1 - wrong / self.objects

    @property
    def idf1(self) -> float:
        """The share of what is labelled and predicted that has the right identity."""
        total = self.objects + self.predictions
        return 2 * self.id_matches / total if total else math.nan


class IdentityCounter:
    """Follow the things of one recording, in the order of its frames."""

    def __init__(self) -> None:
        self._last: dict[int, int] = {}
        self._together = Counter[tuple[int, int]]()
        self._counts = IdentityCounts()

    def update(self, overlaps: Overlaps, things: tuple[int, ...], tracks: Mapping[int, int]) -> int:
        """Add a frame; return how many things have another id than when they were last found.

        things: the train ids of countable classes. tracks: the ids of predicted things by their
        value; those without one are known by their value.
        """
        labelled = np.isin(overlaps.truth_classes, things) & ~overlaps.is_crowd
        labelled &= overlaps.truth_areas > 0
        excused = overlaps.on_void + overlaps.shared[overlaps.is_crowd].sum(0)
        counted = np.isin(overlaps.classes, things) & (2 * excused <= overlaps.predicted_areas)
        found = 2 * overlaps.shared > union_areas(overlaps)
        found &= labelled[:, None] & counted
        switches = 0
        for row, column in np.argwhere(found).tolist():
            value = int(overlaps.values[column])
            # Ids of tracks are apart from values, which stand for things that nobody tracked.
            own, other = overlaps.segments[row].id, tracks.get(value, -value)
            switches += self._last.get(own, other) != other
            self._last[own] = other
            self._together[own, other] += 1
        matches = int(found.sum())
        self._counts += (int(labelled.sum()), int(counted.sum()), matches, switches, 0)
        return switches

    def counts(self) -> IdentityCounts:
        """Return the counts of the frames so far."""
        return self._counts._replace(id_matches=_most_together(self._together))


def _most_together(together: Mapping[tuple[int, int], int]) -> int:
    """Return the frames that the best pairing of true and predicted ids explains.

    Ids that never met are in different groups, of which each is solved alone: all at once would be
    a matrix of all ids by all.
    """
    if not together:
        return 0
    pairs = np.array(list(together), np.int64)
    frames = np.array(list(together.values()), np.int64)
    rows, columns = (np.unique(ids, return_inverse=True)[1] for ids in pairs.T)
    count = int(rows.max()) + 1
    size = count + int(columns.max()) + 1
    graph = coo_array((frames, (rows, columns + count)), shape=(size, size))
    _, group = connected_components(graph, directed=False)
    order = np.argsort(group[rows], kind='stable')
    ends = np.flatnonzero(np.diff(group[rows][order])) + 1
    total = 0
    for part in np.split(order, ends):
        own, other = (np.unique(ids[part], return_inverse=True)[1] for ids in (rows, columns))
        table = np.zeros((own.max() + 1, other.max() + 1), np.int64)
        table[own, other] = frames[part]
        total += int(table[linear_sum_assignment(table, maximize=True)].sum())
    return total
