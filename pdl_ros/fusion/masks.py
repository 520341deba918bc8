# mypy: allow-untyped-defs, no-check-untyped-defs
"""Masks of segments, from a label map: COCO run lengths, cropped bitmaps, polygons."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from pdl_ros.fusion.compiled import compiled, compiled_inner

_LONGEST = 7
"""Characters that a run length takes at most, of 5 bits each: 32 bits and a sign."""


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
    segments, starts, ends = _find_runs(labels, row_of)
    first, starts, ends = _sort_runs(segments, starts, ends, len(ids))
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


def polygons(labels: np.ndarray, segment_id: int, box: Sequence[int]) -> list[np.ndarray]:
    """Return the outlines of a segment's parts, each (n, 2) int32 (x, y) pixels of the image.

    The corners lie on pixels of the mask; holes are not told.
    """
    mask = bitmap(labels, segment_id, box).astype(np.uint8)
    corner = (int(box[0]), int(box[1]))
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=corner)
    return [outline[:, 0] for outline in outlines]


def _find_runs(labels, row_of):
    """Return the segment, start and end of every run of a column's pixels, column by column.

    The map is read in rows, as it lies in memory: once to count the runs of every column, once to
    write them after those of the columns to the left.
    """
    counts = np.zeros(labels.shape[1], np.int64)
    nothing = np.empty(0, np.int64)
    _scan(labels, row_of, np.zeros_like(counts), counts, nothing, nothing, nothing)
    total = int(counts.sum())
    segments, starts, ends = np.empty((3, total), np.int64)
    _scan(labels, row_of, np.zeros_like(counts), counts.cumsum() - counts, segments, starts, ends)
    return segments, starts, ends


@compiled_inner
def _scan(labels, row_of, begin, position, segments, starts, ends):
    """Move the position of a column on for each of its runs; write the run there, if there is room.

    begin: (W,) zeros; where the run of each column began.
    """
    height, width = labels.shape
    for y in range(1, height + 1):
        above, below = labels[y - 1], labels[min(y, height - 1)]
        for x in range(width):
            if above[x] != below[x] or y == height:
                segment = row_of[above[x]]
                if segment >= 0:
                    at = position[x]
                    if at < len(segments):
                        segments[at] = segment
                        starts[at], ends[at] = x * height + begin[x], x * height + y
                    position[x] = at + 1
                begin[x] = y


@compiled
def _sort_runs(segments, starts, ends, count):
    """Return where each segment's runs begin, and starts and ends, segment by segment."""
    first = np.zeros(count + 1, np.int64)
    for segment in segments:
        first[segment + 1] += 1
    first = np.cumsum(first)
    position = first.copy()
    sorted_starts, sorted_ends = np.empty_like(starts), np.empty_like(ends)
    for run in range(len(segments)):
        at = position[segments[run]]
        sorted_starts[at], sorted_ends[at] = starts[run], ends[run]
        position[segments[run]] = at + 1
    return first, sorted_starts, sorted_ends


@compiled_inner
def _compress(starts, ends, first, size, text, stops):
    """Write each segment's counts: alternately of others' and of its own pixels, each less the last
    but one of its kind, in characters of 5 bits.
    """
    at = 0
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
