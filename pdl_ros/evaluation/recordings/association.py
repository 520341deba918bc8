"""Which predicted frame belongs to which labelled one, by their stamps, and why others to none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pdl_ros.errors import require


@dataclass(frozen=True)
class Association:
    """Pairs of frames. pairs: (K, 2) numbers of predicted and of labelled frames, in the order of
    the predicted ones. notes: why the others have no partner, a sentence each.
    """

    pairs: np.ndarray
    predictions: int
    truths: int
    notes: tuple[str, ...] = ()

    @property
    def matched(self) -> int:
        return len(self.pairs)


def associate(predicted: np.ndarray, labelled: np.ndarray, tolerance: int = 0) -> Association:
    """Pair frames whose stamps are equal or, with a tolerance, each other's nearest within it.

    predicted, labelled: (N,) and (M,) int64 stamps in nanoseconds, in any order; of several frames
    with one stamp the first counts. tolerance: nanoseconds. Raises PdlError where no frame has a
    partner.
    """
    notes: list[str] = []
    require(len(predicted) > 0, 'There is no predicted frame.')
    require(len(labelled) > 0, 'There is no labelled frame.')
    found = _first_of_each(predicted, 'predicted', notes)
    there = _first_of_each(labelled, 'labelled', notes)
    nearest_truth = _nearest(predicted[found], labelled[there])
    nearest_found = _nearest(labelled[there], predicted[found])
    mutual = nearest_found[nearest_truth] == np.arange(len(found))
    distance = np.abs(predicted[found] - labelled[there][nearest_truth])
    good = np.flatnonzero(mutual & (distance <= tolerance))
    pairs = np.stack([found[good], there[nearest_truth[good]]], 1)
    require(len(pairs) > 0, _nothing(predicted, labelled, tolerance))
    sides = (
        ('predicted', 'labelled', predicted, found, labelled, pairs[:, 0]),
        ('labelled', 'predicted', labelled, there, predicted, pairs[:, 1]),
    )
    for name, other, stamps, kept, others, taken in sides:
        alone = stamps[np.setdiff1d(kept, taken)]
        if len(alone):
            notes.append(_without(alone, others, name, other, tolerance))
    order = np.argsort(pairs[:, 0], kind='stable')
    return Association(pairs[order], len(predicted), len(labelled), tuple(notes))


def _first_of_each(stamps: np.ndarray, name: str, notes: list[str]) -> np.ndarray:
    """Return the numbers of the frames that are the first of their stamp, by stamp."""
    _, first = np.unique(stamps, return_index=True)
    if repeated := len(stamps) - len(first):
        notes.append(
            f'{repeated} of {len(stamps)} {name} frames repeat the stamp of an earlier one, which '
            'is the one that counts.'
        )
    return first


def _nearest(stamps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return for each stamp the place of the nearest of `others`, which ascend; of two the
    earlier.
    """
    right = np.searchsorted(others, stamps).clip(max=len(others) - 1)
    left = (right - 1).clip(min=0)
    return np.where(np.abs(stamps - others[left]) <= np.abs(stamps - others[right]), left, right)


def _without(alone: np.ndarray, others: np.ndarray, name: str, other: str, tolerance: int) -> str:
    outside = (alone < others.min()) | (alone > others.max())
    reasons = []
    if outside.any():
        reasons.append(f'{outside.sum()} outside of the time of the {other} ones')
    if not outside.all():
        inside, ascending = alone[~outside], np.sort(others)
        gaps = np.abs(inside - ascending[_nearest(inside, ascending)])
        near, far = (_milliseconds(int(gap)) for gap in (gaps.min(), gaps.max()))
        reasons.append(
            f'{len(inside)} without one within {_milliseconds(tolerance)} that is not nearer to '
            f'another (the next is {near} to {far} away)'
        )
    return f'{len(alone)} {name} frames have no partner: {" and ".join(reasons)}.'


def _nothing(predicted: np.ndarray, labelled: np.ndarray, tolerance: int) -> str:
    nearest = np.sort(labelled)[_nearest(predicted, np.sort(labelled))]
    gap = int(np.abs(predicted - nearest).min())
    spans = f'{_seconds(predicted)} (predicted) and {_seconds(labelled)} (labelled)'
    return (
        f'No predicted frame has the stamp of a labelled one: the nearest two are '
        f'{_milliseconds(gap)} apart, with a tolerance of {_milliseconds(tolerance)}; their times '
        f'are {spans}.'
    )


def _seconds(stamps: np.ndarray) -> str:
    return f'{stamps.min() / 1e9:.3f} to {stamps.max() / 1e9:.3f} s'


def _milliseconds(nanoseconds: int) -> str:
    return f'{nanoseconds / 1e6:.3g} ms'
