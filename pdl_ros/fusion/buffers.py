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
    """Two rows of the heads, w samples wide, and at the W output columns; a row's slot is its
    parity. Channels are the C logits and the offset; the output columns lie in S tiles.

    taps: (C + 2, 2, w) usable samples. low, high: (2, S, C) bounds of the logits of a tile.
    stretched: (C + 2, 2, S * TILE_COLUMNS), at output columns. held: (2, 2), which row a slot has
    of the logits and of the offset, -1: none. made: (C + 2, 2, S), whether a tile is stretched.
    window: a power of two; first, last: (S,), where the first and the last so many taps of a tile
    begin. spans: (4, w) lowest and highest of ever more taps, twice. able: (C,) list of the classes
    that can win.
    """

    taps: np.ndarray
    low: np.ndarray
    high: np.ndarray
    stretched: np.ndarray
    held: np.ndarray
    made: np.ndarray
    first: np.ndarray
    last: np.ndarray
    window: int
    spans: np.ndarray
    able: np.ndarray


class Line(NamedTuple):
    """Pixels of one row in a tile, (TILE_COLUMNS,) each; chances has such a row a thing class.

    best: the largest logit. label: its class, and label8 in bytes. thing: that among the thing
    classes, -1: stuff. y, x: where the offset points. center: 0..K - 1, -1: none. total: the
    inverse sum of the softmax. chances: its numerators. other: room for those of a class that is no
    thing.
    """

    best: np.ndarray
    label: np.ndarray
    label8: np.ndarray
    thing: np.ndarray
    y: np.ndarray
    x: np.ndarray
    center: np.ndarray
    total: np.ndarray
    chances: np.ndarray
    other: np.ndarray


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


def worker_buffers(channels: int, taps: int, things: int, along: AxisView) -> tuple[Rows, Line]:
    """Return a worker's buffers for heads of C channels, w samples wide, and T thing classes."""
    width = len(along.lower)
    starts = np.arange(0, width, TILE_COLUMNS)
    first = along.lower[starts].astype(np.int64)
    ends = along.upper[np.minimum(starts + TILE_COLUMNS, width) - 1].astype(np.int64) + 1
    window = 1 << int((ends - first).max()).bit_length() - 1
    tiles = len(starts)
    rows = Rows(
        taps=np.empty((channels + 2, 2, taps), np.float32),
        low=np.empty((2, tiles, channels), np.float32),
        high=np.empty((2, tiles, channels), np.float32),
        stretched=np.empty((channels + 2, 2, tiles * TILE_COLUMNS), np.float32),
        held=np.empty((2, 2), np.int64),
        made=np.empty((channels + 2, 2, tiles), np.bool_),
        # What lies beyond a narrow tile only loosens its bounds.
        first=np.minimum(first, taps - window),
        last=np.maximum(ends - window, 0),
        window=window,
        spans=np.empty((4, taps), np.float32),
        able=np.empty(channels, np.int64),
    )
    best, y, x, total, other = (np.empty(TILE_COLUMNS, np.float32) for _ in range(5))
    label, thing, center = (np.empty(TILE_COLUMNS, np.int32) for _ in range(3))
    label8 = np.empty(TILE_COLUMNS, np.uint8)
    chances = np.zeros((things, TILE_COLUMNS), np.float32)
    return rows, Line(best, label, label8, thing, y, x, center, total, chances, other)
