# mypy: allow-untyped-defs, no-check-untyped-defs
"""Classes, grouping and votes of all pixels on the CPU, in one pass over the heads.

The pass works on tiles of a few thousand pixels that stay in the cache. It samples logits only
where it must: between two head rows, a class whose largest sample is below another's smallest
cannot win, and most of a street is such clear ground. What is sampled is rounded as
`sampling.sample` rounds it.
"""

from __future__ import annotations

import math

import numpy as np

from pdl_ros.fusion.buffers import TILE_COLUMNS, TILE_ROWS
from pdl_ros.fusion.grouping_cpu import CELL, MARGIN
from pdl_ros.fusion.head_rows_cpu import contenders, load, load_offset, stretch
from pdl_ros.fusion.sampling import LEAST_EVIDENCE
from pdl_ros.fusion.tables import PROBABILITY_UNIT
from pdl_ros.fusion.views import AxisView
from pdl_ros.labels.label_set import SEMANTIC_VOID
from pdl_ros.runtime.compiled import compiled_inner, compiled_unordered


@compiled_inner
def segment_strip(
    logits, offset, down, along, scale, centers, thing_index,
    semantic, instance, tally, rows, line, strip,
):  # fmt: skip
    """Write the class of every pixel of a strip of TILE_ROWS, and the index 1..K of its centre (0:
    none).

    logits, offset: HeadView. down, along: AxisView. scale: (y, x) float32 of the offsets. centers:
    Centers. thing_index: (256,) int32 position of a class among the T thing classes, -1 for others.
    semantic, instance: the (H, W) uint8 and int32 maps. tally: Tally, which is added to. rows,
    line: Rows and Line of the worker.
    """
    for x in range(0, semantic.shape[1], TILE_COLUMNS):
        _segment_tile(
            logits, offset, down, along, scale, centers, thing_index,
            semantic, instance, tally, rows, line, strip * TILE_ROWS, x,
        )  # fmt: skip


@compiled_inner
def _segment_tile(
    logits, offset, down, along, scale, centers, thing_index,
    semantic, instance, tally, rows, line, y0, x0,
):  # fmt: skip
    y1, x1 = min(y0 + TILE_ROWS, len(down.lower)), min(x0 + TILE_COLUMNS, len(along.lower))
    first, count = np.int64(along.lower[x0]), x1 - x0
    rows.loaded[:] = -1
    rows.made[:] = -1
    for x in range(count):
        rows.left[x] = along.lower[x0 + x] - first
        rows.right[x] = along.upper[x0 + x] - first
    taps = np.int64(rows.right[count - 1]) + 1
    axis = AxisView(rows.left[:count], rows.right[:count], along.weight[x0:x1], along.rest[x0:x1])
    n, able = logits.channels, rows.able
    y = y0
    while y < y1:
        upper, lower = np.int64(down.lower[y]), np.int64(down.upper[y])
        load(rows, logits, upper, first, taps)
        load(rows, logits, lower, first, taps)
        ables, evident = contenders(rows, upper & 1, lower & 1)
        things = False
        for i in range(ables):
            things |= thing_index[able[i]] >= 0
            stretch(rows, able[i], upper, axis)
            stretch(rows, able[i], lower, axis)
        things &= len(centers.y) > 0
        if things:
            load_offset(rows, offset, n, upper, first, taps)
            load_offset(rows, offset, n, lower, first, taps)
            for c in range(n, n + 2):
                stretch(rows, c, upper, axis)
                stretch(rows, c, lower, axis)
        while y < y1 and down.lower[y] == upper:
            slots = (upper & 1, lower & 1, down.rest[y], down.weight[y])
            out = semantic[y, x0:x1]
            _classify(rows, able[:ables], slots, evident, line, out, tally.area)
            out = instance[y, x0:x1]
            begin, end = 0, 0
            if things:
                begin, end = _find_things(line, thing_index, count)
            out[:begin] = 0
            out[end:] = 0
            if begin < end:
                _group(rows, n, slots, scale, centers, line, y, x0, begin, end)
                for x in range(begin, end):
                    out[x] = line.center[x] + 1
                for c in range(n):
                    stretch(rows, c, upper, axis)
                    stretch(rows, c, lower, axis)
                _chances(rows, slots, thing_index, line, begin, end)
                _count(line, tally, y, x0, begin, end)
            y += 1


@compiled_inner
def _classify(rows, able, slots, evident, line, out, area):
    """Write the class of a row of pixels: the largest logit, the smallest class of a tie."""
    top, bottom, rest, weight = slots
    best, label = line.best, line.label
    above, below = rows.stretched[able[0], top], rows.stretched[able[0], bottom]
    for x in range(len(out)):
        best[x] = above[x] * rest + below[x] * weight
        label[x] = able[0]
    for i in range(1, len(able)):
        c = np.int32(able[i])
        above, below = rows.stretched[c, top], rows.stretched[c, bottom]
        for x in range(len(out)):
            value = above[x] * rest + below[x] * weight
            larger = value > best[x]
            best[x] = value if larger else best[x]
            label[x] = c if larger else label[x]
    if not evident:
        for x in range(len(out)):
            label[x] = label[x] if best[x] > np.float32(LEAST_EVIDENCE) else SEMANTIC_VOID
    for x in range(len(out)):
        out[x] = label[x]
    if len(able) == 1 and evident:
        area[able[0]] += len(out)
    else:
        for i in range(len(able)):
            same = 0
            for x in range(len(out)):
                same += label[x] == able[i]
            area[able[i]] += same


