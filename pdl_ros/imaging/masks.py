# mypy: allow-untyped-defs, no-check-untyped-defs
"""Masks of segments, from a label map: COCO run lengths, cropped bitmaps, polygons; and back.

`include/pdl_ros/masks.hpp` decodes the same in C++.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from pdl_ros.errors import PdlError, require
from pdl_ros.runtime.compiled import compiled, compiled_inner

_LONGEST = 7
"""Characters that a run length takes at most, of 5 bits each: 32 bits and a sign."""

MAX_MASK_PIXELS = 1 << 28
"""Most pixels of an image that are decoded: a message of a few bytes can claim any size."""


def coco_masks(labels: np.ndarray, ids: Sequence[int] | np.ndarray) -> list[bytes]:
    """Return the `counts` of COCO's compressed run lengths for each of S ids of a label map.

    labels: (H, W) int32, not negative: an instance map, or a panoptic map. With ``size = [H, W]``
    beside them the counts are what pycocotools calls an encoded mask. All segments are found in one
    pass, whatever their number; an id that is not in the map has an empty mask.
    """
    labels = np.ascontiguousarray(labels, np.int32)
    ids = np.asarray(ids, np.int64)
    row_of = np.full(max(labels.max(initial=0), ids.max(initial=0)) + 1, -1, np.int32)
    row_of[ids] = np.arange(len(ids))
    first, starts, ends = _find_runs(labels, row_of, len(ids))
    text = np.empty(_LONGEST * (2 * len(starts) + len(ids)), np.uint8)
    stops = np.empty(len(ids), np.int64)
    _compress(starts, ends, first, labels.size, text, stops)
    bounds = [0, *stops.tolist()]
    whole = text[: bounds[-1]].tobytes()
    return [whole[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]


def bitmap(labels: np.ndarray, segment_id: int, box: Sequence[int]) -> np.ndarray:
    """Return the (y1 - y0, x1 - x0) bool mask of a segment within its box (x0, y0, x1, y1)."""
    x0, y0, x1, y1 = box
    return labels[y0:y1, x0:x1] == segment_id


def mask_of(message: Any, instance: Any) -> np.ndarray:
    """Return the (H, W) bool mask of an instance of a PanopticInstanceArray, from ROS or a bag.

    Raises PdlError as `decode_mask` does.
    """
    box = instance.box
    corners = (box.x_offset, box.y_offset, box.x_offset + box.width, box.y_offset + box.height)
    encoding, data = instance.mask_encoding, instance.mask_data
    return decode_mask(encoding, data, message.height, message.width, corners)


def decode_mask(
    encoding: str,
    data: bytes | bytearray | memoryview | np.ndarray,
    height: int,
    width: int,
    box: Sequence[int],
) -> np.ndarray:
    """Return the (height, width) bool mask of an image that encoded bytes hold.

    encoding, data: `mask_encoding` and `mask_data` of a PanopticInstance. box: its (x0, y0, x1, y1)
    pixels, x1 and y1 exclusive. Raises PdlError where there is no mask, or one that contradicts
    itself, whatever the bytes are.
    """
    require(
        encoding not in ('', 'none'),
        "The message carries no mask; set the node's parameter mask_encoding to coco_rle.",
    )
    height, width = int(height), int(width)
    require(
        0 <= height * width <= MAX_MASK_PIXELS,
        f'An image of {width}x{height} pixels is larger than the {MAX_MASK_PIXELS} for which masks '
        'are decoded.',
    )
    x0, y0, x1, y1 = (int(edge) for edge in box)
    require(
        0 <= x0 <= x1 <= width and 0 <= y0 <= y1 <= height,
        f'The box reaches outside the image of {width}x{height} pixels.',
    )
    values = np.frombuffer(bytes(data), np.uint8)
    if encoding == 'coco_rle':
        return _decode_coco_rle(values, height, width)
    if encoding == 'bitmap':
        require(
            len(values) == (x1 - x0) * (y1 - y0),
            f'The mask is damaged: a bitmap of {len(values)} bytes for a box of '
            f'{x1 - x0}x{y1 - y0} pixels.',
        )
        mask = np.zeros((height, width), bool)
        mask[y0:y1, x0:x1] = values.reshape(y1 - y0, x1 - x0)
        return mask
    raise PdlError(
        f'The mask\'s encoding "{encoding[:40]}" is not known; it can be coco_rle or bitmap.'
    )


def polygons(labels: np.ndarray, segment_id: int, box: Sequence[int]) -> list[np.ndarray]:
    """Return the outlines of a segment's parts, each (n, 2) int32 (x, y) pixels of the image.

    The corners lie on pixels of the mask; holes are not told.
    """
    mask = bitmap(labels, segment_id, box).astype(np.uint8)
    corner = (int(box[0]), int(box[1]))
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=corner)
    return [outline[:, 0] for outline in outlines]


def _decode_coco_rle(values: np.ndarray, height: int, width: int) -> np.ndarray:
    lengths = _run_lengths(values)
    require(lengths.min(initial=0) >= 0, 'The mask is damaged: a run length is negative.')
    total = height * width
    # The longest first: a sum of damaged lengths may have no room in 64 bits.
    require(
        lengths.max(initial=0) <= total and lengths.sum() <= total,
        'The mask is damaged: its runs are longer than the image.',
    )
    require(
        lengths.sum() == total,
        f'The mask is damaged: its runs end after {lengths.sum()} of {total} pixels.',
    )
    columns = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(width, height)
    return np.ascontiguousarray(columns.T)


def _run_lengths(values: np.ndarray) -> np.ndarray:
    """Return the int64 run lengths of characters of 5 bits, as `_compress` writes them."""
    codes = values.astype(np.int64) - 48
    require(
        bool(((codes >= 0) & (codes < 64)).all()),
        'The mask is damaged: it has a byte that is no run length.',
    )
    last = np.flatnonzero(codes & 32 == 0)  # characters that nothing follows
    end = last[-1] + 1 if len(last) else 0
    require(end == len(codes), 'The mask is damaged: it ends within a run length.')
    characters = np.diff(last, prepend=-1)
    require(
        characters.max(initial=0) <= _LONGEST, 'The mask is damaged: a run length does not end.'
    )
    if not len(last):
        return last
    first = last + 1 - characters
    place = np.arange(len(codes)) - np.repeat(first, characters)
    lengths = np.add.reduceat((codes & 31) << 5 * place, first)
    lengths -= np.where(codes[last] & 16, 1 << 5 * characters, 0)
    # From the fourth on, each is told as the difference from the last but one.
    lengths[1::2] = np.cumsum(lengths[1::2])
    lengths[2::2] = np.cumsum(lengths[2::2])
    return lengths


def _find_runs(labels, row_of, segments):
    """Return where each segment's runs begin, and starts and ends in column-major order, segment by
    segment. A run ends at the foot of its column, though the next may begin with the same label.
    """
    height, width = labels.shape
    room, found = 0, 16 * width
    while found > room:  # rarely twice
        room = found
        runs = np.empty((room, 4), np.int32)
        found = _scan(labels, row_of, np.zeros(width, np.int32), runs)
    segment, column, start, end = runs[:found].T.astype(np.int64, 'C')
    # Runs are few: what is sorted is not the pixels.
    order = np.lexsort((column, segment))
    first = np.searchsorted(segment[order], np.arange(segments + 1))
    column, start, end = column[order], start[order], end[order]
    return first, column * height + start, column * height + end


@compiled
def _scan(labels, row_of, begin, runs):
    """Write the segment, column, first and last row + 1 of every run of a column's pixels, as far
    as there is room; return how many runs there are.

    The map is read in rows, as it lies in memory. begin: (W,) zeros; where each column's run began.
    """
    height, width = labels.shape
    found = 0
    for y in range(1, height + 1):
        above, below = labels[y - 1], labels[min(y, height - 1)]
        for x in range(width):
            if above[x] != below[x] or y == height:
                segment = row_of[above[x]]
                if segment >= 0:
                    if found < len(runs):
                        run = runs[found]
                        run[0], run[1], run[2], run[3] = segment, x, begin[x], y
                    found += 1
                begin[x] = y
    return found


@compiled
def _compress(starts, ends, first, size, text, stops):
    """Write each segment's counts: alternately of others' and of its own pixels, each less the last
    but one of its kind, in characters of 5 bits.
    """
    at = np.int64(0)
    for segment in range(len(stops)):
        end, counts = 0, 0
        others, own = 0, 0
        run = first[segment]
        while run < first[segment + 1]:
            start, stop = starts[run], ends[run]
            run += 1
            # From the foot of a column on at the head of the next.
            while run < first[segment + 1] and starts[run] == stop:
                stop = ends[run]
                run += 1
            gap, length = start - end, stop - start
            # The first three counts are written as they are.
            at = _write(gap - others if counts > 2 else gap, text, at)
            at = _write(length - own if counts > 1 else length, text, at)
            others, own, end = gap, length, stop
            counts += 2
        if end < size:
            at = _write(size - end - others if counts > 2 else size - end, text, at)
        stops[segment] = at


@compiled_inner
def _write(number, text, at):
    """Write a signed number, its low bits first; the last character repeats the sign."""
    more = True
    while more:
        bits = number & 31
        number >>= 5
        more = number != (-1 if bits & 16 else 0)
        text[at] = 48 + bits + (32 if more else 0)
        at += 1
    return at
