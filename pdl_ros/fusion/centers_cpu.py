# mypy: allow-untyped-defs, no-check-untyped-defs
"""`find_centers` on the CPU: heatmap samples and window maxima of one tile at a time, in cache."""

from __future__ import annotations

import numpy as np

from pdl_ros.fusion.views import AxisView, HeadView
from pdl_ros.runtime.compiled import compiled, compiled_inner
from pdl_ros.runtime.thread_pool import parallel_for

SMALLEST_TILE = 64


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
    parallel_for(
        lambda row, _: _mark_peaks(heatmap, down, along, limits, is_peak, row * edge),
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


@compiled
def sample_points(
    heatmap: HeadView, down: AxisView, along: AxisView, ys: np.ndarray, xs: np.ndarray
) -> np.ndarray:
    """Return the heatmap at M output pixels: (M,) int64 twice -> (M,) float32."""
    values = np.empty(len(ys), np.float32)
    for i in range(len(ys)):
        y, x = ys[i], xs[i]
        left, right, weight = along.lower[x], along.upper[x], along.weight[x]
        rest = along.rest[x]
        top = _tap(heatmap, down.lower[y], left) * rest
        top += _tap(heatmap, down.lower[y], right) * weight
        bottom = _tap(heatmap, down.upper[y], left) * rest
        bottom += _tap(heatmap, down.upper[y], right) * weight
        values[i] = top * down.rest[y] + bottom * down.weight[y]
    return values


@compiled
def _mark_peaks(heatmap, down, along, limits, is_peak, y0):
    """Mark the peaks of one row of tiles."""
    height, width = is_peak.shape
    threshold, radius, edge = limits
    y1 = min(y0 + edge, height)
    for x0 in range(0, width, edge):
        x1 = min(x0 + edge, width)
        if _may_exceed(heatmap, down, along, y0, y1, x0, x1, threshold):
            _mark_tile(heatmap, down, along, y0, y1, x0, x1, threshold, radius, is_peak)
        else:
            is_peak[y0:y1, x0:x1] = False


@compiled_inner
def _may_exceed(heatmap, down, along, y0, y1, x0, x1, threshold):
    """Say whether any sample of a tile can exceed the threshold; most tiles of a street cannot."""
    highest = -np.float32(np.inf)
    for row in range(down.lower[y0], down.upper[y1 - 1] + 1):
        for column in range(along.lower[x0], along.upper[x1 - 1] + 1):
            highest = max(highest, _tap(heatmap, row, column))
    # A weighted mean, rounded, exceeds its largest term by a few units in the last place at most.
    return highest + abs(highest) * np.float32(1e-6) > threshold


@compiled
def _mark_tile(heatmap, down, along, y0, y1, x0, x1, threshold, radius, is_peak):
    height, width = is_peak.shape
    window = 2 * radius + 1
    top, bottom = max(y0 - radius, 0), min(y1 + radius, height)
    left, right = max(x0 - radius, 0), min(x1 + radius, width)
    # Rows and columns beyond the image hold -1, which is no candidate and no maximum.
    values = np.full((y1 - y0 + 2 * radius, x1 - x0 + 2 * radius), np.float32(-1))
    above, below = top - (y0 - radius), left - (x0 - radius)
    _sample_tile(heatmap, down, along, top, bottom, left, right, threshold, values[above:, below:])
    # A square maximum is the maximum of maxima along the axes; each in log2(window) passes, as the
    # maximum of 2n neighbours is that of two maxima of n. A pass runs over the tile as one line:
    # what wraps around its right edge stays within the columns that are not read below.
    across = values.shape[1]
    maxima, other = values.copy().reshape(-1), np.empty(values.size, np.float32)
    for stride in (1, across):
        reach = 1
        while reach < window:
            step = min(reach, window - reach)
            _larger(maxima, step * stride, other)
            maxima, other = other, maxima
            reach += step
    for y in range(y1 - y0):
        value, maximum = values[y + radius, radius:], maxima[y * across :]
        out = is_peak[y0 + y, x0:x1]
        for x in range(x1 - x0):
            out[x] = (value[x] == maximum[x]) & (value[x] > threshold)


@compiled_inner
def _larger(line, shift, out):
    ahead = line[shift:]  # an index that is only counted up is what the compiler vectorises
    for i in range(len(ahead)):
        out[i] = line[i] if line[i] > ahead[i] else ahead[i]


@compiled
def _sample_tile(heatmap, down, along, top, bottom, left, right, threshold, values):
    """Write the samples that exceed the threshold, and -1 for the others."""
    first, count = down.lower[top], down.upper[bottom - 1] - down.lower[top] + 1
    stretched = np.empty((count, right - left), np.float32)
    for row in range(count):
        out = stretched[row]
        for x in range(right - left):
            at = left + x
            value = _tap(heatmap, first + row, along.lower[at]) * along.rest[at]
            value += _tap(heatmap, first + row, along.upper[at]) * along.weight[at]
            out[x] = value
    for y in range(bottom - top):
        above = stretched[down.lower[top + y] - first]
        below = stretched[down.upper[top + y] - first]
        rest, weight = down.rest[top + y], down.weight[top + y]
        out = values[y]
        for x in range(right - left):
            value = above[x] * rest + below[x] * weight
            out[x] = value if value > threshold else np.float32(-1)


@compiled_inner
def _tap(heatmap, row, column):
    """Read one sample of the head; NaN and infinity are 0 (`sampling.usable`)."""
    value = heatmap.flat[row * heatmap.row + column * heatmap.column]
    limit = np.float32(1e18)
    if not abs(value) < np.float32(np.inf):
        return np.float32(0)
    return min(max(value, -limit), limit)
