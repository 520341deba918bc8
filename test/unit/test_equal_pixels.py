"""Two panoptic maps say the same where the classes are, and the things, whatever their numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pdl_ros.evaluation.equal_pixels import equal_pixels

ROAD, CAR, PERSON, VOID = 0, 2000, 3000, 65535


def row(*runs: tuple[int, int]) -> np.ndarray:
    """Return a map of one line: values, and how many pixels have each."""
    return np.concatenate([np.full(count, value, np.int32) for value, count in runs])[None]


@pytest.mark.parametrize(
    ('ours', 'theirs', 'share'),
    [
        # A centre more, before the others: what costs is the car that came, not the numbers.
        (
            row((CAR + 1, 5), (CAR + 2, 30), (CAR + 3, 65)),
            row((ROAD, 5), (CAR + 1, 30), (CAR + 2, 65)),
            0.95,
        ),
        (row((CAR + 1, 40), (CAR + 2, 60)), row((CAR + 2, 40), (CAR + 1, 60)), 1),
        # One that fell into two halves is no longer there, one that lost a third is.
        (row((CAR + 1, 50), (CAR + 2, 50)), row((CAR + 1, 100)), 0),
        (row((CAR + 1, 66), (CAR + 2, 34)), row((CAR + 1, 100)), 0.66),
        # Another class, the same number.
        (row((CAR + 1, 100)), row((PERSON + 1, 100)), 0),
        # Stuff and void have no number, and count pixel by pixel.
        (row((ROAD, 10), (VOID, 90)), row((ROAD, 90), (VOID, 10)), 0.2),
        (row((VOID, 100)), row((VOID, 100)), 1),
    ],
)
def test_pixels_are_equal_by_class_and_thing(ours, theirs, share):
    assert equal_pixels(ours, theirs, 1000) == pytest.approx(share)
    assert equal_pixels(theirs, ours, 1000) == pytest.approx(share)


values = st.sampled_from([ROAD, 1000, CAR + 1, CAR + 2, CAR + 3, PERSON + 1, VOID])
maps = arrays(np.int32, (4, 6), elements=values)


@given(maps, maps)
def test_every_pixel_is_judged_as_by_the_slow_way(ours, theirs):
    equal = 0
    for a, b in zip(ours.flat, theirs.flat, strict=True):
        mine, other = ours == a, theirs == b
        if a % 1000 == 0 or a == VOID:
            equal += a == b
        else:
            both = (mine & other).sum() / (mine | other).sum()
            equal += a // 1000 == b // 1000 and both > 0.5
    assert equal_pixels(ours, theirs, 1000) == equal / ours.size


@given(maps, st.permutations([1, 2, 3]))
def test_renumbered_things_are_the_same(labels, numbers):
    renamed = labels.copy()
    for old, new in enumerate(numbers, 1):
        renamed[labels == CAR + old] = CAR + new
    assert equal_pixels(labels, renamed, 1000) == 1
