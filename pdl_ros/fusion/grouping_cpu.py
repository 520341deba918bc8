# mypy: allow-untyped-defs, no-check-untyped-defs
"""What the CPU prepares for the grouping: the few centres that can be nearest, cell by cell."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pdl_ros.runtime.compiled import compiled
from pdl_ros.runtime.thread_pool import parallel_for

CELL = 32
"""Side of a cell in pixels; a power of two, so that dividing by it is exact."""
MARGIN = 4
"""Cells around the image: offsets may point outside."""
MOST_NEARBY = 64
"""A cell near more centres than this is not listed; its pixels look at all centres."""


class Centers(NamedTuple):
    """The centres, and for each cell which of them can be the nearest to a point in it.

    y, x: (K,) float32. own: (K,) float32, the squared radius of the disc around a centre to which
    no other is as near; most pixels point into that of their neighbour's centre. listed: (rows,
    columns) int32, how many of them there are, -1: look at all. nearby: (rows, columns,
    MOST_NEARBY) int32, ascending.
    """

    y: np.ndarray
    x: np.ndarray
    own: np.ndarray
    listed: np.ndarray
    nearby: np.ndarray


def nearby_centers(centers: np.ndarray, height: int, width: int, workers: int) -> Centers:
    """Prepare the (K, 2) float32 (y, x) centres of an image for quick look-up."""
    rows, columns = (-(-edge // CELL) + 2 * MARGIN for edge in (height, width))
    y, x = (column.copy() for column in centers.T)
    nearby = np.empty((rows, columns, MOST_NEARBY), np.int32)
    own = np.empty(len(centers), np.float32)
    found = Centers(y, x, own, np.zeros((rows, columns), np.int32), nearby)
    if len(centers):
        _measure_own(found)
        parallel_for(lambda row, _: _list_nearby(found, row), rows, workers)
    return found


@compiled
def _measure_own(centers):
    for i in range(len(centers.y)):
        nearest = np.float32(np.inf)
        for j in range(len(centers.y)):
            dy, dx = centers.y[j] - centers.y[i], centers.x[j] - centers.x[i]
            square = dy * dy + dx * dx
            nearest = square if square < nearest and i != j else nearest
        # Half the way to the next centre, less what rounding could take.
        centers.own[i] = nearest * np.float32(0.2499)


@compiled
def _list_nearby(centers, row):
    """List for each cell of a row the centres that no other centre keeps from being the nearest to
    a point of it.
    """
    half = np.float32(CELL / 2 + 0.01)  # pixels are put into cells with a rounding error
    middle_y = np.float32((row - MARGIN) * CELL + CELL / 2)
    ys, xs, zero = centers.y, centers.x, np.float32(0)
    for column in range(centers.listed.shape[1]):
        middle_x = np.float32((column - MARGIN) * CELL + CELL / 2)
        bound = np.float32(np.inf)
        for i in range(len(ys)):
            dy, dx = abs(ys[i] - middle_y) + half, abs(xs[i] - middle_x) + half
            far = dy * dy + dx * dx
            bound = far if far < bound else bound
        # Distances are rounded too, by less than a millionth.
        bound = bound * np.float32(1.0001) + np.float32(0.01)
        count, nearby = 0, centers.nearby[row, column]
        for i in range(len(ys)):
            dy = max(abs(ys[i] - middle_y) - half, zero)
            dx = max(abs(xs[i] - middle_x) - half, zero)
            if dy * dy + dx * dx <= bound:
                if count < MOST_NEARBY:
                    nearby[count] = i
                count += 1
        centers.listed[row, column] = count if count <= MOST_NEARBY else -1
