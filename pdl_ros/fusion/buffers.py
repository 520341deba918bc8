"""What a worker of the CPU fusion has at hand: counters, and a tile's rows in the cache."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pdl_ros.fusion.views import AxisView

TILE_ROWS, TILE_COLUMNS = 32, 64
_TALLY_BYTES = 16 * 2**20
"""Counters of all workers take at most this: with very many centres, fewer workers run."""


class Tally(NamedTuple):
    """What a worker counted, to be summed over workers.

    area: (256,) int64 pixels by class. votes: (K, T) int64 pixels of a centre by thing class.
    probability: (K, T) int64 their softmax sums in PROBABILITY_UNIT. box: (K, 4) int32 smallest x
    and y, largest x and y. moment: (K, 2) int64 summed y and x.
    """

    area: np.ndarray
    votes: np.ndarray
    probability: np.ndarray
    box: np.ndarray
    moment: np.ndarray


class Rows(NamedTuple):
    """Head rows in a tile; a row's slot is its parity. Channels are the C logits and the offset.

    taps: (C + 2, 2, n) usable samples; low, high: (C, 2) bounds of the logits between them.
    stretched: (C + 2, 2, TILE_COLUMNS), at output columns. loaded: (2,) and made: (C + 2, 2), which
    head row is held, -1: none. left, right: (TILE_COLUMNS,) uint32, the taps of a column. able:
    (C,) list of the classes that can win.
    """

    taps: np.ndarray
    low: np.ndarray
    high: np.ndarray
    stretched: np.ndarray
    loaded: np.ndarray
    made: np.ndarray
    left: np.ndarray
    right: np.ndarray
    able: np.ndarray


class Line(NamedTuple):
    """Pixels of one row in a tile, (TILE_COLUMNS,) each; chances has such a row a thing class.

    best: the largest logit. label: its class. thing: that among the thing classes, -1: stuff. y, x:
    where the offset points. center: 0..K - 1, -1: none. total: the inverse sum of the softmax.
    chances: its numerators.
    """

    best: np.ndarray
    label: np.ndarray
    thing: np.ndarray
    y: np.ndarray
    x: np.ndarray
    center: np.ndarray
    total: np.ndarray
    chances: np.ndarray


def empty_tallies(centers: int, things: int, workers: int) -> list[Tally]:
    """Return one tally a worker, or fewer where they would take too much memory."""
    workers = min(workers, max(_TALLY_BYTES // (centers * (16 * things + 32) + 1), 1))
    tallies = []
    for _ in range(workers):
        box = np.empty((centers, 4), np.int32)
        box[:, :2], box[:, 2:] = np.iinfo(np.int32).max, -1
        votes, probability = (np.zeros((centers, things), np.int64) for _ in range(2))
        moment = np.zeros((centers, 2), np.int64)
        tallies.append(Tally(np.zeros(256, np.int64), votes, probability, box, moment))
    return tallies


def worker_buffers(channels: int, things: int, along: AxisView) -> tuple[Rows, Line]:
    """Return the buffers of one worker for heads of C channels and T thing classes."""
    first = along.lower[::TILE_COLUMNS].astype(np.int64)
    ends = np.append(np.arange(TILE_COLUMNS, len(along.lower), TILE_COLUMNS), len(along.lower))
    taps = int((along.upper[ends - 1] - first).max()) + 1
    rows = Rows(
        taps=np.empty((channels + 2, 2, taps), np.float32),
        low=np.empty((channels, 2), np.float32),
        high=np.empty((channels, 2), np.float32),
        stretched=np.empty((channels + 2, 2, TILE_COLUMNS), np.float32),
        loaded=np.empty(2, np.int64),
        made=np.empty((channels + 2, 2), np.int64),
        left=np.empty(TILE_COLUMNS, np.uint32),
        right=np.empty(TILE_COLUMNS, np.uint32),
        able=np.empty(channels, np.int64),
    )
    best, y, x, total = (np.empty(TILE_COLUMNS, np.float32) for _ in range(4))
    label, thing, center = (np.empty(TILE_COLUMNS, np.int32) for _ in range(3))
    chances = np.empty((things, TILE_COLUMNS), np.float32)
    return rows, Line(best, label, thing, y, x, center, total, chances)
