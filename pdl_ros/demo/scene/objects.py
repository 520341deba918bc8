"""What stands and moves in the street: the polygons of one car, person or tree."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from pdl_ros.demo.scene.colors import LEAVES, Color, jitter, mix, tint
from pdl_ros.demo.scene.drawing import RING, TURN, Shape, Sprite, draw_sprite, painter_depth
from pdl_ros.demo.scene.street import TREE, Numbers, Street

# fmt: off
# Outlines of saloon, hatchback, estate and van, in metres (along, up): from the foot of the rear
# over the roof to the foot of the front.
_PROFILES = np.array([
    [(0, .3), (0, .78), (.06, 1.0), (.8, 1.04), (1.35, 1.43),
     (2.5, 1.46), (3.3, 1.03), (4.25, .88), (4.4, .7), (4.4, .28)],
    [(0, .3), (0, .8), (.05, 1.02), (.1, 1.04), (.4, 1.45),
     (1.9, 1.5), (2.75, 1.04), (3.6, .88), (3.8, .7), (3.8, .28)],
    [(0, .3), (0, .85), (.04, 1.08), (.08, 1.1), (.45, 1.6),
     (2.5, 1.65), (3.25, 1.15), (4.3, 1.0), (4.5, .8), (4.5, .3)],
    [(0, .3), (0, .95), (.02, 1.15), (.04, 1.18), (.18, 1.88),
     (3.3, 1.93), (4.1, 1.25), (4.7, 1.05), (4.8, .85), (4.8, .3)]])
_TAPER = np.array([.95, 1, 1, .97, .80, .80, .97, .95, .93, .93])
_TONES = (.78, .84, 1.08, .95, 1.14, .98, 1.08, .92, .8)
_PAINTS: list[Color] = [
    (225, 225, 222), (35, 37, 42), (120, 124, 130), (165, 30, 32), (40, 75, 150), (182, 186, 192),
    (225, 178, 40), (40, 95, 70), (120, 60, 40), (70, 150, 190), (215, 105, 40), (85, 45, 95)]
_GLASS: Color = (48, 58, 70)
_PLATE: Color = (228, 226, 205)

_SKINS: list[Color] = [
    (240, 205, 180), (222, 178, 148), (188, 138, 104), (132, 90, 64), (88, 60, 45)]
_HAIRS: list[Color] = [
    (30, 24, 20), (70, 45, 28), (120, 80, 45), (190, 155, 90), (140, 140, 140)]
# fmt: on


def draw_car(
    street: Street, rng: np.random.Generator, x: float, z: float, ahead: int, value: int
) -> Sprite | None:
    """Draw a car from behind (`ahead` 1) or the front (-1): skins between its two outlines."""
    profile = _PROFILES[rng.integers(len(_PROFILES))]
    paint = jitter(rng, _PAINTS[rng.integers(len(_PAINTS))], 14)
    half, length = rng.uniform(0.88, 0.95), profile[-1, 0]
    corners = np.stack([half * _TAPER, profile[:, 1], z + ahead * (profile[:, 0] - length / 2)])

    def skin(i: int, a: float, b: float, s: float, t: float) -> np.ndarray:
        """Return the part from `a` to `b` of half widths and `s` to `t` of the i-th skin's way."""
        wide, y, depth = corners[:, i : i + 1] + np.diff(corners[:, i : i + 2]) * (s, s, t, t)
        return street.project(x + wide * (a, b, b, a), y, depth)

    shapes = _chassis(street, x, z, half, length)
    for i in sorted(range(9), key=lambda i: -(corners[2, i] + corners[2, i + 1])):
        shapes.append((skin(i, -1, 1, 0, 1), tint(paint, _TONES[i])))
        if i in (3, 5):
            glass = mix(_GLASS, street.haze, 0.12 if i == 3 else 0.3)
            shapes.append((skin(i, -0.86, 0.86, 0.1, 0.92), glass))
    if ahead > 0:
        shapes += [(skin(1, s * 0.6, s * 0.97, -0.5, 0.8), (190.0, 22.0, 24.0)) for s in (-1, 1)]
        shapes.append((skin(0, -0.98, 0.98, 0, 0.16), (40, 40, 42)))
        shapes.append((skin(0, -0.3, 0.3, 0.35, 0.65), _PLATE))
    else:
        shapes += [
            (skin(8, s * 0.58, s * 0.96, 0.02, 0.34), (252.0, 248.0, 225.0)) for s in (-1, 1)
        ]
        shapes.append((skin(8, -0.5, 0.5, 0.08, 0.42), (30, 30, 33)))
        shapes.append((skin(8, -0.3, 0.3, 0.52, 0.78), _PLATE))
    shapes += _flank(street, profile, x, z, half, ahead, paint)
    corner = np.array([-1, -1, 1, 1])
    shade = street.project(
        x + half * corner[[0, 2, 3, 1]] * 1.06 - 0.3 * street.sun,
        0.0,
        z + (length / 2 + 0.1) * corner,
    )
    return draw_sprite(street, painter_depth(x, z), value, shapes, shade)


