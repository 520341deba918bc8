# mypy: allow-untyped-defs, no-check-untyped-defs
"""Rows of the heads in a tile: read, made usable, bounded, and sampled at output columns."""

from __future__ import annotations

import numpy as np

from pdl_ros.fusion.sampling import LARGEST, LEAST_EVIDENCE, NO_EVIDENCE
from pdl_ros.runtime.compiled import compiled_inner, compiled_unordered


@compiled_inner
def load(rows, head, row, first, count):
    """Copy a tile's samples of one head row, made usable, and bound what lies between them."""
    slot = row & 1
    if rows.loaded[slot] == row:
        return
    rows.loaded[slot] = row
    for c in range(head.channels):
        out = rows.taps[c, slot]
        start = c * head.channel + row * head.row + first * head.column
        if head.column == 1:
            _clean(head.flat[start : start + count], out, np.float32(NO_EVIDENCE))
        else:
            _clean(head.flat[start :: head.column], out[:count], np.float32(NO_EVIDENCE))
        low, high = _extremes(out[:count])
        # A weighted mean of means, each rounded, exceeds its terms by a few units in the last
        # place.
        slack = max(abs(low), abs(high)) * np.float32(1e-6)
        rows.low[c, slot], rows.high[c, slot] = low - slack, high + slack


@compiled_inner
def load_offset(rows, head, channel, row, first, count):
    slot = row & 1
    if rows.made[channel, slot] == row:
        return
    for c in range(2):
        start = c * head.channel + row * head.row + first * head.column
        _clean(
            head.flat[start :: head.column],
            rows.taps[channel + c, slot, :count],
            np.float32(np.nan),
        )


@compiled_inner
def _clean(samples, out, otherwise):
    """Make samples usable, as `sampling.usable` does."""
    limit, infinity = np.float32(LARGEST), np.float32(np.inf)
    for i in range(min(len(samples), len(out))):
        value = samples[i]
        limited = value if value < limit else limit
        limited = limited if limited > -limit else -limit
        out[i] = limited if abs(value) < infinity else otherwise


@compiled_unordered
def _extremes(values):
    low = high = values[0]
    for value in values:
        low = value if value < low else low
        high = value if value > high else high
    return low, high


@compiled_inner
def contenders(rows, top, bottom):
    """List the classes that can win a pixel between two head rows; return how many, and whether
    all pixels have evidence.
    """
    floor = np.float32(-np.inf)
    for c in range(len(rows.low)):
        floor = max(floor, min(rows.low[c, top], rows.low[c, bottom]))
    count = 0
    for c in range(len(rows.low)):
        rows.able[count] = c
        count += max(rows.high[c, top], rows.high[c, bottom]) >= floor
    return count, floor > np.float32(LEAST_EVIDENCE)


@compiled_inner
def stretch(rows, channel, row, along):
    """Sample a head row at output columns."""
    slot = row & 1
    if rows.made[channel, slot] == row:
        return
    rows.made[channel, slot] = row
    taps, out = rows.taps[channel, slot], rows.stretched[channel, slot]
    left, right, weight, rest = along.lower, along.upper, along.weight, along.rest
    for x in range(len(left)):
        out[x] = taps[left[x]] * rest[x] + taps[right[x]] * weight[x]
