"""What the data left open, decided by a semantic teacher; what the data say stays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pdl_ros.datasets.groups import Groups
from pdl_ros.teachers.boxes import Box
from pdl_ros.teachers.labels import UNKNOWN, Labels
from pdl_ros.teachers.settings import LabelSettings


def decide_pixels(
    labels: Labels, probabilities: np.ndarray, members: Groups, settings: LabelSettings
) -> None:
    """Give pixels a class that are of a joined one, or of none; those of instances are left alone.

    probabilities: (C, H, W) of the classes that are not joined.
    """
    loose = labels.numbers == 0
    classes = labels.classes.copy()
    unknown = classes == UNKNOWN
    best = probabilities.argmax(0)
    sure = np.take_along_axis(probabilities, best[None], 0)[0] >= settings.confidence
    if settings.added is not None:
        sure &= np.isin(best, settings.added)
    labels.classes[unknown & sure] = best[unknown & sure]
    for joined, ids in enumerate(members):
        if len(ids) > 1 and (where := (classes == joined) & loose).any():
            chosen, share, total = _best_of(probabilities[list(ids)][:, where])
            sure = (share >= settings.confidence) & (total >= settings.together)
            labels.classes[where] = np.where(sure, np.array(ids)[chosen], joined)


def decide_instances(
    labels: Labels,
    probabilities: np.ndarray | None,
    boxes: Mapping[int, Box],
    members: Groups,
    settings: LabelSettings,
) -> None:
    """Give each instance of a joined class one of its classes, by its pixels together and by its
    box: the shares of both are multiplied, so that neither outvotes a confident other.

    probabilities: (C, H, W), or None where nobody asks for pixels. boxes: by the instance's number.
    """
    numbers = labels.numbers
    for joined, ids in enumerate(members):
        if len(ids) == 1:
            continue
        of_class = labels.classes == joined
        for number in np.unique(numbers[of_class & (numbers > 0)]):
            where = of_class & (numbers == number)
            share = np.full(len(ids), 1 / len(ids))
            if probabilities is not None:
                mean = probabilities[list(ids)][:, where].mean(1)
                if mean.sum() >= settings.together:
                    share = mean / mean.sum()
            box = boxes.get(int(number))
            if box is not None:
                named = np.isin(ids, box.class_ids)
                share = share * np.where(named, box.score, 1 - box.score)
                share /= share.sum()
            if share.max() >= settings.confidence:
                labels.classes[where] = ids[int(share.argmax())]


def _best_of(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of (K, N) probabilities the index of the best, its share among them, and their sum."""
    total = probabilities.sum(0)
    chosen = probabilities.argmax(0)
    best = np.take_along_axis(probabilities, chosen[None], 0)[0]
    return chosen, best / np.maximum(total, 1e-9), total