def draw_person(
    street: Street,
    rng: np.random.Generator,
    x: float,
    z: float,
    walked: float,
    swing: float,
    value: int,
) -> Sprite | None:
    """Draw somebody walking; `swing` is how much of the step the camera sees, 1 from the side."""
    size, bulk = rng.uniform(0.93, 1.08), rng.uniform(1.1, 1.35)
    coat, trousers = ((r, g, b) for r, g, b in rng.uniform(25, 235, (2, 3)).tolist())
    trousers = mix(trousers, (45, 48, 60), 0.55)
    skin, hair = (jitter(rng, of[rng.integers(5)], 8) for of in (_SKINS, _HAIRS))
    hem = float(rng.choice((0.86, 0.86, 0.62)))  # of a jacket or a coat
    step, front = float(np.sin(4.2 * walked + rng.uniform(0, 6))) * swing, 1 - swing
    foot, scale = street.project(x, 0.0, z)[0], street.focal / max(z, 1.0) * size
    figure = [*_legs(step, front, trousers), *_trunk(step, front, hem, coat, skin)]
    figure.insert(0, (_limb(-0.2 * step, 1.38, 0.06, -0.42 * step, 0.82, 0.05), tint(coat, 0.7)))
    figure.append((RING * (0.115, 0.15) + (0, 1.62), skin))
    figure.append((RING[:9] * (0.125, 0.13) + (0, 1.66), hair))
    shapes = [(foot + points * (scale * bulk, -scale), color) for points, color in figure]
    shade = foot + RING * (0.3 * scale, 0.07 * scale) - (0.16 * scale * street.sun, 0)
    return draw_sprite(street, painter_depth(x, z), value, shapes, shade)


def draw_tree(street: Street, rng: np.random.Generator, x: float, z: float) -> Sprite | None:
    """Draw a tree: a trunk, and a crown of lobes that get lighter to the front and the sun."""
    foot, scale = street.project(x, 0.0, z)[0], street.focal / z
    tall, wide = rng.uniform(3.3, 4.6), rng.uniform(1.2, 1.8)
    leaf = jitter(rng, LEAVES[rng.integers(len(LEAVES))], 12)
    trunk = np.array([(-0.16, 0), (0.16, 0), (0.1, tall), (-0.1, tall)])
    shapes: list[Shape] = [(foot + trunk * (scale, -scale), (82, 66, 52))]
    for n in range(26):
        angle, out = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random()) * (n > 3)
        at = np.array([np.cos(angle), np.sin(angle)]) * out * (0.75, 0.65)
        lobe = RING * (1 + 0.1 * np.sin(5 * TURN + n))[:, None]
        lobe *= 0.75 if n <= 3 else rng.uniform(0.18, 0.42)
        light = 0.72 + 0.013 * n + 0.12 * at[1] + 0.1 * street.sun * at[0]
        points = (lobe + at + (0, 0.25)) * wide + (0, tall)
        shapes.append((foot + points * (scale, -scale), tint(jitter(rng, leaf, 6), light)))
    shade = foot + RING * (wide * scale, wide * scale * street.eye / z)
    shade -= (0.8 * scale * street.sun, 0)
    return draw_sprite(street, painter_depth(x, z), TREE * 1000, shapes, shade)


