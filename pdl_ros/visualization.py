"""Pictures of panoptic labels: colours, overlay, contours, legend and contact sheet.

Label maps are (H, W) int32 or uint16 of ``class_id * label_divisor + instance_id`` with 65535 for
void. Every picture is (H, W, 3) uint8 RGB. Colours come from tables indexed by label value, so the
time depends on the number of pixels only.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from functools import lru_cache

import cv2
import numpy as np

from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import PANOPTIC_VOID
from pdl_ros.runtime.compiled import compiled
from pdl_ros.runtime.thread_pool import num_threads, parallel_for

CONTOUR_COLOR = (255, 255, 255)
_GOLDEN = 0.618034  # steps of this part of a circle keep any few neighbours apart
_SHADES = 40  # of a class; the next instance begins anew
_SURE = 0.5  # how near a shade is to its class, by the distance to the next
_ENOUGH = 10 * _SHADES  # candidates of which the shades can be told apart
_APART = 26  # of 255: two colours that are told apart at a glance
_STRIP = 32  # rows that a core draws at a time
_GLANCE = 64  # pixels that are looked at together
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def colorize(panoptic: np.ndarray, label_set: LabelSet) -> np.ndarray:
    """Colour by class; instances of things in distinct shades of it, void black."""
    return _look_up(panoptic, _class_table(label_set))


def instances(panoptic: np.ndarray, label_set: LabelSet) -> np.ndarray:
    """Colour each thing in its own vivid colour, stuff in a dark shade of its class, void black."""
    return _look_up(panoptic, _instance_table(label_set))


def overlay(
    rgb: np.ndarray,
    panoptic: np.ndarray,
    label_set: LabelSet,
    alpha: float = 0.5,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Blend the colours of `colorize` into the image and draw contours inside things.

    alpha: 0 shows the image, 1 the colours; contours are drawn at any alpha. Void shows the image.
    out: a picture to draw in, of the image's shape and none of its memory.
    """
    if rgb.shape != (*panoptic.shape, 3):
        raise ValueError(f'image {rgb.shape} and labels {panoptic.shape} differ in size')
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f'alpha is {alpha}; it must be in 0..1')
    picture: np.ndarray = np.empty_like(rgb) if out is None else out
    table, mask = _class_table(label_set), contours(panoptic, label_set)

    def draw(start: int, stop: int) -> None:
        rows = slice(start, stop)
        colors = _look_up(panoptic[rows], table)
        cv2.addWeighted(colors, alpha, rgb[rows], 1.0 - alpha, 0.0, dst=picture[rows])
        void = (panoptic[rows] == PANOPTIC_VOID).view(np.uint8)
        cv2.copyTo(rgb[rows], void, picture[rows])
        _draw_contours(mask, picture, start, stop)

    _in_strips(draw, len(rgb))
    return picture


def contours(panoptic: np.ndarray, label_set: LabelSet) -> np.ndarray:
    """Return the (H, W) bool mask of the outermost pixels of things.

    They are one pixel wide, and wider in pictures of more than 1000 rows. The edge of the picture
    is no contour.
    """
    edge: np.ndarray = np.empty(panoptic.shape, np.uint8)
    _in_strips(lambda start, stop: _find_edges(panoptic, edge, start, stop), len(edge))
    width = max(round(panoptic.shape[0] / 720), 1)
    if width > 1:
        edge = cv2.dilate(edge, np.ones((2 * width - 1, 2 * width - 1), np.uint8))
    things = _thing_table(label_set)
    _in_strips(lambda start, stop: _keep_things(panoptic, things, edge, start, stop), len(edge))
    return edge.view(bool)


