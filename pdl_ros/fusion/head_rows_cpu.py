# mypy: allow-untyped-defs, no-check-untyped-defs
"""Rows of the heads: read, made usable, bounded tile by tile, and sampled at output columns.

Loops run over whole rows: over the 17 samples of a tile they would take longer to begin than to
end.
"""

from __future__ import annotations

import numpy as np

from pdl_ros.fusion.buffers import TILE_COLUMNS
from pdl_ros.fusion.limits import LARGEST, LEAST_EVIDENCE, NO_EVIDENCE
from pdl_ros.runtime.compiled import compiled_inner, inlined


@compiled_inner
def load(rows, head, row):
    """Hold a row of the logits, made usable, and bound what lies between its samples."""
    slot = row & 1
    if rows.held[0, slot] == row:
        return
    rows.held[0, slot] = row
    rows.made[:, slot] = False
    for c in range(head.channels):
        low = high = rows.taps[c, slot]
        start = c * head.channel + row * head.row
        clean(head.flat, start, head.column, np.float32(NO_EVIDENCE), low)
        # Of 2n samples the lowest is the lower of those of n.
        reach, free = np.int64(1), 0
        while reach < rows.window:
            _spread(low, high, reach, rows.spans[free], rows.spans[free + 1])
            low, high = rows.spans[free], rows.spans[free + 1]
            reach, free = 2 * reach, 2 - free
        for tile in range(len(rows.first)):
            a, b = rows.first[tile], rows.last[tile]
            lowest, highest = min(low[a], low[b]), max(high[a], high[b])
            # A weighted mean of means, each rounded, exceeds its terms by a few units in the last
            # place.
            slack = max(abs(lowest), abs(highest)) * np.float32(1e-6)
            rows.low[slot, tile, c], rows.high[slot, tile, c] = lowest - slack, highest + slack


@compiled_inner
def load_offset(rows, head, channel, row):
    """Hold a row of the offset, made usable."""
    slot = row & 1
    if rows.held[1, slot] == row:
        return
    rows.held[1, slot] = row
    for c in range(2):
        start = c * head.channel + row * head.row
        clean(head.flat, start, head.column, np.float32(np.nan), rows.taps[channel + c, slot])


@compiled_inner
def clean(flat, start, step, otherwise, out):
    """Make every `step`-th sample usable, as `sampling.usable` does."""
    if step == 1:
        samples = flat[start:]
        for i in range(len(out)):
            out[i] = _usable(samples[i], otherwise)
    else:
        apart = flat[start::step]
        for i in range(len(out)):
            out[i] = _usable(apart[i], otherwise)


@inlined
def _usable(value, otherwise):
    limit = np.float32(LARGEST)
    limited = value if value < limit else limit
    limited = limited if limited > -limit else -limit
    return limited if abs(value) < np.float32(np.inf) else otherwise


@compiled_inner
def _spread(low, high, shift, lower, higher):
    """Take the lowest and the highest of two spans of samples each, `shift` apart."""
    next_low, next_high = low[shift:], high[shift:]
    for i in range(len(next_low)):
        lower[i] = low[i] if low[i] < next_low[i] else next_low[i]
        higher[i] = high[i] if high[i] > next_high[i] else next_high[i]


@compiled_inner
def contenders(rows, tile, top, bottom):
    """List the classes that can win a pixel of a tile between two head rows; return how many, and
    whether all pixels have evidence.
    """
    low, other_low = rows.low[top, tile], rows.low[bottom, tile]
    high, other_high = rows.high[top, tile], rows.high[bottom, tile]
    floor = np.float32(-np.inf)
    for c in range(len(low)):
        floor = max(floor, min(low[c], other_low[c]))
    count = 0
    for c in range(len(low)):
        rows.able[count] = c
        count += max(high[c], other_high[c]) >= floor
    return count, floor > np.float32(LEAST_EVIDENCE)


@compiled_inner
def stretch(rows, channel, slot, tile, along):
    """Sample a tile of a head row at output columns."""
    if rows.made[channel, slot, tile]:
        return
    rows.made[channel, slot, tile] = True
    x0 = tile * TILE_COLUMNS
    taps, out = rows.taps[channel, slot], rows.stretched[channel, slot, x0:]
    left, right = along.lower[x0:], along.upper[x0:]
    weight, rest = along.weight[x0:], along.rest[x0:]
    for x in range(TILE_COLUMNS):
        out[x] = taps[left[x]] * rest[x] + taps[right[x]] * weight[x]
