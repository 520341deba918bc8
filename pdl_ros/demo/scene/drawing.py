"""Polygons to pixels: objects in their own windows, who hides whom, and shadows."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from pdl_ros.demo.scene.colors import Color
from pdl_ros.demo.scene.street import TREE, Street

MIN_AREA = 0.0015
"""An object that shows less than this part of the picture is left out, also of the image."""
MIN_SHOWN = 0.15
"""So is one that shows less than this part of itself: a strip of roof does not tell a car."""

FINE = 3  # drawn this much finer than the picture; odd, so that pixel centres are drawn points
TURN = np.linspace(0, 2 * np.pi, 16, endpoint=False)
RING = np.stack([np.cos(TURN), np.sin(TURN)], 1)

Shape = tuple[np.ndarray, Color]  # a polygon (N, 2) in picture coordinates, and its colour


class Sprite(NamedTuple):
    """A drawn object in its own window of the picture."""

    depth: float
    value: int  # in the panoptic map
    y0: int
    x0: int
    color: np.ndarray  # (h, w, 3) uint8, times coverage
    cover: np.ndarray  # (h, w) uint8, coverage of each pixel
    mask: np.ndarray  # (h, w) bool: the shape at pixel centres
    size: float  # pixels of its outline, also outside the picture
    shade: np.ndarray  # polygon (N, 2) of its shadow on the ground


def draw_sprite(
    street: Street, depth: float, value: int, shapes: list[Shape], shade: np.ndarray
) -> Sprite | None:
    """Draw polygons in their own window of the picture; None if they lie outside it."""
    every = np.concatenate([points for points, _ in shapes])
    x0, y0, w, h = _window(every, street.width, street.height)
    if w < 1 or h < 1:
        return None
    fine = np.zeros((h * FINE, w * FINE, 3), np.uint8)
    drawn = np.zeros((h * FINE, w * FINE), np.uint8)
    for points, paint in shapes:
        fill(points, (x0, y0), (fine, paint), (drawn, (255,)))
    mask = drawn[FINE // 2 :: FINE, FINE // 2 :: FINE] > 0
    color, cover = (cv2.resize(a, (w, h), interpolation=cv2.INTER_AREA) for a in (fine, drawn))
    size = cv2.contourArea(cv2.convexHull(np.asarray(every, np.float32)))
    return Sprite(depth, value, y0, x0, color, cover, mask, size, shade)


def visible(sprites: list[Sprite], size: tuple[int, ...]) -> list[Sprite]:
    """Keep what shows enough of itself, judged from the nearest backwards; trees always stay."""
    taken, kept = np.zeros(size, bool), []
    for sprite in sprites:
        h, w = sprite.mask.shape
        before = taken[sprite.y0 : sprite.y0 + h, sprite.x0 : sprite.x0 + w]
        shows = np.count_nonzero(sprite.mask & ~before)
        least = max(MIN_AREA * taken.size, MIN_SHOWN * sprite.size)
        if sprite.value // 1000 == TREE or shows >= least:
            kept.append(sprite)
            before |= sprite.mask
    return kept


def paint_sprite(image: np.ndarray, panoptic: np.ndarray, sprite: Sprite) -> None:
    """Blend a sprite and its shadow into the picture, and write its pixels into the labels."""
    darken(image, sprite.shade)
    h, w = sprite.mask.shape
    window = (slice(sprite.y0, sprite.y0 + h), slice(sprite.x0, sprite.x0 + w))
    rest = cv2.merge([255 - sprite.cover] * 3)
    image[window] = cv2.add(cv2.multiply(image[window], rest, scale=1 / 255), sprite.color)
    panoptic[window][sprite.mask] = sprite.value


def darken(image: np.ndarray, polygon: np.ndarray, light: float = 0.5) -> None:
    """Cast a shadow on the ground, where `light` of the light is left."""
    x0, y0, w, h = _window(polygon, image.shape[1], image.shape[0])
    if w < 1 or h < 1:
        return
    fine = np.full((h * FINE, w * FINE), 255, np.uint8)
    fill(polygon, (x0, y0), (fine, (255 * light,)))
    factor = cv2.resize(fine, (w, h), interpolation=cv2.INTER_AREA)
    part = image[y0 : y0 + h, x0 : x0 + w]
    part[:] = cv2.multiply(part, cv2.merge([factor] * 3), scale=1 / 255)


def fill(
    points: np.ndarray,
    origin: tuple[float, float],
    *layers: tuple[np.ndarray, Color | tuple[float]],
) -> None:
    """Fill a polygon on (canvas, colour) layers that are `FINE` times finer than the picture."""
    fixed = [np.rint(((points - origin) * FINE - 0.5) * 16).astype(np.int32)]
    for canvas, color in layers:
        cv2.fillPoly(canvas, fixed, color, shift=4)


def painter_depth(x: float, z: float) -> float:
    """Return the painter's order of two objects that overlap in the picture.

    Of two side by side the inner one hides the outer one, even where the outer one's middle is
    nearer: a car's length of depth (2.4 times its width) for a car's width sideways.
    """
    return z + 2.4 * abs(x)


def _window(points: np.ndarray, width: int, height: int) -> tuple[int, int, int, int]:
    """Return (x0, y0, w, h) of the part of the picture that holds the points."""
    low = np.maximum(np.floor(points.min(0)), 0)
    x1, y1 = (np.minimum(np.ceil(points.max(0)) + 1, (width, height)) - low).tolist()
    return int(low[0]), int(low[1]), int(x1), int(y1)
