"""What never moves: sky, houses and ground; and the film that it is taken on."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from pdl_ros.demo.scene.colors import LEAVES, WALLS, Color, jitter, mix, tint
from pdl_ros.demo.scene.drawing import FINE, RING, Shape, Sprite, darken, fill
from pdl_ros.demo.scene.objects import draw_tree
from pdl_ros.demo.scene.street import BUILDING, FAR, PAVEMENT, ROAD, SKY, TREE, UP, Street


def draw_background(street: Street, seed: int) -> tuple[np.ndarray, np.ndarray, list[Sprite]]:
    """Draw what never moves: image (H, W, 3) uint8, class ids (H, W) uint8, trees at the kerb."""
    rng = np.random.default_rng([seed, 4])
    color = _sky(street, rng)
    label = np.full(color.shape[:2], SKY, np.uint8)
    parts = [*_vista(street, rng), *_ground(street, rng), *_houses(street, rng)]
    for points, paint, class_id in parts:
        fill(points, (0, 0), (color, paint), (label, (class_id,)))
    image = cv2.resize(color, (street.width, street.height), interpolation=cv2.INTER_AREA)
    labels = label[FINE // 2 :: FINE, FINE // 2 :: FINE].copy()
    image = _texture(street, np.random.default_rng([seed, 5]), image, labels)
    wall = street.left - street.pavement if street.sun < 0 else street.right + street.pavement
    band = wall - street.sun * np.array([0, 1, 1, 0]) * rng.uniform(1.0, 5.0)
    shade = street.project(band, 0.0, np.array([1, 1, FAR, FAR]))
    darken(image, shade, rng.uniform(0.65, 0.9))
    trees = []
    for tree in _trees(street, rng):
        darken(image, tree.shade)  # now: later it would fall on the cars behind the tree
        trees.append(tree._replace(shade=np.zeros((1, 2)) - 2))
    return image, labels, trees


def film(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the (256, 1, 3) tone curve of the seed's light, and (H + 32, W + 32, 3) grain.

    Both are uint8; grain is around 128.
    """
    ramp = np.linspace(0, 1, 256)[:, None]
    warm = 1 + rng.uniform(-0.07, 0.1) * np.array([1, 0.25, -1])
    tone = 255 * (ramp ** rng.uniform(0.8, 1.3)) * warm * rng.uniform(0.82, 1.08)
    grain = rng.standard_normal((height + 32, width + 32, 3), np.float32)
    grain = 128 + grain * rng.uniform(1.0, 3.5)
    return np.clip(tone, 0, 255).astype(np.uint8)[:, None], grain.astype(np.uint8)