def legend(label_set: LabelSet, columns: int = 1, cell: tuple[int, int] = (24, 180)) -> np.ndarray:
    """Draw the class names beside their colours, filled column by column.

    cell: (height, width) of one entry in pixels; a long name is drawn smaller to fit.
    """
    height, width = cell
    rows = -(-label_set.num_classes // columns)
    picture = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for index, label_class in enumerate(label_set.classes):
        column, row = divmod(index, rows)
        y, x, pad = row * height, column * width, max(height // 8, 1)
        picture[y + pad : y + height - pad, x + pad : x + height + pad] = label_class.color
        room = (width - height - 4 * pad, height - 2 * pad)
        _write(picture, label_class.name, (x + height + 3 * pad, y + pad), room, (20, 20, 20))
    return picture


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str],
    width: int = 480,
    gap: int = 6,
    title_height: int = 30,
    caption: str = '',
) -> np.ndarray:
    """Set images in a grid under one title per column, and a caption under all.

    rows: each of one RGB image per title. width: of every column; images keep their proportions,
    and a row is as high as its highest image.
    """
    if not rows or any(len(row) != len(titles) for row in rows):
        raise ValueError(f'a sheet needs rows of {len(titles)} images, one for each title')
    scaled = [[to_width(image, width) for image in row] for row in rows]
    heights = [max(image.shape[0] for image in row) for row in scaled]
    high = title_height + sum(heights) + gap * (len(rows) + 1)
    high += title_height if caption else 0
    sheet = np.full((high, gap + (width + gap) * len(titles), 3), 255, np.uint8)
    for column, title in enumerate(titles):
        x = gap + column * (width + gap)
        _write(sheet, title, (x, gap), (width, title_height - gap), (20, 20, 20))
        y = title_height + gap
        for row, height in zip(scaled, heights, strict=True):
            image = row[column]
            sheet[y : y + image.shape[0], x : x + width] = image
            y += height + gap
    if caption:
        room = (sheet.shape[1] - 2 * gap, title_height - gap)
        _write(sheet, caption, (gap, high - title_height), room, (20, 20, 20))
    return sheet


def with_legend(sheet: np.ndarray, label_set: LabelSet, columns: int = 6) -> np.ndarray:
    """Return a sheet with the legend of a label set under it."""
    below, width = legend(label_set, columns), sheet.shape[1]
    if below.shape[1] > width:
        below = to_width(below, width)
    white = np.full((len(below), width - below.shape[1], 3), 255, np.uint8)
    return np.vstack([sheet, np.hstack([below, white])])