@compiled_inner
def _find_things(line, thing_index, count):
    """Note the thing classes of a row of pixels; return where the first and where the last is."""
    begin, end = count, 0
    for x in range(count):
        thing = thing_index[line.label[x]]
        line.thing[x] = thing
        if thing >= 0:
            begin, end = min(begin, x), x + 1
    return min(begin, end), end


@compiled_inner
def _group(rows, channel, slots, scale, centers, line, y, x0, begin, end):
    """Find the centre nearest to where each thing pixel points, as `grouping.group_pixels`."""
    top, bottom, rest, weight = slots
    above, below = rows.stretched[channel, top], rows.stretched[channel, bottom]
    above_x, below_x = rows.stretched[channel + 1, top], rows.stretched[channel + 1, bottom]
    at_y = np.float32(y)
    for x in range(begin, end):
        line.y[x] = at_y + (above[x] * rest + below[x] * weight) * scale[0]
        line.x[x] = np.float32(x0 + x) + (above_x[x] * rest + below_x[x] * weight) * scale[1]
    last = np.int32(0)
    for x in range(begin, end):
        line.center[x] = -1
        if line.thing[x] >= 0:
            dy, dx = centers.y[last] - line.y[x], centers.x[last] - line.x[x]
            if not dy * dy + dx * dx < centers.own[last]:
                found = _nearest(centers, line.y[x], line.x[x])
                last = found if found >= 0 else last
                line.center[x] = found
            else:
                line.center[x] = last


@compiled_inner
def _nearest(centers, y, x):
    """Return the centre nearest to a point, the first of those equally far; -1 for no point."""
    row = y * np.float32(1 / CELL) + np.float32(MARGIN)
    column = x * np.float32(1 / CELL) + np.float32(MARGIN)
    high, wide = centers.listed.shape
    nearest, best = np.int32(0), np.float32(np.inf)
    if row >= 0 and row < high and column >= 0 and column < wide:
        cell = np.uint32(row), np.uint32(column)
        count = centers.listed[cell]
        nearby = centers.nearby[cell]
        if count == 1:
            return nearby[0]
        if count > 0:
            for i in range(count):
                at = nearby[i]
                dy, dx = centers.y[at] - y, centers.x[at] - x
                distance = math.sqrt(dy * dy + dx * dx)
                nearest = at if distance < best else nearest
                best = distance if distance < best else best
            return nearest
    elif not (math.isfinite(y) and math.isfinite(x)):
        return np.int32(-1)
    for at in range(len(centers.y)):
        dy, dx = centers.y[at] - y, centers.x[at] - x
        distance = math.sqrt(dy * dy + dx * dx)
        nearest = np.int32(at) if distance < best else nearest
        best = distance if distance < best else best
    return nearest


@compiled_inner
def _chances(rows, slots, thing_index, line, begin, end):
    """Compute the softmax numerators of the thing classes, and the inverse of its sum."""
    top, bottom, rest, weight = slots
    best, total = line.best[begin:end], line.total[begin:end]
    total[:] = 0
    for c in range(len(rows.low)):
        above = rows.stretched[c, top][begin:end]
        below = rows.stretched[c, bottom][begin:end]
        if thing_index[c] >= 0:
            chance = line.chances[thing_index[c]][begin:end]
            for x in range(len(best)):
                value = _exp(above[x] * rest + below[x] * weight - best[x])
                chance[x] = value
                total[x] += value
        else:
            for x in range(len(best)):
                total[x] += _exp(above[x] * rest + below[x] * weight - best[x])
    for x in range(len(best)):
        total[x] = np.float32(1) / total[x]


@compiled_inner
def _exp(x):
    """e^x for x <= 0 with a relative error of 2e-7; written out, so that it can be vectorised."""
    x = x if x > np.float32(-87) else np.float32(-87)
    power = np.floor(x * np.float32(1.442695041) + np.float32(0.5))
    x = x - power * np.float32(0.693359375)
    x = x - power * np.float32(-2.12194440e-4)
    y = np.float32(1 / 720)
    y = y * x + np.float32(1 / 120)
    y = y * x + np.float32(1 / 24)
    y = y * x + np.float32(1 / 6)
    y = y * x + np.float32(0.5)
    y = y * x + np.float32(1)
    y = y * x + np.float32(1)
    # A float32 of 2^n is n + 127 in the bits above the 23 of the fraction.
    return y * np.int32((np.int32(power) + np.int32(127)) << np.int32(23)).view(np.float32)


@compiled_inner
def _count(line, tally, y, x0, begin, end):
    """Add each run of pixels of one centre to its votes, sums and box."""
    x = begin
    while x < end:
        center = line.center[x]
        start = x
        if center < 0:
            x += 1
            continue
        votes = tally.votes[center]
        while x < end and line.center[x] == center:
            votes[line.thing[x]] += 1
            x += 1
        box = tally.box[center]
        box[0], box[1] = min(box[0], x0 + start), min(box[1], y)
        box[2], box[3] = max(box[2], x0 + x - 1), max(box[3], y)
        tally.moment[center, 0] += y * (x - start)
        tally.moment[center, 1] += (2 * x0 + start + x - 1) * (x - start) // 2
        for thing in range(len(votes)):
            share = _dot(line.chances[thing][start:x], line.total[start:x])
            tally.probability[center, thing] += np.int64(share * PROBABILITY_UNIT)


@compiled_unordered
def _dot(a, b):
    total = np.float32(0)
    for i in range(len(a)):
        total += a[i] * b[i]
    return total
