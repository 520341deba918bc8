"""Which labelled and predicted segments share how many pixels, however large their ids are."""

from __future__ import annotations

import numpy as np
import pytest

from pdl_ros.datasets import Sample, Segment
from pdl_ros.datasets.record import ids_and_places
from pdl_ros.evaluation.overlaps import overlaps
from pdl_ros.labels import LabelClass, LabelSet

LABELS = LabelSet('two', (LabelClass('a', (1, 1, 1), True), LabelClass('b', (2, 2, 2), True)), 9)


@pytest.mark.parametrize('factor', [1, 1 << 19, 1 << 24], ids=['counted', 'edge', 'sorted'])
def test_areas_are_those_of_a_count_pixel_by_pixel_for_ids_of_any_size(factor):
    rng = np.random.default_rng(factor)
    truth = rng.integers(0, 5, (30, 40)).astype(np.int64) * factor
    predicted = rng.choice([1, 2, 10, 11, 65535], (30, 40))
    segments = tuple(Segment(i * factor, i % 2) for i in range(4))  # id 4 has none: it is void
    sample = Sample('x', truth[..., None], truth, segments)
    found = overlaps(sample, predicted, LABELS, 65535, 9)
    assert found.values.tolist() == [1, 2, 10, 11]
    assert found.classes.tolist() == [0, 0, 1, 1]
    rows = [4 * factor, *(segment.id for segment in segments)]
    columns = [1, 2, 10, 11, 65535]
    wanted = [[((truth == r) & (predicted == c)).sum() for c in columns] for r in rows]
    assert found.areas.tolist() == np.array(wanted).tolist()


def test_ids_that_cannot_be_counted_are_left_to_a_sort():
    assert ids_and_places(np.array([[0, -1]])) is None
    assert ids_and_places(np.array([[0, 1 << 20]])) is None
    assert ids_and_places(np.empty((0, 4), int)) is None
    ids, places = ids_and_places(np.array([[7, 3], [3, 65535]]))
    assert ids.tolist() == [3, 7, 65535]
    assert places.tolist() == [[1, 0], [0, 2]]
