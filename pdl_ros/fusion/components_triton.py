# mypy: allow-untyped-defs, allow-incomplete-defs, no-check-untyped-defs
"""`components.find_components` on a GPU: every thing pixel hangs on one that comes before it, until
all of a part hang on its first pixel.

The kernels are launched for every frame, as the host does not know how many centres it has; where
there are some, every mask is empty and they end at once. Programs may hang the same pixel on two
others at a time: an atomic minimum tells which was there before, and both are then joined (Komura,
"GPU-based cluster-labeling algorithm without the use of conventional iteration", 2015).
"""

from __future__ import annotations

import triton
import triton.language as tl

from pdl_ros.fusion.kernels_triton import count_pixels


@triton.jit
def begin_components(
    semantic, thing_index, center_count, parent, size, width, height, BLOCK: tl.constexpr
):
    """Let every thing pixel hang on itself, and every other on none (-1); set all sizes to 0."""
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = (pixel < height * width) & (tl.load(center_count) == 0)
    label = tl.load(semantic + pixel, mask=inside, other=0).to(tl.int32)
    thing = tl.load(thing_index + label, mask=inside, other=-1)
    tl.store(parent + pixel, tl.where(thing >= 0, pixel, -1), mask=inside)
    tl.store(size + pixel, 0, mask=inside)


@triton.jit
def join_components(semantic, center_count, parent, width, height, BLOCK: tl.constexpr):
    """Join every thing pixel with those of its right and its three upper neighbours that have its
    class.
    """
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = (pixel < height * width) & (tl.load(center_count) == 0)
    y, x = pixel // width, pixel % width
    label = tl.load(semantic + pixel, mask=inside, other=0)
    inside = inside & (tl.load(parent + pixel, mask=inside, other=-1) >= 0)
    for neighbour in tl.static_range(4):  # right, above left, above, above right
        up, along = (neighbour + 2) // 3, (neighbour + 2) % 3 - 1
        there = inside & (y >= up) & (x + along >= 0) & (x + along < width)
        other = pixel - up * width + along
        same = there & (tl.load(semantic + other, mask=there, other=0) == label)
        _join(parent, pixel, other, same)


@triton.jit
def measure_components(center_count, parent, size, width, height, BLOCK: tl.constexpr):
    """Hang every thing pixel on the first of its part, and count the pixels of each part there."""
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = (pixel < height * width) & (tl.load(center_count) == 0)
    inside = inside & (tl.load(parent + pixel, mask=inside, other=-1) >= 0)
    first = _first(parent, pixel, inside)
    tl.store(parent + pixel, first, mask=inside)
    tl.atomic_add(size + first, 1, mask=inside)


@triton.jit
def number_components(
    center_count, parent, size, width, height, smallest, most, BLOCK: tl.constexpr
):
    """Put the number 1.. of each part in the place of its size, in reading order; 0: too small, or
    beyond the most. One program does it, block after block.
    """
    before = 0
    for start in range(0, tl.where(tl.load(center_count) == 0, height * width, 0), BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        inside = pixel < height * width
        first = tl.load(parent + pixel, mask=inside, other=-1) == pixel
        large = first & (tl.load(size + pixel, mask=first, other=0) >= smallest)
        number = before + tl.cumsum(large.to(tl.int32), 0)
        tl.store(size + pixel, tl.where(large & (number <= most), number, 0), mask=first)
        before += tl.sum(large.to(tl.int32), 0)


@triton.jit
def count_components(
    semantic, thing_index, things, center_count, parent, numbers,
    instance, votes, box, moment, width, height, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the number of its part for each pixel, and count it as `classify_and_group` counts."""
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = (pixel < height * width) & (tl.load(center_count) == 0)
    first = tl.load(parent + pixel, mask=inside, other=-1)
    inside = inside & (first >= 0)
    number = tl.load(numbers + first, mask=inside, other=0)
    label = tl.load(semantic + pixel, mask=inside, other=0).to(tl.int32)
    thing = tl.load(thing_index + label, mask=inside, other=0)
    tl.store(instance + pixel, number, mask=inside)
    kept = inside & (number > 0)
    count_pixels(votes, box, moment, things, number - 1, thing, pixel // width, pixel % width, kept)


@triton.jit
def _first(parent, pixel, wanted):
    """Follow each pixel to the one that hangs on itself."""
    above = tl.load(parent + pixel, mask=wanted, other=0)
    going = wanted & (above != pixel)
    while tl.max(going.to(tl.int32), 0) > 0:
        pixel = tl.where(going, above, pixel)
        above = tl.load(parent + pixel, mask=going, other=0)
        going = going & (above != pixel)
    return pixel


@triton.jit
def _join(parent, one, other, wanted):
    """Hang the later of the first pixels of two parts on the earlier."""
    while tl.max(wanted.to(tl.int32), 0) > 0:
        one, other = _first(parent, one, wanted), _first(parent, other, wanted)
        later, earlier = tl.maximum(one, other), tl.minimum(one, other)
        wanted = wanted & (later != earlier)
        before = tl.atomic_min(parent + later, earlier, mask=wanted)
        # Another program was quicker: what it hung the later one on belongs to the part as well.
        wanted = wanted & (before != later)
        one, other = tl.where(wanted, before, later), earlier
