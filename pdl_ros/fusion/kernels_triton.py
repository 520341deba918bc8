# mypy: allow-untyped-defs, allow-incomplete-defs, no-check-untyped-defs
"""The per-pixel work of the fusion on a GPU, rounded as `reference.fuse_frame` rounds it.

Each program takes BLOCK pixels of one frame, counted row by row. Heads are read where they are, by
their strides; nothing at output size is written but the label maps. Launch with
``enable_fp_fusion=False``: a product rounded with its sum moves the border between two classes.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def classify_and_group(
    logits, logit_channel, logit_row, logit_column, channels,
    offset, offset_channel, offset_row, offset_column, scale_y, scale_x,
    top, bottom, down, left, right, along,
    center_y, center_x, center_count, thing_index, things,
    semantic, instance, area, votes, box, moment,
    height, width,
    BLOCK: tl.constexpr, NO_EVIDENCE: tl.constexpr, LEAST_EVIDENCE: tl.constexpr,
):  # fmt: skip
    """Write each pixel's class and the index 1..K of its centre (0: none), and count both.

    top, bottom, left, right: int32 and down, along: float32 of `sampling.Axis`. center_y, center_x:
    (K,) float32, of which the first center_count[0] are centres. thing_index: (256,) int32. The
    counters are those of `tables.Counts`: area (256,), votes (K, T), box (K, 4) of lowest x and y,
    highest x and y, moment (K, 2) of y and x.
    """
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < height * width
    y, x = pixel // width, pixel % width
    up, low, wy = _axis(top, bottom, down, y, inside)
    near, far, wx = _axis(left, right, along, x, inside)

    best = tl.full((BLOCK,), float('-inf'), tl.float32)
    label = tl.full((BLOCK,), 255, tl.int32)
    for c in range(0, channels):
        value = _sample(
            logits + c * logit_channel, logit_row, logit_column,
            up, low, wy, near, far, wx, inside, NO_EVIDENCE,
        )  # fmt: skip
        larger = value > best  # strictly: a tie goes to the smallest class
        best = tl.where(larger, value, best)
        label = tl.where(larger, c, label)
    label = tl.where(best > LEAST_EVIDENCE, label, 255)
    tl.store(semantic + pixel, label.to(tl.uint8), mask=inside)
    for c in range(0, channels):  # one addition a block instead of one a pixel
        count = tl.sum(((label == c) & inside).to(tl.int32), 0)
        tl.atomic_add(area + c, count.to(tl.int64))

    thing = tl.load(thing_index + label, mask=inside, other=-1)
    wanted = inside & (thing >= 0)
    nan = float('nan')
    dy = _sample(offset, offset_row, offset_column, up, low, wy, near, far, wx, wanted, nan)
    dx = _sample(
        offset + offset_channel, offset_row, offset_column, up, low, wy, near, far, wx, wanted, nan
    )
    target_y, target_x = y.to(tl.float32) + dy * scale_y, x.to(tl.float32) + dx * scale_x
    nearest = tl.full((BLOCK,), 0, tl.int32)
    closest = tl.full((BLOCK,), float('inf'), tl.float32)
    centers = tl.load(center_count)
    for i in range(0, centers):
        away_y = tl.load(center_y + i) - target_y
        away_x = tl.load(center_x + i) - target_x
        distance = tl.sqrt_rn(away_y * away_y + away_x * away_x)
        closer = distance < closest
        closest = tl.where(closer, distance, closest)
        nearest = tl.where(closer, i, nearest)
    points = (tl.abs(target_y) < float('inf')) & (tl.abs(target_x) < float('inf'))
    grouped = wanted & points & (centers > 0)
    tl.store(instance + pixel, tl.where(grouped, nearest + 1, 0), mask=inside)
    count_pixels(votes, box, moment, things, nearest, thing, y, x, grouped)


@triton.jit
def count_pixels(votes, box, moment, things, slot, thing, y, x, counted):
    """Add pixels to the votes, the boxes and the moments of their slots."""
    tl.atomic_add(votes + slot * things + thing, 1, mask=counted)
    tl.atomic_min(box + slot * 4, x, mask=counted)
    tl.atomic_min(box + slot * 4 + 1, y, mask=counted)
    tl.atomic_max(box + slot * 4 + 2, x, mask=counted)
    tl.atomic_max(box + slot * 4 + 3, y, mask=counted)
    tl.atomic_add(moment + slot * 2, y.to(tl.int64), mask=counted)
    tl.atomic_add(moment + slot * 2 + 1, x.to(tl.int64), mask=counted)


@triton.jit
def split_outvoted(
    semantic, thing_index, things, second, slots, instance, votes, box, moment, width, height,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Move the pixels of class second[k] of slot k to slot K + k, and count all pixels anew.

    second: (K,) int32 position among the thing classes, -1: none.
    """
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < height * width
    slot = tl.load(instance + pixel, mask=inside, other=0) - 1
    grouped = slot >= 0
    label = tl.load(semantic + pixel, mask=grouped, other=0).to(tl.int32)
    thing = tl.load(thing_index + label, mask=grouped, other=0)
    other = tl.load(second + slot, mask=grouped, other=-1)
    slot = tl.where(thing == other, slot + slots, slot)
    tl.store(instance + pixel, slot + 1, mask=grouped)
    count_pixels(votes, box, moment, things, slot, thing, pixel // width, pixel % width, grouped)


@triton.jit
def sum_probability(
    logits, logit_channel, logit_row, logit_column, channels,
    top, bottom, down, left, right, along,
    instance, winner, things, class_of_thing, probability,
    height, width,
    BLOCK: tl.constexpr, NO_EVIDENCE: tl.constexpr, UNIT: tl.constexpr,
):  # fmt: skip
    """Add each grouped pixel's softmax probability of its instance's class to (K, T) int64
    `probability`, in whole multiples of 1 / UNIT, so that the order cannot matter.

    winner: (K,) int32 position of the instance's class among the thing classes.
    """
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < height * width
    y, x = pixel // width, pixel % width
    index = tl.load(instance + pixel, mask=inside, other=0) - 1
    grouped = index >= 0
    position = tl.load(winner + index, mask=grouped, other=0)
    own_class = tl.load(class_of_thing + position, mask=grouped, other=0)
    up, low, wy = _axis(top, bottom, down, y, grouped)
    near, far, wx = _axis(left, right, along, x, grouped)
    best = tl.full((BLOCK,), float('-inf'), tl.float32)
    for c in range(0, channels):
        value = _sample(
            logits + c * logit_channel, logit_row, logit_column,
            up, low, wy, near, far, wx, grouped, NO_EVIDENCE,
        )  # fmt: skip
        best = tl.maximum(best, value)
    total = tl.full((BLOCK,), 0, tl.float32)
    own = tl.full((BLOCK,), 0, tl.float32)
    for c in range(0, channels):
        value = _sample(
            logits + c * logit_channel, logit_row, logit_column,
            up, low, wy, near, far, wx, grouped, NO_EVIDENCE,
        )  # fmt: skip
        chance = tl.exp(value - best)
        total += chance
        own = tl.where(own_class == c, chance, own)
    share = (own / total * UNIT).to(tl.int64)
    tl.atomic_add(probability + index * things + position, share, mask=grouped)


@triton.jit
def write_labels(
    semantic, instance, panoptic, running, panoptic_ids, stuff_ids, count, BLOCK: tl.constexpr
):
    """Turn each pixel's class and centre index 1..K into its labels; see `tables.Labels`."""
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < count
    label = tl.load(semantic + pixel, mask=inside, other=0).to(tl.int32)
    index = tl.load(instance + pixel, mask=inside, other=0)
    stuff = tl.load(stuff_ids + label, mask=inside, other=0)
    thing = tl.load(panoptic_ids + index, mask=inside, other=0)
    tl.store(panoptic + pixel, tl.where(index > 0, thing, stuff), mask=inside)
    number = tl.load(running + index, mask=inside, other=0)
    tl.store(instance + pixel, number, mask=inside)


@triton.jit
def _axis(lower, upper, weight, at, inside):
    return (
        tl.load(lower + at, mask=inside, other=0),
        tl.load(upper + at, mask=inside, other=0),
        tl.load(weight + at, mask=inside, other=0),
    )


@triton.jit
def _sample(head, row, column, up, low, wy, near, far, wx, inside, otherwise):
    """Sample one channel bilinearly, first along the rows, then down, as `sampling.sample`."""
    upper = _tap(head + up * row + near * column, inside, otherwise) * (1 - wx)
    upper += _tap(head + up * row + far * column, inside, otherwise) * wx
    lower = _tap(head + low * row + near * column, inside, otherwise) * (1 - wx)
    lower += _tap(head + low * row + far * column, inside, otherwise) * wx
    return upper * (1 - wy) + lower * wy


@triton.jit
def _tap(address, inside, otherwise):
    """Load a sample of a head, made usable as `sampling.usable` makes it."""
    value = tl.load(address, mask=inside, other=0).to(tl.float32)
    limited = tl.minimum(tl.maximum(value, -1e18), 1e18)
    return tl.where(tl.abs(value) < float('inf'), limited, otherwise)