def _chassis(street: Street, x: float, z: float, half: float, length: float) -> list[Shape]:
    """Draw the dark underside of a car and its nearer pair of wheels."""
    ends = z + (length / 2 - 0.1) * np.array([-1, 1, 1, -1])
    box = [
        street.project(x + half * a, np.array([0.16, 0.16, 0.5, 0.5]), ends) for a in (-0.9, 0.9)
    ]
    hull = cv2.convexHull(np.concatenate(box).astype(np.float32))[:, 0]
    shapes: list[Shape] = [(hull, (22, 22, 25))]
    for a, b in ((-0.96, -0.66), (0.66, 0.96)):
        across, up = x + half * np.array([a, b, b, a]), np.array([0, 0, 0.4, 0.4])
        shapes.append((street.project(across, up, z - 0.34 * length - 0.25), (18, 18, 20)))
    return shapes


def _flank(
    street: Street, profile: np.ndarray, x: float, z: float, half: float, ahead: int, paint: Color
) -> list[Shape]:
    """Draw the side of a car that the camera sees, if it sees one: body, windows, wheels."""
    if abs(x) < half:
        return []
    side, length = -np.sign(x), profile[-1, 0]
    tone = 0.96 if side == street.sun else 0.66

    def place(points: np.ndarray, taper: Numbers) -> np.ndarray:
        depth = z + ahead * (points[:, 0] - length / 2)
        return street.project(x + side * half * taper, points[:, 1], depth)

    body, cabin = [0, 1, 2, 3, 6, 7, 8, 9], [3, 4, 5, 6]
    shapes = [(place(profile[i], _TAPER[i]), tint(paint, tone)) for i in (body, cabin)]
    middle = profile[cabin].mean(0)
    window = middle + (profile[cabin] - middle) * (0.84, 0.72)
    shapes.append((place(window, _TAPER[cabin]), mix(_GLASS, street.haze, 0.15)))
    post = np.stack([middle[0] + np.array([-0.06, -0.06, 0.06, 0.06]), window[[0, 1, 1, 0], 1]], 1)
    shapes.append((place(post, _TAPER[[3, 4, 4, 3]]), tint(paint, tone * 0.9)))
    for hub in (0.19, 0.81):
        for radius, color in ((0.34, (20, 20, 22)), (0.18, (150, 152, 156))):
            shapes.append((place(RING * radius + (hub * length, 0.34), 1.0), color))
    return shapes


def _limb(u: float, v: float, w: float, u1: float, v1: float, w1: float) -> np.ndarray:
    """Return a limb from (u, v) to (u1, v1), in metres beside and above the foot, and as wide."""
    return np.array([(u - w, v), (u + w, v), (u1 + w1, v1), (u1 - w1, v1)])


def _legs(step: float, front: float, trousers: Color) -> Iterator[Shape]:
    """Draw legs and shoes, the farther one darker."""
    for way, tone in ((-1, 0.75), (1, 1.0)):
        u, v = way * (0.3 * step + 0.05 * front), 0.05 * abs(step) * (step * way > 0)
        yield _limb(0.05 * way, 0.9, 0.105, u, v + 0.06, 0.075), tint(trousers, tone)
        yield _limb(u, v + 0.09, 0.08, u + 0.02, v, 0.12), (28, 25, 24)


def _trunk(step: float, front: float, hem: float, coat: Color, skin: Color) -> Iterator[Shape]:
    """Draw the coat, lighter on one side, the nearer arm and the neck."""
    chest = [(0.19, 1.0), (0.215, 1.36), (0.13, 1.46)]
    back = [(-u, v) for u, v in reversed(chest)]
    yield np.array([(-0.13, hem), (0.13, hem), *chest, *back]), coat
    yield np.array([(0.04, hem), (0.13, hem), *chest]), tint(coat, 0.84)
    arm = _limb(0.19 * front + 0.03 * step, 1.4, 0.06, 0.3 * step + 0.2 * front, 0.84, 0.05)
    yield arm, tint(coat, 0.9)
    yield _limb(0, 1.42, 0.06, 0, 1.55, 0.05), tint(skin, 0.85)