def with_caption(image: np.ndarray, text: str, height: int = 22) -> np.ndarray:
    """Return an image with text under it, on white; height: of a line."""
    width = image.shape[1]
    lines = textwrap.wrap(text, max(2 * width // height, 1))
    below = np.full((height * len(lines), width, 3), 255, np.uint8)
    for place, line in enumerate(lines):
        _write(below, line, (2, place * height), (width - 4, height), (20, 20, 20))
    return np.vstack([image, below])


def to_width(image: np.ndarray, width: int) -> np.ndarray:
    """Return an image at a width, in its proportions."""
    height = max(round(image.shape[0] * width / image.shape[1]), 1)
    shrinks = width < image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST_EXACT  # enlarged labels stay crisp
    return cv2.resize(image, (width, height), interpolation=method)


def labels_at_size(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a label map at the (height, width) of its image, if it has another size."""
    if labels.shape == size:
        return labels
    height, width = size
    return cv2.resize(
        labels.astype(np.int32), (width, height), interpolation=cv2.INTER_NEAREST_EXACT
    )


def _in_strips(task: Callable[[int, int], None], rows: int) -> None:
    """Call task(start, stop) for strips of rows, on all cores."""
    parallel_for(
        lambda strip, _: task(strip * _STRIP, min((strip + 1) * _STRIP, rows)),
        -(-rows // _STRIP),
        num_threads(),
    )


@compiled
def _find_edges(panoptic, edge, start, stop):  # type: ignore[no-untyped-def]
    """Mark the pixels with another label beside, above or below them, 1 or 0."""
    height, width = panoptic.shape
    for y in range(start, stop):
        row, out = panoptic[y], edge[y]
        above, below = panoptic[max(y - 1, 0)], panoptic[min(y + 1, height - 1)]
        for x in range(width):
            out[x] = (row[x] != above[x]) | (row[x] != below[x])
        for x in range(1, width):
            out[x] |= row[x] != row[x - 1]
        for x in range(width - 1):
            out[x] |= row[x] != row[x + 1]


@compiled
def _keep_things(panoptic, thing, edge, start, stop):  # type: ignore[no-untyped-def]
    """Clear the marks of pixels that belong to no thing."""
    last = len(thing) - 1
    for y in range(start, stop):
        for x in range(panoptic.shape[1]):
            if edge[y, x]:
                edge[y, x] = thing[min(max(panoptic[y, x], 0), last)]


@compiled
def _draw_contours(contour, picture, start, stop):  # type: ignore[no-untyped-def]
    red, green, blue = CONTOUR_COLOR
    width = contour.shape[1]
    for y in range(start, stop):
        for first in range(0, width, _GLANCE):
            last = min(first + _GLANCE, width)
            marks, pixels = contour[y, first:last], picture[y, first:last]
            some = False
            for x in range(len(marks)):
                some |= marks[x]
            for x in range(len(marks) if some else 0):
                if marks[x]:
                    pixels[x, 0], pixels[x, 1], pixels[x, 2] = red, green, blue


def _look_up(panoptic: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Colour pixels by a table of packed colours: four bytes are looked up faster than three."""
    packed = table.take(panoptic, mode='clip')
    return cv2.cvtColor(packed.view(np.uint8).reshape(*panoptic.shape, 4), cv2.COLOR_RGBA2RGB)


@lru_cache(maxsize=16)
def _class_table(label_set: LabelSet) -> np.ndarray:
    """Return the packed colour of every label value: class colours, and their shades for things."""
    class_id, instance, thing = _columns(label_set)
    colors = label_set.colors[class_id]
    shades = np.zeros((256, _SHADES, 3), np.uint8)
    for c in label_set.thing_ids:
        shades[c] = _shades(label_set.colors[c], label_set.colors)
    counted = thing & (instance > 0)
    colors[counted] = shades[class_id[counted], (instance[counted] - 1) % _SHADES]
    return _pack(colors)


def _shades(color: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Return the (_SHADES, 3) uint8 colours of the instances of a class of that colour, itself
    first.

    Each is nearer to it than to any other of `colors`, those of all classes and of void, and to the
    eye twice as near, if there are enough of these; far from the two before it, and as far as then
    may be from all others.
    """
    shades = _candidates(color.astype(np.float32))
    others = colors[(colors != color).any(1)]
    shades = shades[_doubt(shades, color, others) < 1]
    sure = _doubt(_to_lab(shades), _to_lab(color), _to_lab(others)) < _SURE
    if np.count_nonzero(sure) >= _ENOUGH:
        shades = shades[sure]
    chosen, nearest = [0], np.full(len(shades), np.inf)
    for place in range(1, _SHADES):
        nearest = np.minimum(nearest, _apart(shades, shades[chosen[-1]]))
        # In a ring: after the last shade comes the first.
        ring = [i % _SHADES for i in (place - 2, place - 1, place + 1, place + 2) if i >= 0]
        beside = np.min([_apart(shades, shades[chosen[i]]) for i in ring if i < place], 0)
        apart = beside >= min(_APART, beside.max())
        chosen.append(int(np.where(apart, nearest, -1).argmax()))
    return shades[chosen].astype(np.uint8)


def _doubt(shades: np.ndarray, color: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return how far (N, 3) shades are from their own colour, by the nearest other's distance."""
    own = _distances(shades, np.atleast_2d(color))[:, 0]
    return own / np.maximum(_distances(shades, others).min(1), 1e-6)


def _distances(colors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the (N, M) distances of (N, 3) colours from (M, 3) others."""
    return np.linalg.norm(colors[:, None].astype(np.float64) - others, axis=2)


def _to_lab(colors: np.ndarray) -> np.ndarray:
    """Return (N, 3) RGB in a space of colours in which distances are as people see them."""
    rgb = np.atleast_2d(colors).astype(np.float32) / 255
    return cv2.cvtColor(rgb[None], cv2.COLOR_RGB2LAB)[0]


def _candidates(color: np.ndarray) -> np.ndarray:
    """Return (N, 3) colours that look like a colour, itself first: darker and lighter ones of about
    its hue, and what lies around it, because grey has no hue.
    """
    hue, _, saturation = cv2.cvtColor(color[None, None] / 255, cv2.COLOR_RGB2HLS)[0, 0]
    hues, lights, strengths = np.linspace(-20, 20, 5), np.linspace(0.15, 0.85, 20), (1, 0.8, 0.6)
    hls = np.stack(np.meshgrid((hue + hues) % 360, lights, saturation * np.array(strengths)), -1)
    like = 255 * cv2.cvtColor(hls.reshape(-1, 1, 3).astype(np.float32), cv2.COLOR_HLS2RGB)[:, 0]
    steps = np.linspace(-36, 36, 9)
    around = color + np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3)
    rounded = np.clip(np.rint(np.concatenate([color[None], like, around])), 0, 255)
    return rounded.astype(np.float32)


def _apart(colors: np.ndarray, color: np.ndarray) -> np.ndarray:
    """Return how far (N, 3) colours are from one, in the channel in which they differ most."""
    apart: np.ndarray = np.abs(colors - color).max(1)
    return apart


@lru_cache(maxsize=16)
def _instance_table(label_set: LabelSet) -> np.ndarray:
    """Return the packed colour of every label value: vivid for things, dark for stuff."""
    class_id, instance, thing = _columns(label_set)
    hue = 360 * ((instance + 3 * class_id) * _GOLDEN % 1)
    value = 0.75 + 0.25 * (instance * _GOLDEN**2 % 1)
    hsv = np.stack([hue, np.full_like(hue, 0.8), value], 1).astype(np.float32)
    vivid = np.rint(255 * cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0]).astype(np.uint8)
    return _pack(np.where(thing[:, None], vivid, label_set.colors[class_id] // 4))


@lru_cache(maxsize=16)
def _thing_table(label_set: LabelSet) -> np.ndarray:
    """Return for every label value whether it is a thing."""
    return _columns(label_set)[2]


def _columns(label_set: LabelSet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return class id (255 = none), instance id and is-thing of every label value, in order.

    Reaches at least to 65535, and one further than any class, where larger values end up.
    """
    values = np.arange(max(label_set.num_classes * label_set.label_divisor, PANOPTIC_VOID + 1) + 1)
    class_id, instance = np.divmod(values, label_set.label_divisor)
    class_id[(class_id >= label_set.num_classes) | (values == PANOPTIC_VOID)] = 255
    return class_id, instance, np.isin(class_id, label_set.thing_ids)


def _pack(colors: np.ndarray) -> np.ndarray:
    """Return (N, 3) uint8 colours as (N,) uint32 whose bytes are r, g, b, 255."""
    alpha = np.full((len(colors), 1), 255, np.uint8)
    return np.concatenate([colors.astype(np.uint8), alpha], 1).view(np.uint32)[:, 0]


def _write(
    picture: np.ndarray,
    text: str,
    corner: tuple[int, int],
    room: tuple[int, int],
    color: tuple[int, int, int],
) -> None:
    """Write a line of text as large as fits into `room` (width, height) below a corner (x, y)."""
    (_, height), base = cv2.getTextSize('Ag', _FONT, 1.0, 1)  # the same for every text
    (width, _), _ = cv2.getTextSize(text, _FONT, 1.0, 1)
    scale = min(room[0] / max(width, 1), 0.85 * room[1] / (height + base))
    y = corner[1] + round((room[1] + (height - base) * scale) / 2)
    cv2.putText(picture, text, (corner[0], y), _FONT, scale, color, 1, cv2.LINE_AA)
