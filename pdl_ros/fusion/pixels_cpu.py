# mypy: allow-untyped-defs, no-check-untyped-defs
"""Classes, grouping and votes of all pixels on the CPU, in one pass over the heads.

The pass goes from one pair of head rows to the next, and there over tiles of TILE_COLUMNS pixels,
always whole ones: a loop of a known length needs no code for what is left over. It samples logits
only where it must: within a tile, a class whose largest sample is below another's smallest cannot
win, and most of a street is such clear ground. What is sampled is rounded as `sampling.sample`
rounds it.
"""

from __future__ import annotations

import math

import numpy as np

from pdl_ros.fusion.buffers import TILE_COLUMNS, TILE_ROWS
from pdl_ros.fusion.grouping_cpu import CELL, MARGIN
from pdl_ros.fusion.head_rows_cpu import contenders, load, load_offset, stretch
from pdl_ros.fusion.limits import LEAST_EVIDENCE, PROBABILITY_UNIT
from pdl_ros.labels.label_set import SEMANTIC_VOID
from pdl_ros.runtime.compiled import compiled, compiled_inner, compiled_scores, inlined

_STEP = 8  # pixels that processors compute at once


@compiled
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
    rows.held[:] = -1
    y0, end = strip * TILE_ROWS, min((strip + 1) * TILE_ROWS, len(down.lower))
    while y0 < end:
        upper, lower = np.int64(down.lower[y0]), np.int64(down.upper[y0])
        y1 = y0 + 1
        while y1 < end and down.lower[y1] == upper:
            y1 += 1
        load(rows, logits, upper)
        load(rows, logits, lower)
        for tile in range(len(rows.first)):
            _segment_tile(
                offset, down, along, scale, centers, thing_index,
                semantic, instance, tally, rows, line, tile, y0, y1,
            )  # fmt: skip
        y0 = y1


@inlined
def _segment_tile(
    offset, down, along, scale, centers, thing_index,
    semantic, instance, tally, rows, line, tile, y0, y1,
):  # fmt: skip
    """Do the output rows y0..y1 - 1, all of which lie between the same head rows."""
    x0 = tile * TILE_COLUMNS
    x1 = min(x0 + TILE_COLUMNS, semantic.shape[1])
    upper, lower, n = np.int64(down.lower[y0]), np.int64(down.upper[y0]), len(rows.able)
    top, bottom, able = upper & 1, lower & 1, rows.able
    ables, evident = contenders(rows, tile, top, bottom)
    things = False
    for i in range(ables):
        things |= thing_index[able[i]] >= 0
    things &= len(centers.y) > 0
    clear = ables == 1 and evident and not things
    if clear:
        semantic[y0:y1, x0:x1] = able[0]
        instance[y0:y1, x0:x1] = 0
        tally.area[able[0]] += (y1 - y0) * (x1 - x0)
    for i in range(0 if clear else ables):
        stretch(rows, able[i], top, tile, along)
        stretch(rows, able[i], bottom, tile, along)
    for y in range(y1 if clear else y0, y1):
        place = top, bottom, x0, down.rest[y], down.weight[y]
        out = semantic[y, x0:x1]
        _classify(rows.stretched, place, able[:ables], evident, line, out, tally.area)
        out = instance[y, x0:x1]
        begin, end = 0, 0
        if things:
            begin, end = _find_things(line, thing_index)
        if begin == end:
            out[:] = 0
        else:
            load_offset(rows, offset, n, upper)
            load_offset(rows, offset, n, lower)
            for c in range(n + 2):
                stretch(rows, c, top, tile, along)
                stretch(rows, c, bottom, tile, along)
            _point(rows.stretched, place, scale, line, y)
            _group(centers, line)
            for x in range(len(out)):
                out[x] = line.center[x] + 1
            _chances(rows.stretched, place, thing_index, line, begin, end)
            _count(line, tally, y, x0, begin, end)


@compiled_inner
def _classify(stretched, place, able, evident, line, out, area):
    """Write the class of a row of pixels: the largest logit, the smallest class of a tie."""
    top, bottom, x0, rest, weight = place
    best, label, label8 = line.best, line.label, line.label8
    best[:] = -np.inf
    # Two classes at a time: what is best so far is read and written half as often.
    for i in range(0, len(able), 2):
        c, d = np.int32(able[i]), np.int32(able[min(i + 1, len(able) - 1)])
        above, below = stretched[c, top, x0:], stretched[c, bottom, x0:]
        above_d, below_d = stretched[d, top, x0:], stretched[d, bottom, x0:]
        for x in range(TILE_COLUMNS):
            value = above[x] * rest + below[x] * weight
            value_d = above_d[x] * rest + below_d[x] * weight
            larger = value_d > value
            value, either = value_d if larger else value, d if larger else c
            larger = value > best[x]
            best[x] = value if larger else best[x]
            label[x] = either if larger else label[x]
    if not evident:
        for x in range(TILE_COLUMNS):
            label[x] = label[x] if best[x] > np.float32(LEAST_EVIDENCE) else SEMANTIC_VOID
    label[len(out) :] = SEMANTIC_VOID
    for x in range(TILE_COLUMNS):
        label8[x] = label[x]
    for x in range(len(out)):
        out[x] = label8[x]
    for i in range(len(able)):
        c, same = np.uint8(able[i]), np.uint8(0)
        for x in range(TILE_COLUMNS):  # counts below 256, in bytes, 32 at once
            same = np.uint8(same + np.uint8(label8[x] == c))
        area[able[i]] += same


