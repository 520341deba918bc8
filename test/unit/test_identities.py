"""Whether things keep their ids: the counts are those of motmetrics, and add up."""

from __future__ import annotations

import numpy as np
import pytest

from pdl_ros.datasets import Sample
from pdl_ros.datasets.record import segments_of
from pdl_ros.evaluation.overlaps import overlaps
from pdl_ros.evaluation.panoptic_quality import union_areas
from pdl_ros.evaluation.recordings.identities import IdentityCounter, IdentityCounts

from .tiny_labels import LABEL_SET

CAR, DOG, VOID = 10, 20, 65535


def row(*values: int) -> np.ndarray:
    """A picture of one row; each value covers two pixels."""
    return np.repeat(np.array([values], np.int32), 2, 1)


def overlap(truth: np.ndarray, predicted: np.ndarray):
    sample = Sample('x', truth[..., None], truth, segments_of(truth, LABEL_SET))
    return overlaps(sample, predicted, LABEL_SET, VOID, LABEL_SET.label_divisor)


def count(frames, tracks=None) -> tuple[IdentityCounts, list[int]]:
    counter = IdentityCounter()
    switches = [
        counter.update(overlap(truth, found), LABEL_SET.thing_ids, tracks[n] if tracks else {})
        for n, (truth, found) in enumerate(frames)
    ]
    return counter.counts(), switches


def test_a_thing_that_is_found_under_another_id_after_a_gap_has_switched():
    frames = [
        (row(CAR + 1), row(CAR + 1)),
        (row(CAR + 1), row(0)),
        (row(CAR + 1), row(CAR + 2)),
        (row(CAR + 1), row(CAR + 2)),
    ]
    counts, switches = count(frames)
    assert switches == [0, 0, 1, 0]
    assert counts == IdentityCounts(objects=4, predictions=3, matches=3, switches=1, id_matches=2)
    assert counts.mota == 1 - (1 + 0 + 1) / 4
    assert counts.idf1 == 2 * 2 / (4 + 3)


def test_track_ids_count_and_not_the_numbers_in_the_image():
    frames = [(row(CAR + 1), row(CAR + 1)), (row(CAR + 1), row(CAR + 4))]
    assert count(frames)[1] == [0, 1]
    assert count(frames, [{CAR + 1: 7}, {CAR + 4: 7}])[1] == [0, 0]


def test_a_thing_of_another_class_in_its_place_is_the_same_thing():
    counts, switches = count([(row(CAR + 1), row(DOG + 1))], [{DOG + 1: 1}])
    assert (counts.matches, switches) == (1, [0])


def test_what_is_found_where_nobody_labelled_or_in_a_crowd_is_no_false_alarm():
    truth, found = row(VOID, CAR, CAR + 1, 0), row(CAR + 1, CAR + 2, CAR + 3, CAR + 4)
    counts, _ = count([(truth, found)])
    assert (counts.objects, counts.predictions, counts.matches) == (1, 2, 1)


def test_counts_of_recordings_are_added_and_not_averaged():
    one = IdentityCounts(objects=10, predictions=10, matches=10, switches=0, id_matches=10)
    other = IdentityCounts(objects=30, predictions=10, matches=0, switches=0, id_matches=0)
    assert (one + other).mota == 1 - (30 + 10) / 40
    assert (one + other).idf1 == 2 * 10 / 60
    assert np.isnan(IdentityCounts().mota)
    assert np.isnan(IdentityCounts().idf1)


@pytest.mark.parametrize('seed', range(6))
def test_the_counts_are_those_of_motmetrics(seed):
    motmetrics = pytest.importorskip('motmetrics')
    rng = np.random.default_rng(seed)
    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    counter, names = IdentityCounter(), {n: n for n in range(1, 7)}
    for _ in range(40):
        truth, found, tracks = np.zeros((2, 8, 60), np.int32)[0], np.zeros((8, 60), np.int32), {}
        for thing in range(1, 7):
            left = 10 * (thing - 1) + 1
            if rng.random() < 0.85:
                truth[:, left : left + 8] = CAR + thing
            if rng.random() < 0.1:  # the tracker gives it the id of another, or a new one
                names[thing] = int(rng.integers(1, 20))
            if rng.random() < 0.8:
                found[:, left + int(rng.integers(0, 6)) : left + 8] = CAR + thing
                tracks[CAR + thing] = names[thing]
        if len(set(tracks.values())) < len(tracks):
            continue  # no tracker gives an id twice in a frame
        joined = overlap(truth, found)
        counter.update(joined, LABEL_SET.thing_ids, tracks)
        things = [np.isin(c, LABEL_SET.thing_ids) for c in (joined.truth_classes, joined.classes)]
        iou = (joined.shared / union_areas(joined))[things[0]][:, things[1]]
        own = [s.id for s, is_thing in zip(joined.segments, things[0], strict=True) if is_thing]
        accumulator.update(
            own,
            [tracks[v] for v in joined.values[things[1]].tolist()],
            np.where(iou > 0.5, 1 - iou, np.nan),
        )
    wanted = ['num_objects', 'num_predictions', 'num_switches', 'num_misses', 'idtp']
    theirs = motmetrics.metrics.create().compute(accumulator, metrics=[*wanted, 'mota', 'idf1'])
    ours = counter.counts()
    assert ours.switches > 0
    assert theirs[wanted].iloc[0].tolist() == [
        ours.objects,
        ours.predictions,
        ours.switches,
        ours.objects - ours.matches,
        ours.id_matches,
    ]
    assert ours.mota == pytest.approx(theirs['mota'].item())
    assert ours.idf1 == pytest.approx(theirs['idf1'].item())
