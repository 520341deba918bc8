"""Random labelled images with predictions near to them, for comparisons with other evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from pdl_ros.datasets import Sample, Segment
from pdl_ros.fusion import PanopticResult, SegmentTable
from pdl_ros.labels import LabelClass, LabelSet

VOID, DIVISOR = 65535, 1000
LABELS = LabelSet(
    'scenes',
    tuple(
        LabelClass(name, (i, i, i), is_thing)
        for i, (name, is_thing) in enumerate(
            [('road', False), ('sky', False), ('car', True), ('dog', True), ('cat', True)]
        )
    ),
    label_divisor=DIVISOR,
)
THINGS = (2, 3, 4)


class Scene(NamedTuple):
    """A labelled image, and what a network could have said of it."""

    sample: Sample
    panoptic: np.ndarray
    semantic: np.ndarray
    scores: dict[int, float]

    def result(self) -> PanopticResult:
        """Return it as the fusion would."""
        values = [int(v) for v in np.unique(self.panoptic) if v != VOID]
        things = [v in self.scores for v in values]
        none = torch.zeros(len(values))
        table = SegmentTable(
            id=torch.tensor(values, dtype=torch.int32),
            class_id=torch.tensor(values, dtype=torch.int32) // DIVISOR,
            is_thing=torch.tensor(things, dtype=torch.bool),
            instance_id=none.int(),
            area=none.int(),
            score=torch.tensor([self.scores.get(v, 0.0) for v in values]),
            objectness=none,
            class_score=none,
            box=none.int()[:, None].repeat(1, 4),
            center=none[:, None].repeat(1, 2),
        )
        maps = torch.from_numpy(self.semantic), torch.from_numpy(self.panoptic)
        return PanopticResult(maps[0], torch.zeros_like(maps[1]), maps[1], table)


def scenes(
    seed: int, count: int = 6, things: Sequence[int] = THINGS, name: str = '{:06d}'
) -> list[Scene]:
    """Draw images of rectangles, some void, some crowds, one without a segment; the prediction
    moves, loses, renames and invents some. A few scores are equal. The last of the three things is
    labelled only sometimes.
    """
    rng = np.random.default_rng(seed)
    return [_scene(rng, name.format(i), things, empty=i == 1) for i in range(count)]


def _scene(rng: np.random.Generator, name: str, things: Sequence[int], empty: bool) -> Scene:
    shape = 40, 56
    truth, found = np.full(shape, VOID, np.int32), np.full(shape, VOID, np.int32)
    crowds = set()
    if not empty:
        truth[: rng.integers(10, 30)] = DIVISOR
        truth[30:] = 0
        found[:30], found[30:] = DIVISOR, 0
    for number in range(1, 0 if empty else 9):
        class_id = int(rng.choice(things, p=(0.6, 0.35, 0.05)))
        y, x = rng.integers(0, 34), rng.integers(0, 44)
        height, width = rng.integers(4, 18, 2)
        truth[y : y + height, x : x + width] = class_id * DIVISOR + number
        if rng.random() < 0.2:
            crowds.add(class_id * DIVISOR + number)
        if rng.random() < 0.85:
            shift_y, shift_x = rng.integers(0, 3, 2)
            guess = class_id if rng.random() < 0.9 else int(rng.choice(things))
            value = guess * DIVISOR + number
            found[y + shift_y : y + height, x + shift_x : x + width + 1] = value
    if rng.random() < 0.5:
        truth[5:15, 40:] = VOID
    found[rng.random(shape) < 0.02] = VOID
    values = [int(v) for v in np.unique(found) if v != VOID and v // DIVISOR in things]
    scores = {v: float(np.float32(np.round(rng.random(), 1))) for v in values}
    semantic = np.where(found == VOID, 255, found // DIVISOR).astype(np.uint8)
    semantic[rng.random(shape) < 0.05] = 0
    ids = [int(i) for i in np.unique(truth) if i != VOID]
    segments = tuple(Segment(i, i // DIVISOR, i in crowds) for i in ids)
    sample = Sample(name, np.zeros((*shape, 3), np.uint8), truth, segments)
    return Scene(sample, found, semantic, scores)