def develop(
    image: np.ndarray, tone: np.ndarray, grain: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Apply the tone curve, and the grain shifted at random."""
    y, x = (int(v) for v in rng.integers(0, 32, 2))
    grain = grain[y : y + image.shape[0], x : x + image.shape[1]]
    return cv2.addWeighted(cv2.LUT(image, tone), 1, grain, 1, -128)


def _trees(street: Street, rng: np.random.Generator) -> Iterator[Sprite]:
    for side, kerb in ((-1, street.left), (1, street.right)):
        for z in np.arange(rng.uniform(10.5, 13.0), 36, rng.uniform(7, 10)).tolist():
            x, chosen = kerb + side * rng.uniform(0.4, 0.7), rng.random() < 0.7
            tree = draw_tree(street, rng, x, z)
            if tree is not None and chosen and abs(z - street.zebra) > 2:
                yield tree


def _sky(street: Street, rng: np.random.Generator) -> np.ndarray:
    """Paint the fine canvas with a sky that is paler at the horizon, and clouds."""
    h, w = street.height * FINE, street.width * FINE
    down = np.clip(np.arange(h) / (street.horizon * FINE), 0, 1)[:, None, None].astype(np.float32)
    haze = np.array(street.haze, np.float32)
    top = np.array(mix(street.haze, (70, 120, 190), rng.uniform(0.1, 0.75)), np.float32)
    sky = np.broadcast_to(top + (haze - top) * down, (h, w, 3))
    noise = 0.65 * rng.random((12, 8), np.float32)
    noise += 0.55 * cv2.resize(rng.random((6, 4), np.float32), (8, 12))
    cloud = cv2.resize(noise, (w, h), interpolation=cv2.INTER_CUBIC)[..., None]
    cloud = np.clip((cloud - rng.uniform(0.5, 0.9)) * 2.2, 0, 0.8)
    white = haze + (255 - haze) * np.float32(0.6)
    return (sky + (white - sky) * cloud).astype(np.uint8)


def _vista(street: Street, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, Color, int]]:
    """Close the street in the distance with houses and trees."""
    x = -45.0
    while x < 45:
        wide, tall = rng.uniform(5, 11), rng.uniform(5, 11)
        wall = mix(WALLS[rng.integers(len(WALLS))], street.haze, 0.4)
        points = street.project(np.array([x, x + wide, x + wide, x]), tall * UP, FAR)
        yield points, wall, BUILDING
        x += wide
    for x in rng.uniform(-12, 12, 7):
        radius = rng.uniform(2.0, 3.6)
        leaf = mix(LEAVES[rng.integers(len(LEAVES))], street.haze, 0.3)
        crown = radius * RING + (x, 0.9 * radius)
        yield street.project(crown[:, 0], crown[:, 1], FAR - 2), leaf, TREE


def _ground(street: Street, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, Color, int]]:
    """Lay pavement, kerbs, road and its markings."""
    stone = mix(jitter(rng, (160, 156, 150), 14), (150, 130, 110), rng.uniform(0, 0.5))
    tar = jitter(rng, (90, 90, 92), 10)
    line: Color = mix((236, 236, 230), tar, rng.uniform(0.05, 0.35))

    def strip(x0: float, x1: float, z0: float, z1: float) -> np.ndarray:
        return street.project(np.array([x0, x1, x1, x0]), 0.0, np.array([z0, z0, z1, z1]))

    left, right = street.left, street.right
    yield strip(-60, 60, 1, FAR), stone, PAVEMENT
    for z in np.arange(6, 30, 1.2).tolist():
        yield strip(-12, 12, z, z + 0.035), tint(stone, 0.86), PAVEMENT
    yield strip(left - 0.22, right + 0.22, 1, FAR), tint(stone, 1.16), PAVEMENT
    yield strip(left - 0.05, right + 0.05, 1, FAR), tint(stone, 0.62), PAVEMENT
    yield strip(left, right, 1, FAR), tar, ROAD
    for x, side in ((left, -1), (right, 1)):
        if side == street.parking:
            yield strip(x - side * 2.1, x, 1, FAR), tint(tar, 1.12), ROAD
            yield strip(x - side * 2.1, x - side * 2.22, 1, FAR), line, ROAD
    for z in np.arange(-3, FAR, 6.0).tolist():
        if abs(z + 1.5 - street.zebra) > 3.6:
            yield strip(street.middle - 0.07, street.middle + 0.07, z, z + 3), line, ROAD
    for x in np.arange(left + 0.35, right - 0.5, 1.0).tolist():
        yield strip(x, x + 0.5, street.zebra - 1.4, street.zebra + 1.4), line, ROAD


def _houses(street: Street, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, Color, int]]:
    """Build both rows of houses from far to near: gable, front, cornice, base and windows."""
    for side, kerb in ((-1, street.left), (1, street.right)):
        x, z = kerb + side * street.pavement, FAR
        sunny = 0.72 if side == street.sun else 1.0  # the sun is behind the houses of its own side
        while z > 1.5:
            long, floors = rng.uniform(7, 13), int(rng.integers(2, 5))
            wall = jitter(rng, WALLS[rng.integers(len(WALLS))], 16)
            tall, fade = floors * 3.0 + rng.uniform(0.4, 1.0), 0.45 * z / FAR
            far, z = z, z - long
            front, gable = (mix(tint(wall, t), street.haze, fade) for t in (sunny, 0.84))
            ends, out = np.array([far, z, z, far]), x + side * np.array([0, 14, 14, 0])
            yield street.project(out, tall * UP, z), gable, BUILDING
            yield street.project(x, tall * UP, ends), front, BUILDING
            yield street.project(x, tall - 0.45 * (1 - UP), ends), tint(front, 0.78), BUILDING
            yield street.project(x, 0.5 * UP, ends), tint(front, 0.74), BUILDING
            for points, paint in _windows(street, rng, x, far, z, floors, front):
                yield points, paint, BUILDING


def _windows(
    street: Street,
    rng: np.random.Generator,
    x: float,
    far: float,
    near: float,
    floors: int,
    front: Color,
) -> Iterator[Shape]:
    """Give a front rows of windows, some of them lit, and a door."""
    columns = max(int((far - near) / rng.uniform(2.0, 3.0)), 2)
    pitch, high = (far - near) / columns, rng.uniform(1.3, 1.8)
    frame = mix(front, (245, 245, 240), rng.uniform(0.3, 0.8))
    glass = mix((52, 60, 72), street.haze, rng.uniform(0.05, 0.3))
    for floor in range(floors):
        for column in range(columns):
            door = floor == 0 and column == columns // 2
            low, top = (0.1, 2.3) if door else (floor * 3 + 1.0, floor * 3 + 1.0 + high)
            wide, z = pitch * (0.22 if door else 0.27), near + (column + 0.5) * pitch
            lit, light = rng.random() < 0.07, rng.uniform(0.75, 1.35)
            paint: Color = (226, 196, 128) if lit else tint(glass, light)
            for grow, hue in ((0.12, frame), (0.0, tint(front, 0.45) if door else paint)):
                ends = z + (wide + grow) * np.array([1, -1, -1, 1])
                up = low - grow + (top - low + 2 * grow) * UP
                yield street.project(x, up, ends), hue


def _texture(
    street: Street, rng: np.random.Generator, image: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Roughen the ground in its own perspective, and everything else a little."""
    h, w = labels.shape
    tile = rng.standard_normal((128, 128), np.float32) * 0.6
    coarse = cv2.resize(rng.standard_normal((16, 16), np.float32), (128, 128))
    tile = np.asarray(tile + coarse, np.float32)
    z = street.focal * street.eye / np.maximum(np.arange(h) + 0.5 - street.horizon, 1.0)
    x = (np.arange(w) + 0.5 - street.center) * z[:, None] / street.focal
    grid = [
        (np.broadcast_to(v, (h, w)) * 9 % 126).astype(np.float32) for v in (x + 100, z[:, None])
    ]
    rough = cv2.remap(tile, grid[0], grid[1], cv2.INTER_LINEAR)
    rough = (
        rough * (0.045 * np.clip(14 / z, 0, 1)).astype(np.float32)[:, None]
    )  # fades where it would flicker
    wall = 0.02 * cv2.resize(rng.standard_normal((h // 6 + 1, w // 6 + 1), np.float32), (w, h))
    factor = 1 + np.where(labels >= PAVEMENT, rough, wall * (labels > SKY))
    return np.clip(image * factor[..., None], 0, 255).astype(np.uint8)
