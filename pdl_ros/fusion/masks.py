# mypy: allow-untyped-defs, no-check-untyped-defs
"""Masks of segments, from a label map: COCO run lengths, cropped bitmaps, polygons."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from pdl_ros.fusion.compiled import compiled, compiled_inner

_STRIP = 16
"""Columns turned at a time: as many as share a cache line."""
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
    first = np.concatenate([[0], np.cumsum(_count_runs(labels, row_of, len(ids)))])
    starts, ends = np.empty((2, first[-1]), np.int64)
    _find_runs(labels, row_of, first[:-1].copy(), starts, ends)
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


@compiled
def _count_runs(labels, row_of, segments):
    """Count each segment's runs in column-major order: pixels whose predecessor is another's."""
    runs = np.zeros(segments, np.int64)
    height, width = labels.shape
    for y in range(height):
        line, above = labels[y], labels[y - 1]
        for x in range(width):
            if y > 0:
                before = above[x]
            elif x > 0:
                before = labels[height - 1, x - 1]  # the foot of the column to the left
            else:
                before = np.int32(-1)
            if line[x] != before and row_of[line[x]] >= 0:
                runs[row_of[line[x]]] += 1
    return runs


@compiled
def _find_runs(labels, row_of, position, starts, ends):
    """Write where runs start and end, column-major; position: (S,) where a segment writes next."""
    height, width = labels.shape
    turned = np.empty((_STRIP, height), np.int32)
    current, begin = np.int32(-1), 0
    for left in range(0, width, _STRIP):
        columns = min(_STRIP, width - left)
        for y in range(height):
            line = labels[y, left : left + columns]
            for x in range(columns):
                turned[x, y] = line[x]
        for x in range(columns):
            column = turned[x]
            for y in range(height):
                if column[y] != current:
                    here = (left + x) * height + y
                    _close(row_of, current, begin, here, position, starts, ends)
                    current, begin = column[y], here
    _close(row_of, current, begin, labels.size, position, starts, ends)


@compiled_inner
def _close(row_of, label, begin, end, position, starts, ends):
    if label >= 0 and row_of[label] >= 0:
        at = position[row_of[label]]
        starts[at], ends[at] = begin, end
        position[row_of[label]] = at + 1


@compiled_inner
def _compress(starts, ends, first, size, text, stops):
    """Write each segment's counts: alternately of others' and of its own pixels, each less the last
    but one of its kind, in characters of 5 bits.
    """
    at = 0
    for segment in range(len(stops)):
        end, counts = 0, 0
        others, own = 0, 0
        for run in range(first[segment], first[segment + 1]):
            gap, length = starts[run] - end, ends[run] - starts[run]
            # The first three counts are written as they are.
            at = _write(gap - others if counts > 2 else gap, text, at)
            at = _write(length - own if counts > 1 else length, text, at)
            others, own, end = gap, length, ends[run]
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
