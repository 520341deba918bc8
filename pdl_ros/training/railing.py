"""Railings drawn in front of a picture, so that what stands behind one is still learnt as one
thing: a street is often seen through a railing, and few labelled pictures are.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from pdl_ros.datasets.record import Sample, Segment, unused_id

_SHIFT = 4  # OpenCV's lines take whole numbers: sixteenths of a pixel
Bar = tuple[tuple[float, float], tuple[float, float], float]
"""(x, y) of both ends, and the width: all in heights of the picture."""


def draw_railing(sample: Sample, class_id: int, rng: np.random.Generator) -> Sample:
    """Return a crop with a railing in front of its lower part, a new segment of a class.

    Things behind it keep their ids in all their parts.
    """
    height, width = sample.panoptic.shape
    share = np.zeros((height, width), np.uint8)
    for start, end, thickness in _bars(width / height, rng):
        (x0, y0), (x1, y1) = (
            [round(value * height * 2**_SHIFT) for value in point] for point in (start, end)
        )
        pixels = max(round(thickness * height), 1)
        cv2.line(share, (x0, y0), (x1, y1), (255,), pixels, cv2.LINE_AA, _SHIFT)
    # Near things are out of focus in some pictures.
    opacity = cv2.GaussianBlur(share, (0, 0), rng.uniform(0.4, 1.6)).astype(np.float32) / 255
    image = sample.image + (_paint(height, width, rng) - sample.image) * opacity[..., None]
    new = unused_id(sample)
    return sample._replace(
        image=image.round().clip(0, 255).astype(np.uint8),
        panoptic=np.where(share > 0, new, sample.panoptic).astype(sample.panoptic.dtype),
        segments=(*sample.segments, Segment(new, class_id)),
    )


def _bars(wide: float, rng: np.random.Generator) -> Iterator[Bar]:
    """Yield the bars of a railing in a picture `wide` heights wide: rails, posts, and between the
    posts crosses, upright bars, or nothing.
    """
    top = rng.uniform(0.15, 0.75)
    bottom = top + rng.uniform(0.25, 0.9)
    slope, lean = rng.uniform(-0.15, 0.15), rng.uniform(-0.05, 0.05)
    thick = rng.uniform(0.01, 0.05)
    thin = thick * rng.uniform(0.3, 0.9)
    gap = rng.uniform(0.3, 1.2)

    def bar(x0: float, share0: float, x1: float, share1: float, thickness: float) -> Bar:
        """Place a bar between two points given by x and the share of the way from top to bottom."""

        def point(x: float, share: float) -> tuple[float, float]:
            y = top + share * (bottom - top) + slope * (x - wide / 2)
            return x + lean * share, y

        return point(x0, share0), point(x1, share1), thickness

    left, right = -0.2 * wide, 1.2 * wide
    yield bar(left, 0, right, 0, thick)
    for share in rng.choice([0.2, 0.5, 0.8, 1.0], rng.integers(0, 3), replace=False).tolist():
        yield bar(left, share, right, share, thin)
    kind = rng.choice(['crosses', 'bars', 'open'], p=[0.45, 0.35, 0.2])
    for x in np.arange(left + rng.uniform(0, gap), right + gap, gap).tolist():
        yield bar(x, -0.03, x, 1.2, thick * rng.uniform(0.9, 1.4))
        if kind == 'crosses':
            yield bar(x, 0, x + gap, 1, thin)
            yield bar(x, 1, x + gap, 0, thin)
    if kind == 'bars':
        for x in np.arange(left, right, gap / rng.integers(3, 8)).tolist():
            yield bar(x, 0, x, 1, thin * 0.7)


def _paint(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Return what a railing is painted with, (height, width, 3) float32: mostly dark, shaded
    smoothly, with grain.
    """
    level = rng.uniform(15, 110) if rng.random() < 0.7 else rng.uniform(110, 230)
    color = level * rng.uniform(0.87, 1.13, 3)
    shade = cv2.resize(rng.uniform(0.6, 1.4, (3, 4)).astype(np.float32), (width, height))
    grain = rng.normal(0, 0.04, (height, width)).astype(np.float32)
    return (color.astype(np.float32) * (shade + grain)[..., None]).astype(np.float32)
