# mypy: allow-untyped-defs, no-check-untyped-defs
"""`find_centers` on the CPU: heatmap samples and window maxima of one tile at a time, in cache."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pdl_ros.fusion.head_rows_cpu import clean
from pdl_ros.fusion.views import AxisView, HeadView
from pdl_ros.runtime.compiled import compiled, compiled_inner
from pdl_ros.runtime.thread_pool import parallel_for

SMALLEST_TILE = 64


class TileBuffers(NamedTuple):
    """What a worker has at hand, float32. taps: (n, w) usable samples of the head rows of a row of
    tiles. stretched: (n, side), at output columns. values: (3, side²) of a tile and its border.
    """

    taps: np.ndarray
    stretched: np.ndarray
    values: np.ndarray


def find_centers(
    heatmap: HeadView,
    down: AxisView,
    along: AxisView,
    threshold: float,
    kernel: int,
    top_k: int,
    workers: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the (K, 2) int64 (y, x) of the centres in row-major order and their (K,) float32
    heights.

    The rules of `centers.find_centers`, on a heatmap that is sampled here and never stored.
    """
    height, width = len(down.lower), len(along.lower)
    is_peak = np.empty((height, width), np.bool_)
    radius = kernel // 2
    edge = max(SMALLEST_TILE, 4 * radius)  # a tile must sample `radius` pixels around itself
    limits = np.float32(threshold), radius, edge
    spaces = [_tile_buffers(heatmap, down, edge, radius) for _ in range(workers)]
    parallel_for(
        lambda row, worker: _mark_peaks(
            heatmap, down, along, limits, is_peak, spaces[worker], row * edge
        ),
        -(-height // edge),
        workers,
    )
    peaks = np.flatnonzero(is_peak)
    ys, xs = np.divmod(peaks, width)
    heights = sample_points(heatmap, down, along, ys, xs)
    # With top_k or more peaks, only those above the k-th; fewer than top_k are always left.
    if len(peaks) >= top_k:
        limit = np.partition(heights, -top_k)[-top_k]
        kept = heights > limit
        ys, xs, heights = ys[kept], xs[kept], heights[kept]
    return np.stack([ys, xs], 1), heights


def sample_points(
    heatmap: HeadView, down: AxisView, along: AxisView, ys: np.ndarray, xs: np.ndarray
) -> np.ndarray:
    """Return the heatmap at M output pixels: (M,) int64 twice -> (M,) float32."""
    values = np.empty(len(ys), np.float32)
    _sample_points(heatmap, down, along, np.stack([ys, xs]), np.empty(4, np.float32), values)
    return values


def _tile_buffers(heatmap: HeadView, down: AxisView, edge: int, radius: int) -> TileBuffers:
    height, side = len(down.lower), edge + 2 * radius
    starts = np.arange(0, height, edge)
    first = down.lower[np.maximum(starts - radius, 0)].astype(np.int64)
    last = down.upper[np.minimum(starts + edge + radius, height) - 1].astype(np.int64)
    rows = int((last - first).max()) + 1
    sizes = (rows, heatmap.width), (rows, side), (3, side * side)
    taps, stretched, values = (np.empty(size, np.float32) for size in sizes)
    return TileBuffers(taps, stretched, values)


@compiled
def _sample_points(heatmap, down, along, points, taps, values):
    for i in range(len(values)):
        y, x = points[0, i], points[1, i]
        for corner in range(4):
            row = np.int64(down.lower[y] if corner < 2 else down.upper[y])
            column = np.int64(along.upper[x] if corner % 2 else along.lower[x])
            start = row * heatmap.row + column * heatmap.column
            clean(heatmap.flat, start, np.int64(1), np.float32(0), taps[corner : corner + 1])
        top = taps[0] * along.rest[x] + taps[1] * along.weight[x]
        bottom = taps[2] * along.rest[x] + taps[3] * along.weight[x]
        values[i] = top * down.rest[y] + bottom * down.weight[y]


@compiled
def _mark_peaks(heatmap, down, along, limits, is_peak, space, y0):
    """Mark the peaks of one row of tiles."""
    height, width = is_peak.shape
    threshold, radius, edge = limits
    y1 = min(y0 + edge, height)
    top, bottom = max(y0 - radius, 0), min(y1 + radius, height)
    first, last = np.int64(down.lower[top]), np.int64(down.upper[bottom - 1])
    for row in range(first, last + 1):
        start, taps = row * heatmap.row, space.taps[row - first]
        clean(heatmap.flat, start, heatmap.column, np.float32(0), taps)
    inner = space.taps[down.lower[y0] - first : np.int64(down.upper[y1 - 1]) + 1 - first]
    for x0 in range(0, width, edge):
        x1 = min(x0 + edge, width)
        columns = np.int64(along.lower[x0]), np.int64(along.upper[x1 - 1]) + 1
        if _may_exceed(inner[:, columns[0] : columns[1]], threshold):
            _mark_tile(down, along, first, y0, y1, x0, x1, threshold, radius, space, is_peak)
        else:
            is_peak[y0:y1, x0:x1] = False


@compiled_inner
def _may_exceed(taps, threshold):
    """Say whether any sample of a tile can exceed the threshold; most tiles of a street cannot."""
    highest = -np.float32(np.inf)
    for row in range(len(taps)):
        for value in taps[row]:
            highest = value if value > highest else highest
    # A weighted mean, rounded, exceeds its largest term by a few units in the last place at most.
    return highest + abs(highest) * np.float32(1e-6) > threshold


@compiled_inner
def _mark_tile(down, along, first, y0, y1, x0, x1, threshold, radius, space, is_peak):
    height, width = is_peak.shape
    top, bottom = max(y0 - radius, 0), min(y1 + radius, height)
    left, right = max(x0 - radius, 0), min(x1 + radius, width)
    # Rows and columns beyond the image hold -1, which is no candidate and no maximum.
    across = x1 - x0 + 2 * radius
    size = (y1 - y0 + 2 * radius) * across
    values = space.values[0, :size]
    values[:] = -1
    corner = (top - (y0 - radius)) * across + left - (x0 - radius)
    _sample_tile(
        down, along, first, top, bottom, left, right, threshold, space, values[corner:], across
    )
    # A square maximum is the maximum of maxima along the axes; each in log2(window) passes, as the
    # maximum of 2n neighbours is that of two maxima of n. A pass runs over the tile as one line:
    # what wraps around its right edge stays within the columns that are not read below.
    maxima, free = values, 1
    for stride in (1, across):
        reach, window = 1, 2 * radius + 1
        while reach < window:
            step = min(reach, window - reach)
            _larger(maxima, step * stride, space.values[free])
            maxima, free = space.values[free, :size], 3 - free
            reach += step
    for y in range(y1 - y0):
        value, maximum = values[(y + radius) * across + radius :], maxima[y * across :]
        out = is_peak[y0 + y, x0:x1]
        for x in range(len(out)):
            out[x] = (value[x] == maximum[x]) & (value[x] > threshold)


@compiled_inner
def _larger(line, shift, out):
    ahead = line[shift:]  # an index that is only counted up is what the compiler vectorises
    for i in range(len(ahead)):
        out[i] = line[i] if line[i] > ahead[i] else ahead[i]


@compiled_inner
def _sample_tile(down, along, first, top, bottom, left, right, threshold, space, values, across):
    """Write the samples that exceed the threshold, and -1 for the others."""
    lower, upper = along.lower[left:right], along.upper[left:right]
    rest, weight = along.rest[left:right], along.weight[left:right]
    begin = np.int64(down.lower[top]) - first
    for row in range(begin, np.int64(down.upper[bottom - 1]) - first + 1):
        out, taps = space.stretched[row], space.taps[row]
        for x in range(len(lower)):
            out[x] = taps[lower[x]] * rest[x] + taps[upper[x]] * weight[x]
    for y in range(top, bottom):
        above = space.stretched[np.int64(down.lower[y]) - first]
        below = space.stretched[np.int64(down.upper[y]) - first]
        out = values[(y - top) * across :]
        for x in range(len(lower)):
            value = above[x] * down.rest[y] + below[x] * down.weight[y]
            out[x] = value if value > threshold else np.float32(-1)