@compiled_inner
def _find_things(line, thing_index):
    """Note the thing classes of a row of pixels; return where the first and where the last is, in
    steps of _STEP.
    """
    begin, end = TILE_COLUMNS, 0
    for x in range(TILE_COLUMNS):
        thing = thing_index[line.label[x]]
        line.thing[x] = thing
        if thing >= 0:
            begin, end = min(begin, x), x + _STEP
    return min(begin, end) // _STEP * _STEP, end // _STEP * _STEP


@compiled_inner
def _point(stretched, place, scale, line, y):
    """Note where the offset of each pixel of a row points."""
    top, bottom, x0, rest, weight = place
    n, at_y, at_x = len(stretched) - 2, np.float32(y), np.float32(x0)
    above, below = stretched[n, top, x0:], stretched[n, bottom, x0:]
    for x in range(TILE_COLUMNS):
        line.y[x] = at_y + (above[x] * rest + below[x] * weight) * scale[0]
    above, below = stretched[n + 1, top, x0:], stretched[n + 1, bottom, x0:]
    for x in range(TILE_COLUMNS):  # whole numbers below 2^24 are exact
        line.x[x] = at_x + np.float32(x) + (above[x] * rest + below[x] * weight) * scale[1]


@compiled_inner
def _group(centers, line):
    """Find the centre nearest to where each thing pixel points, as `grouping.group_pixels`."""
    last = np.int32(0)
    for x in range(TILE_COLUMNS):
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
    if not (math.isfinite(y) and math.isfinite(x)):
        return np.int32(-1)
    row = y * np.float32(1 / CELL) + np.float32(MARGIN)
    column = x * np.float32(1 / CELL) + np.float32(MARGIN)
    high, wide = centers.listed.shape
    inside = row >= 0 and row < high and column >= 0 and column < wide
    count, cell = -1, (np.uint32(row if inside else 0), np.uint32(column if inside else 0))
    if inside:
        count = centers.listed[cell]
    nearby = centers.nearby[cell]
    nearest, best = np.int32(0), np.float32(np.inf)
    for i in range(count if count >= 0 else len(centers.y)):
        at = nearby[i] if count >= 0 else np.int32(i)
        dy, dx = centers.y[at] - y, centers.x[at] - x
        distance = math.sqrt(dy * dy + dx * dx)
        nearest = at if distance < best else nearest
        best = distance if distance < best else best
    return nearest


@compiled_scores
def _chances(stretched, place, thing_index, line, begin, end):
    """Compute the softmax numerators of the thing classes, and the inverse of its sum."""
    top, bottom, x0, rest, weight = place
    best, total = line.best[begin:end], line.total[begin:end]
    other, total[:] = line.other[begin:end], 0
    for c in range(len(stretched) - 2):
        above, below = stretched[c, top, x0 + begin :], stretched[c, bottom, x0 + begin :]
        thing = thing_index[c]
        chance = line.chances[thing, begin:end] if thing >= 0 else other
        for x in range(len(best)):
            value = _exp(above[x] * rest + below[x] * weight - best[x])
            chance[x] = value
            total[x] += value
    for x in range(len(best)):
        total[x] = np.float32(1) / total[x]


@inlined
def _exp(x):
    """e^x for x <= 0 to 3e-7 of 1; written out, so that it can be vectorised."""
    x = x if x > np.float32(-86) else np.float32(-86)
    whole = np.rint(x * np.float32(1.442695041))
    part = x * np.float32(1.442695041) - whole
    # 2^part for -1/2..1/2: the polynomial with the least relative error.
    y = part * np.float32(0.0013273148) + np.float32(0.0096803972)
    y = y * part + np.float32(0.0555076772)
    y = y * part + np.float32(0.2402200925)
    y = y * part + np.float32(0.6931468879)
    y = y * part + np.float32(1.0000001006)
    # The exponent of a float32 stands above the 23 bits of its fraction.
    power = np.int32(whole) << np.int32(23)
    return np.int32(np.float32(y).view(np.int32) + power).view(np.float32)


@compiled_inner
def _count(line, tally, y, x0, begin, end):
    """Add each run of pixels of one centre to its votes, sums and box."""
    x = begin
    while x < end:
        center, start = line.center[x], x
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
            share = _dot(line.chances[thing], line.total, start, x)
            tally.probability[center, thing] += np.int64(share * PROBABILITY_UNIT)


@compiled_scores
def _dot(a, b, start, stop):
    total = np.float32(0)
    for i in range(TILE_COLUMNS):  # a known number takes less than a few of them
        total += a[i] * b[i] if (i >= start) & (i < stop) else np.float32(0)
    return total
