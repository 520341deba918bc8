"""Who is where at a time: cars that wait while people cross."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pdl_ros.demo.scene.drawing import Sprite
from pdl_ros.demo.scene.objects import draw_car, draw_person
from pdl_ros.demo.scene.street import CAR, PERSON, Street

_GREEN, _RED = 10.0, 8.0  # seconds: cars drive, then wait while people cross
_CARS_PER_GREEN = 4


def draw_traffic(street: Street, seed: int, seconds: float) -> Iterator[Sprite | None]:
    """Draw everybody; places follow from the time alone, so any frame can be asked for."""
    cycle, phase = divmod(seconds + street.clock, _GREEN + _RED)
    ease = min(phase / _GREEN, 1.0)
    driven = _CARS_PER_GREEN * (cycle + ease * ease * (3 - 2 * ease))
    yield from _cars(street, seed, driven)
    yield from _walkers(street, seed, seconds + street.clock)
    for past in (1, 0):  # those of the last red may still be on the pavement
        yield from _crossers(street, seed, int(cycle) - past, phase + past * (_GREEN + _RED))


def _cars(street: Street, seed: int, driven: float) -> Iterator[Sprite | None]:
    """Place the cars; `driven` is in car spacings, and whole while they wait off the crossing."""
    for lane, ahead in enumerate((1, -1)):
        x = street.middle + 1.65 * ahead
        for k in range(int(driven) - 4, int(driven) + 5):
            rng = np.random.default_rng([seed, 10 + lane, k + 2**20])
            jitter = rng.uniform(-1, 1) * (street.spacing / 2 - 4.3)
            z = street.zebra + ahead * street.spacing * (driven - k + 0.5) + jitter
            if rng.random() < street.density and 1.0 < z < 44:
                aside, value = rng.uniform(-0.15, 0.15), _identity(CAR, lane, 3, k)
                yield draw_car(street, rng, x + aside, z, ahead, value)
    for k in range(4 * abs(street.parking)):
        rng = np.random.default_rng([seed, 12, k])
        z = 8.0 + 6.2 * k + rng.uniform(-0.4, 0.4)
        if rng.random() < 0.65 and abs(z - street.zebra) > 4.3:
            x = (street.right if street.parking > 0 else street.left) - street.parking * 1.1
            yield draw_car(street, rng, x, z, street.parking, _identity(CAR, 2, 3, k))


def _walkers(street: Street, seed: int, seconds: float) -> Iterator[Sprite | None]:
    """Place the people on the pavements: out of the picture and into a door, or back."""
    for line in range(4):
        side, period = (-1, 1, -1, 1)[line], 17.0 + 2 * line
        k = int(seconds // period)
        rng = np.random.default_rng([seed, 20 + line, k + 2**20])
        if rng.random() > street.density:
            continue
        ahead = int(rng.choice((-1, 1)))
        walked = rng.uniform(1.1, 1.5) * (seconds - k * period)
        z = (6.0 + walked) if ahead > 0 else (21.0 - walked)
        if not 5.0 < z < 21.0:
            continue
        kerb = street.right if side > 0 else street.left
        out = (0.32, 0.68)[line // 2] * street.pavement
        out += max(0.0, (z - 19.5) / 1.5) * (street.pavement - out)  # the door is in the wall
        value = _identity(PERSON, line, 7, k)
        yield draw_person(street, rng, kerb + side * out, z, walked, 0.45, value)


def _crossers(street: Street, seed: int, cycle: int, phase: float) -> Iterator[Sprite | None]:
    """Place the people who cross while cars wait; they are on the pavements before and after."""
    span = street.right - street.left
    for n in range(3):
        rng = np.random.default_rng([seed, 30 + n, cycle + 2**20])
        if rng.random() > street.density:
            continue
        ahead = int(rng.choice((-1, 1)))
        speed = span / (_RED - 1.2) * rng.uniform(1.0, 1.15)
        walked = speed * (phase - _GREEN - _RED / 2) + (n - 1) * 0.6 + rng.uniform(-0.2, 0.2)
        if abs(walked) < span / 2 + street.pavement:
            x = (street.left + street.right) / 2 + ahead * walked
            z = street.zebra + (n - 1) * 0.8 + rng.uniform(-0.2, 0.2)
            yield draw_person(street, rng, x, z, walked, 1.0, _identity(PERSON, 4 + n, 7, cycle))


def _identity(class_id: int, stream: int, streams: int, k: int) -> int:
    """Return the panoptic value of the `k`-th object of a stream; streams never share an id."""
    return class_id * 1000 + 1 + stream + streams * (k % (999 // streams))
