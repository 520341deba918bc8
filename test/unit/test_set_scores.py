"""Partial labels are scored as a patient person would, pixel by pixel."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pdl_ros.datasets import Sample, Segment
from pdl_ros.evaluation import PanopticEvaluator, Scores
from pdl_ros.evaluation.run import count_result
from pdl_ros.evaluation.sets.classes import set_classes
from pdl_ros.evaluation.sets.evaluator import SetEvaluator
from pdl_ros.evaluation.sets.predicted import SetResults
from pdl_ros.evaluation.sets.run import with_counted_things
from pdl_ros.evaluation.sets.truth import SetTruth
from pdl_ros.fusion import PanopticResult
from pdl_ros.labels import LabelClass, LabelSet

from .labelled_scenes import Scene

VOID = 65535
ROAD, SKY, CAR, BUS, DOG = range(5)
COUNT, DIVISOR = 5, 1000
LABELS = LabelSet(
    'five',
    tuple(
        LabelClass(name, (i, i, i), i >= CAR)
        for i, name in enumerate(('road', 'sky', 'car', 'bus', 'dog'))
    ),
)
SAME = tuple((i,) for i in range(COUNT))


def sample_of(rows, classes, crowds=()) -> Sample:
    """Make a sample of a map of ids; classes: label (train id or group) by id, others are void."""
    panoptic = np.atleast_2d(np.array(rows, np.int32))
    there = [i for i in np.unique(panoptic).tolist() if i in classes]
    segments = tuple(Segment(i, classes[i], i in crowds) for i in there)
    return Sample('tiny', np.zeros((*panoptic.shape, 3), np.uint8), panoptic, segments)


def result_of(rows, semantic=None) -> PanopticResult:
    """Make a result of a map of class * 1000 + number; the later a thing, the surer."""
    panoptic = np.atleast_2d(np.array(rows, np.int32))
    if semantic is None:
        semantic = np.where(panoptic == VOID, 255, panoptic // DIVISOR)
    things = [v for v in np.unique(panoptic).tolist() if v != VOID and v // DIVISOR >= CAR]
    scores = {v: (1 + i) / 100 for i, v in enumerate(things)}
    scene = Scene(
        sample_of(panoptic, {}), panoptic, np.atleast_2d(semantic).astype(np.uint8), scores
    )
    return scene.result()


class OneImage:
    def __init__(self, sample: Sample, groups=()) -> None:
        self.label_set, self.groups, self._sample = LABELS, groups, sample

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        return self._sample


def judge(sample, result, groups=(), labelled=None, ap='none', network=SAME) -> Scores:
    """Score one image of a set; labelled: all labels where not given."""
    labelled = range(COUNT + len(groups)) if labelled is None else labelled
    classes = set_classes(LABELS, groups, labelled, 'mine')
    truth = SetTruth(OneImage(sample, groups), classes)
    results = SetResults(network, classes)
    evaluator = SetEvaluator(truth, ap)
    evaluator.add(count_result(evaluator, truth[0], results(result)))
    return with_counted_things(evaluator.compute(), truth.label_set)


def row(scores: Scores, name: str):
    (found,) = (c for c in scores.classes if c.name == name)
    return found


def counts(scores: Scores, name: str) -> tuple[int, int, int]:
    c = row(scores, name)
    return c.tp, c.fp, c.fn


# --- the rules, one by one --------------------------------------------------------------------

CAR_1, CAR_2, BUS_1, BUS_2, DOG_1 = 2001, 2002, 3001, 3002, 4001
CAR_OR_BUS = COUNT  # the first group


def test_a_bus_is_found_where_the_set_calls_cars_and_buses_one():
    groups, labels = ((CAR, BUS),), {1: CAR_OR_BUS, 2: CAR_OR_BUS, 3: ROAD}
    truth = sample_of([1, 1, 2, 2, 3], labels)
    scores = judge(truth, result_of([BUS_1, BUS_1, CAR_1, CAR_1, 0]), groups, [ROAD, CAR_OR_BUS])
    assert [c.name for c in scores.classes] == ['road', 'car|bus']
    assert counts(scores, 'car|bus') == (2, 0, 0)
    assert (scores.pq, scores.miou) == (1, 1)


def test_a_car_and_a_bus_that_were_taken_apart_stay_two():
    truth = sample_of([1, 1, 1, 1], {1: CAR_OR_BUS})
    scores = judge(truth, result_of([CAR_1, CAR_1, BUS_1, BUS_1]), ((CAR, BUS),), [CAR_OR_BUS])
    assert counts(scores, 'car|bus') == (0, 2, 1)
    assert row(scores, 'car|bus').iou == 1


def test_stuff_that_the_set_calls_one_is_one_segment_however_it_was_called():
    truth = sample_of([1, 1, 2, 3], {1: COUNT, 2: COUNT, 3: CAR})
    scores = judge(truth, result_of([0, 1000, 0, CAR_1]), ((ROAD, SKY),), [COUNT, CAR])
    assert counts(scores, 'road|sky') == (1, 0, 0)
    assert row(scores, 'road|sky').pq == 1


def test_what_the_set_does_not_label_is_not_reported_and_wrong_where_it_does():
    truth = sample_of([1, 1, 1, 1, 9], {1: CAR})
    scores = judge(truth, result_of([CAR_1, CAR_1, CAR_1, DOG_1, DOG_1]), labelled=[CAR])
    assert [c.name for c in scores.classes] == ['car']
    assert row(scores, 'car').iou == row(scores, 'car').pq == 3 / 4
    nothing = judge(truth, result_of([DOG_1] * 5), labelled=[CAR])
    assert counts(nothing, 'car') == (0, 0, 1)


def test_what_is_mostly_on_unknown_ground_is_no_false_alarm():
    truth = sample_of([1, 1, 9, 9, 9], {1: ROAD})
    spared = judge(truth, result_of([0, CAR_1, CAR_1, CAR_1, CAR_1]), labelled=[ROAD, CAR])
    assert counts(spared, 'car') == (0, 0, 0)
    caught = judge(truth, result_of([CAR_1, CAR_1, CAR_1, 0, 0]), labelled=[ROAD, CAR])
    assert counts(caught, 'car') == (0, 1, 0)


SOME_STUFF = COUNT + 1
WIDE = ((CAR, BUS), (ROAD, SKY))


def test_no_thing_may_be_where_the_labels_say_only_that_it_is_stuff():
    labels = {1: ROAD, 2: SKY, 3: SOME_STUFF}
    truth = sample_of([1, 1, 3, 3, 3, 2], labels)
    labelled = [ROAD, SKY, CAR, SOME_STUFF]
    scores = judge(truth, result_of([0, 0, CAR_1, CAR_1, 0, 1000]), WIDE, labelled)
    assert [c.name for c in scores.classes] == ['road', 'sky', 'car']
    assert counts(scores, 'car') == (0, 1, 0)
    assert row(scores, 'car').iou == 0
    assert (row(scores, 'road').pq, row(scores, 'road').iou) == (1, 1), 'it may be road'
    assert scores.confusion[-1] == (0, 0, 2, 0)


def test_where_nobody_told_things_apart_there_is_no_pq_but_an_iou():
    truth = sample_of([1, 1, 1, 2], {1: CAR, 2: ROAD}, crowds=[1])
    scores = judge(truth, result_of([CAR_1, CAR_2, 0, CAR_2 + 1]), labelled=[ROAD, CAR])
    assert math.isnan(row(scores, 'car').pq)
    assert row(scores, 'car').iou == 2 / 4
    assert scores.pq == row(scores, 'road').pq
    assert math.isnan(scores.pq_things)


def test_a_blob_over_a_car_and_unknown_ground_is_no_whole_car():
    truth = OneImage(sample_of([1, 1, 9, 9, 9, 2, 2], {1: CAR, 2: CAR}))
    evaluator = SetEvaluator(truth)
    result = result_of([CAR_1] * 5 + [CAR_2] * 2)
    evaluator.add(count_result(evaluator, truth[0], result))
    assert evaluator.compute().classes[CAR].pq == 1, 'by the published rule'
    whole = evaluator.whole_qualities()
    assert whole['car'] == pytest.approx(1 / 1.5), 'one found, one missed, and no false alarm'
    assert [*whole] == ['car', 'bus', 'dog']
    assert math.isnan(whole['bus'])
    other = SetEvaluator(truth)
    other.merge(evaluator)
    assert other.whole_qualities()['car'] == whole['car']


@pytest.mark.parametrize('rule', ['coco', 'cityscapes'])
def test_ap_spares_what_pq_spares(rule):
    # The surer of the two cars stands where nothing is known; a false alarm would halve AP.
    known, unknown = np.ones((20, 20), int), np.full((20, 20), 9)
    truth, one = sample_of(np.hstack([known, unknown]), {1: CAR}), pytest.approx(1)
    result = result_of(np.hstack([known * CAR_1, known * CAR_2]))
    assert judge(truth, result, labelled=[ROAD, CAR], ap=rule).ap == one
    open_labels = sample_of(np.hstack([known, unknown]), {1: CAR, 9: COUNT})
    groups = ((CAR, BUS),)
    alone = [ROAD, CAR, BUS, COUNT]
    assert judge(open_labels, result, groups, alone, rule).ap == one
    stuff = sample_of(np.hstack([known, unknown]), {1: CAR, 9: SOME_STUFF})
    against = judge(stuff, result, WIDE, [ROAD, SKY, CAR, SOME_STUFF], rule)
    assert against.ap <= 0.5


# --- networks of other classes ------------------------------------------------------------------


def test_a_network_that_knows_fewer_classes_is_held_against_the_same_truth():
    # Its classes: ground, vehicle (car or bus), animal; the set tells cars and buses apart.
    truth = sample_of([1, 1, 2, 2, 3], {1: CAR, 2: BUS, 3: ROAD})
    network = ((ROAD,), (), (CAR, BUS))
    result = result_of([CAR_1, CAR_1, CAR_2, CAR_2, 0])
    scores = judge(truth, result, labelled=[ROAD, CAR, BUS], network=network)
    assert counts(scores, 'car') == (1, 1, 0)
    assert counts(scores, 'bus') == (0, 0, 1)
    assert row(scores, 'road').pq == 1


def test_stuff_of_a_network_that_is_a_thing_in_the_set_is_one_thing():
    truth = sample_of([1, 1, 2, 3], {1: CAR, 2: CAR, 3: ROAD})
    scores = judge(
        truth, result_of([1000, 1000, 1000, 0]), labelled=[ROAD, CAR],
        network=((ROAD,), (CAR,), (), (), ()), ap='cityscapes',
    )  # fmt: skip
    assert counts(scores, 'car') == (1, 0, 1)


# --- against a definition that is slow and plain ---------------------------------------------


@st.composite
def judged_images(draw):
    """A set, one labelled image of it, and a prediction that is near to the labels."""
    named = draw(st.lists(st.frozensets(st.integers(0, 4), min_size=1, max_size=4), min_size=1,
                          max_size=5, unique=True))  # fmt: skip
    groups = tuple(tuple(sorted(c)) for c in named if len(c) > 1)
    labels = [min(c) if len(c) == 1 else COUNT + groups.index(tuple(sorted(c))) for c in named]
    of_label = dict(zip(labels, named, strict=True))
    ids = {10 * (i + 1) + n: label for i, label in enumerate(labels) for n in range(2)}
    shape = draw(st.integers(1, 3)), draw(st.integers(1, 6))

    def pixels(values):
        size = shape[0] * shape[1]
        drawn = draw(st.lists(st.sampled_from(values), min_size=size, max_size=size))
        return np.array(drawn, np.int32).reshape(shape)

    palette = draw(st.lists(st.sampled_from([*ids, 9]), min_size=1, max_size=3))
    truth = pixels(palette)
    things = [i for i, label in ids.items() if min(of_label[label]) >= CAR]
    crowds = draw(st.sets(st.sampled_from(things), max_size=2)) if things else ()
    guesses = [0, 1000, CAR_1, CAR_2, BUS_1, BUS_2, DOG_1, VOID]
    guess_of = {i: draw(st.sampled_from(guesses)) for i in [*ids, 9]}
    near = np.vectorize(guess_of.get)(truth).astype(np.int32)
    prediction = np.where(pixels([0, 0, 0, 1]), pixels(guesses), near)
    semantic = np.where(pixels([0, 0, 1]), pixels([0, 1, 2, 3, 4, 255]), prediction // DIVISOR)
    semantic = np.where(semantic == VOID // DIVISOR, 255, semantic)
    return named, groups, labels, sample_of(truth, ids, crowds), prediction, semantic


def scores_by_hand(parts, may_be, sample, prediction, semantic):
    """Return (TP, FP, FN, summed IoU, IoU of pixels) for each scored class. may_be: the classes
    that a pixel may be, by segment id.
    """
    places = [p for p, _ in np.ndenumerate(prediction)]
    crowds = {s.id for s in sample.segments if s.is_crowd}
    listed = {s.id for s in sample.segments}
    label = {p: int(sample.panoptic[p]) for p in places}
    known = {p: may_be[label[p]] if label[p] in listed else None for p in places}
    last_crowd = {}
    for s in sample.segments:
        if s.id in crowds:
            last_crowd.update({part: s.id for part in parts if may_be[s.id] <= part})

    def undecided(p, part):
        decided = known[p] is not None and any(known[p] <= other for other in parts)
        return known[p] is None or (not decided and bool(known[p] & part))

    rows = []
    for part in parts:
        is_thing = min(part) >= CAR
        truth, predicted = defaultdict(set), defaultdict(set)
        for p in places:
            if known[p] is not None and known[p] <= part:
                truth[label[p] if is_thing else 'stuff'].add(p)
            if int(prediction[p]) // DIVISOR in part:
                predicted[int(prediction[p]) if is_thing else 'stuff'].add(p)
        unknown = {p for p in places if undecided(p, part)}
        crowd = truth.get(last_crowd.get(part), set())
        tp, iou_sum, matched, found = 0, 0.0, set(), set()
        for i, pixels in truth.items():
            for j, others in predicted.items():
                iou = len(pixels & others) / len((others - unknown) | pixels)
                if i not in crowds and iou > 0.5:
                    tp, iou_sum = tp + 1, iou_sum + iou
                    matched.add(j)
                    found.add(i)
        fp = sum(
            j not in matched and 2 * len(pixels & (unknown | crowd)) <= len(pixels)
            for j, pixels in predicted.items()
        )
        fn = len(truth.keys() - crowds - found)
        both = either = 0
        for p in set(places) - unknown:
            is_truth, is_predicted = known[p] <= part, int(semantic[p]) in part
            both += is_truth and is_predicted
            either += is_truth or is_predicted
        rows.append((tp, fp, fn, iou_sum, both / either if either else math.nan))
    return rows


@settings(deadline=None, max_examples=150)
@given(judged_images())
def test_scores_of_partial_labels_are_those_of_the_plain_definition(drawn):
    named, groups, labels, sample, prediction, semantic = drawn
    classes = set_classes(LABELS, groups, labels, 'mine')
    parts = [frozenset(m) for m in classes.members]
    assume(not any(min(p) < CAR <= max(p) for p in parts))
    of_label = dict(zip(labels, named, strict=True))
    may_be = {s.id: of_label[s.class_id] for s in sample.segments}
    expected = scores_by_hand(parts, may_be, sample, prediction, semantic)
    scores = judge(sample, result_of(prediction, semantic), groups, labels)
    for c, (tp, fp, fn, iou_sum, iou) in zip(scores.classes, expected, strict=True):
        assert (c.tp, c.fp, c.fn) == (tp, fp, fn), c.name
        assert c.iou == pytest.approx(iou, nan_ok=True)
        if tp:
            assert c.sq == pytest.approx(iou_sum / tp)


@settings(deadline=None, max_examples=60)
@given(judged_images())
def test_labels_of_one_class_each_are_scored_as_ever(drawn):
    *_, sample, prediction, semantic = drawn
    plain = [s._replace(class_id=s.class_id % COUNT) for s in sample.segments]
    # Stuff is one segment a class in each image, and no crowd, in every data set.
    plain = [s for s in plain if s.class_id >= CAR]
    sample = sample._replace(segments=tuple(plain))
    result = result_of(prediction, semantic)
    evaluator = PanopticEvaluator(LABELS, 'cityscapes')
    of_value = dict(zip(result.segments.id.tolist(), result.segments.score.tolist(), strict=True))
    evaluator.update(result.panoptic, sample, result.semantic, of_value)
    expected = with_counted_things(evaluator.compute(), LABELS)
    found = judge(sample, result, ap='cityscapes')
    assert repr(found) == repr(expected)
