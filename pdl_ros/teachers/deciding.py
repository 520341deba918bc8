"""What the data left open, decided by a semantic teacher; what the data say stays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pdl_ros.teachers.labels import UNKNOWN, Labels
from pdl_ros.teachers.settings import LabelSettings

Members = Sequence[tuple[int, ...]]
"""For each class the train ids that it may be; more than one of a joined class."""


def decide_pixels(
    labels: Labels, probabilities: np.ndarray, members: Members, settings: LabelSettings
) -> None:
    """Give pixels a class that are of a joined one, or of none; those of instances are left alone.

    probabilities: (C, H, W) of the classes that are not joined.
    """
    loose = labels.numbers == 0
    classes = labels.classes.copy()
    unknown = classes == UNKNOWN
    best = probabilities.argmax(0)
    sure = np.take_along_axis(probabilities, best[None], 0)[0] >= settings.confidence
    labels.classes[unknown & sure] = best[unknown & sure]
    for joined, ids in enumerate(members):
        if len(ids) > 1 and (where := (classes == joined) & loose).any():
            chosen, share, total = _best_of(probabilities[list(ids)][:, where])
            sure = (share >= settings.confidence) & (total >= settings.together)
            labels.classes[where] = np.where(sure, np.array(ids)[chosen], joined)


def decide_instances(
    labels: Labels, probabilities: np.ndarray, members: Members, settings: LabelSettings
) -> None:
    """Give each instance of a joined class one of its classes, by its pixels together."""
    numbers = labels.numbers
    for joined, ids in enumerate(members):
        if len(ids) == 1:
            continue
        of_class = labels.classes == joined
        for number in np.unique(numbers[of_class & (numbers > 0)]):
            where = of_class & (numbers == number)
            mean = probabilities[list(ids)][:, where].mean(1, keepdims=True)
            chosen, share, total = _best_of(mean)
            if share[0] >= settings.confidence and total[0] >= settings.together:
                labels.classes[where] = ids[int(chosen[0])]


def _best_of(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of (K, N) probabilities the index of the best, its share among them, and their sum."""
    total = probabilities.sum(0)
    chosen = probabilities.argmax(0)
    best = np.take_along_axis(probabilities, chosen[None], 0)[0]
    return chosen, best / np.maximum(total, 1e-9), total
