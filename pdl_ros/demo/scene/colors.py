"""The colours of the street, and how they are varied, lit and mixed."""

from __future__ import annotations

import numpy as np

Color = tuple[float, float, float]

# fmt: off
SKIES: list[Color] = [
    (196, 214, 232), (214, 216, 220), (236, 214, 190), (176, 204, 236), (205, 205, 215)]
WALLS: list[Color] = [
    (190, 172, 148), (150, 84, 66), (214, 204, 184), (120, 118, 116), (176, 140, 96),
    (160, 176, 186), (206, 168, 150), (96, 84, 80), (222, 218, 210), (140, 152, 124)]
LEAVES: list[Color] = [
    (74, 110, 48), (96, 124, 56), (58, 92, 52), (150, 120, 48), (110, 130, 70)]
# fmt: on


def jitter(rng: np.random.Generator, color: Color, spread: float) -> Color:
    """Vary a colour at random by about `spread` of 255."""
    off = rng.normal(0, spread / 3, 3) + rng.normal(0, spread)  # lightness varies more than hue
    r, g, b = np.clip(np.asarray(color) + off, 0, 255).tolist()
    return r, g, b


def tint(color: Color, light: float) -> Color:
    """Show a colour in more or less light."""
    return min(color[0] * light, 255.0), min(color[1] * light, 255.0), min(color[2] * light, 255.0)


def mix(color: Color, other: Color, part: float) -> Color:
    """Go `part` of the way from one colour to the other."""
    r, g, b = (v + (w - v) * part for v, w in zip(color, other, strict=True))
    return r, g, b
