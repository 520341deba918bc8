"""Random labelled images with predictions near to them, for comparisons with other evaluations."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pdl_ros.datasets import Sample, Segment
from pdl_ros.labels import LabelClass, LabelSet

VOID = 65535
LABELS = LabelSet(
    'scenes',
    tuple(
        LabelClass(name, (i, i, i), is_thing)
        for i, (name, is_thing) in enumerate(
            [('road', False), ('sky', False), ('car', True), ('dog', True), ('cat', True)]
        )
    ),
    label_divisor=100,
)
THINGS = (2, 3, 4)


class Scene(NamedTuple):
    """A labelled image, and what a network could have said of it."""

    sample: Sample
    panoptic: np.ndarray
    semantic: np.ndarray
    scores: dict[int, float]


def scenes(seed: int, count: int = 6) -> list[Scene]:
    """Draw images of rectangles, some void, some crowds, one without a segment; the prediction
    moves, loses, renames and invents some. A few scores are equal. Class `cat` is labelled only
    sometimes.
    """
    rng = np.random.default_rng(seed)
    return [_scene(rng, f'{i:06d}', empty=i == 1) for i in range(count)]


def _scene(rng: np.random.Generator, name: str, empty: bool) -> Scene:
    shape = 40, 56
    truth, found = np.full(shape, VOID, np.int32), np.full(shape, VOID, np.int32)
    crowds, scores = set(), {}
    if not empty:
        truth[: rng.integers(10, 30)] = 100
        truth[30:] = 0
        found[:30], found[30:] = 100, 0
    for number in range(1, 0 if empty else 9):
        class_id = int(rng.choice(THINGS, p=(0.6, 0.35, 0.05)))
        y, x = rng.integers(0, 34), rng.integers(0, 44)
        height, width = rng.integers(4, 18, 2)
        truth[y : y + height, x : x + width] = class_id * 100 + number
        if rng.random() < 0.2:
            crowds.add(class_id * 100 + number)
        if rng.random() < 0.85:
            shift_y, shift_x = rng.integers(0, 3, 2)
            guess = class_id if rng.random() < 0.9 else int(rng.choice(THINGS))
            found[y + shift_y : y + height, x + shift_x : x + width + 1] = guess * 100 + number
    if rng.random() < 0.5:
        truth[5:15, 40:] = VOID
    found[rng.random(shape) < 0.02] = VOID
    for value in np.unique(found):
        if value != VOID and value // 100 in THINGS:
            scores[int(value)] = float(np.float32(np.round(rng.random(), 1)))
    semantic = np.where(found == VOID, 255, found // 100).astype(np.uint8)
    semantic[rng.random(shape) < 0.05] = 0
    ids = [int(i) for i in np.unique(truth) if i != VOID]
    segments = tuple(Segment(i, i // 100, i in crowds) for i in ids)
    sample = Sample(name, np.zeros((*shape, 3), np.uint8), truth, segments)
    return Scene(sample, found, semantic, scores)
