"""Things out of polygons and run lengths, and stuff out of a semantic PNG beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pdl_ros.datasets.source import SourceLabels, SourceSegment
from pdl_ros.errors import PdlError, require
from pdl_ros.imaging.files import read_samples
from pdl_ros.labels.label_set import SEMANTIC_VOID

_FINE = 5  # COCO draws outlines on a grid of fifths of pixels
_FARTHEST = 1 << 17  # pixels; corners lie at most a little outside of images
_SEMANTIC, _FIRST_THING = 1, 1000  # values of the map: 0 is unlabelled


class Mask(NamedTuple):
    """A part of a mask: inside, (h, w) bool, lies at (top, left) of its image."""

    top: int
    left: int
    inside: np.ndarray


class Instance(NamedTuple):
    """A thing of an image. draw: (height, width) -> the parts of its mask."""

    class_id: int
    is_crowd: bool
    draw: Callable[[tuple[int, int]], list[Mask]]


def paint(
    instances: Sequence[Instance], size: tuple[int, int], semantic: Path, where: str
) -> SourceLabels:
    """Draw the things of an image of (height, width) over its stuff.

    Crowds first, then the large before the small: of two things that overlap, the smaller one is in
    front, as a rule. semantic: an 8-bit PNG of values, 255 = nobody labelled it; need not exist.
    where: the labels, for messages.
    """
    values, stuff = np.zeros(size, np.int32), list[int]()
    if semantic.is_file():
        values, stuff = _read_semantic(semantic, size)
    try:
        masks = [instance.draw(size) for instance in instances]
    except (PdlError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise PdlError(f'{where}: {str(error).rstrip(".")}.') from None
    areas = [sum(int(np.count_nonzero(m.inside)) for m in parts) for parts in masks]
    order = sorted(range(len(masks)), key=lambda i: (not instances[i].is_crowd, -areas[i]))
    for i in order:
        for top, left, inside in masks[i]:
            height, width = inside.shape
            values[top : top + height, left : left + width][inside] = _FIRST_THING + i
    segments = [SourceSegment(_SEMANTIC + v, v, from_semantic=True) for v in stuff]
    segments += [
        SourceSegment(_FIRST_THING + i, instance.class_id, instance.is_crowd)
        for i, instance in enumerate(instances)
    ]
    return SourceLabels(values, tuple(segments), unlabelled=0)


def polygon_mask(corners: np.ndarray, size: tuple[int, int]) -> Mask:
    """Return the mask of a polygon of (N, 2) x, y, pixel for pixel that of pycocotools.

    Its outline is walked on a grid of fifths of pixels. Where it passes the middle of a column of
    pixels, that column turns from outside to inside or back.
    """
    height, width = size
    if not np.isfinite(corners).all() or np.abs(corners).max(initial=0) > _FARTHEST:
        raise PdlError('a corner of a polygon is far outside of the image')
    # Truncated towards zero, as a cast in C does it.
    x, y = _outline(np.trunc(_FINE * corners.astype(np.float64) + 0.5).astype(np.int64))
    column, rest = np.divmod(np.minimum(x[1:], x[:-1]) - _FINE // 2, _FINE)
    crosses = (x[1:] != x[:-1]) & (rest == 0) & (column >= 0) & (column < width)
    row = np.minimum(y[1:], y[:-1])[crosses]
    row = np.ceil(((row + 0.5) / _FINE - 0.5).clip(0, height)).astype(np.int64)
    column = column[crosses]
    if not len(column):
        return Mask(0, 0, np.zeros((0, 0), bool))
    top, left = int(row.min()), int(column.min())
    rows, columns = int(row.max()) - top, int(column.max()) - left + 1
    place = (column - left) * (rows + 1) + row - top
    turns = np.bincount(place, minlength=columns * (rows + 1)).reshape(columns, rows + 1)
    return Mask(top, left, (np.cumsum(turns, axis=1)[:, :rows] & 1).astype(bool).T)


def run_length_mask(segmentation: Mapping[str, Any], size: tuple[int, int]) -> Mask:
    """Return the mask of COCO's run lengths, as a string or as numbers.

    Raises PdlError, KeyError, TypeError or ValueError where they are none, or of another size.
    """
    from pdl_ros.imaging.masks import decode_mask  # numba, which opening a data set needs not

    told = tuple(int(v) for v in segmentation['size'])
    require(told == size, f'run lengths are of {told[1]}x{told[0]}, not {size[1]}x{size[0]}')
    counts = segmentation['counts']
    if isinstance(counts, str):
        whole = (0, 0, size[1], size[0])
        return Mask(0, 0, decode_mask('coco_rle', counts.encode(), *size, whole))
    lengths = np.asarray(counts, np.int64)
    require(
        bool((lengths >= 0).all()) and float(lengths.sum(dtype=float)) == size[0] * size[1],
        'run lengths do not fill the image',
    )
    columns = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return Mask(0, 0, columns.reshape(size[1], size[0]).T)


def _outline(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the x and y of all grid points along a closed polygon, edge by edge.

    Each edge is walked along its longer axis, from its lower end, so that one that two polygons
    share has the same points in both.
    """
    start, end = corners, np.roll(corners, -1, axis=0)
    span = np.abs(end - start)
    along_x = span[:, 0] >= span[:, 1]
    flip = np.where(along_x, start[:, 0] > end[:, 0], start[:, 1] > end[:, 1])
    low, high = np.where(flip[:, None], end, start), np.where(flip[:, None], start, end)
    steps = span.max(1)
    with np.errstate(invalid='ignore', divide='ignore'):
        slope = (high - low)[np.arange(len(low)), along_x.astype(int)] / steps
    edge = np.repeat(np.arange(len(corners)), steps + 1)
    place = np.arange(len(edge)) - np.repeat(np.cumsum(steps + 1) - steps - 1, steps + 1)
    place = np.where(flip[edge], steps[edge] - place, place)
    slope = np.where(steps > 0, slope, 0)[edge]
    across = along_x[edge].astype(int)  # the other axis: y (1) of an edge along x
    main = low[edge, 1 - across] + place
    other = np.trunc(low[edge, across] + slope * place + 0.5).astype(np.int64)
    return np.where(across == 1, main, other), np.where(across == 1, other, main)


def _read_semantic(file: Path, size: tuple[int, int]) -> tuple[np.ndarray, list[int]]:
    values = read_samples(file)
    require(
        values.ndim == 2 and values.dtype == np.uint8,
        f'{file} must be a one-channel 8-bit PNG of classes.',
    )
    require(
        values.shape == size,
        f'{file} is {values.shape[1]}x{values.shape[0]}, but its polygons are for '
        f'{size[1]}x{size[0]}.',
    )
    found = np.flatnonzero(np.bincount(values.ravel())).tolist()
    stuff = [v for v in found if v != SEMANTIC_VOID]
    shifted = values.astype(np.int32) + _SEMANTIC
    return np.where(values == SEMANTIC_VOID, 0, shifted), stuff
