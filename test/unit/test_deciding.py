"""What a semantic teacher may decide, and what it must leave as the data have it."""

from __future__ import annotations

import numpy as np

from pdl_ros.datasets import Sample, Segment
from pdl_ros.labels import LabelClass, LabelSet, SourceClass
from pdl_ros.labels.label_set import PANOPTIC_VOID
from pdl_ros.teachers.boxes import Box
from pdl_ros.teachers.counts import count
from pdl_ros.teachers.deciding import decide_instances, decide_pixels
from pdl_ros.teachers.joined import joined_classes, members_of, with_joined
from pdl_ros.teachers.labels import UNKNOWN, Labels
from pdl_ros.teachers.settings import LabelSettings
from pdl_ros.teachers.splitting import Split

ROAD, SKY, CAR, BUS = range(4)
LABEL_SET = LabelSet(
    'tiny',
    (
        LabelClass('road', (100, 0, 0), False),
        LabelClass('sky', (0, 0, 200), False),
        LabelClass('car', (0, 0, 100), True),
        LabelClass('bus', (0, 50, 200), True),
    ),
    label_divisor=10,
)
GROUPS = ((ROAD, SKY), (CAR, BUS))
STUFF, VEHICLE = 4, 5
MEMBERS = members_of(LABEL_SET, GROUPS)
SETTINGS = LabelSettings(confidence=0.8, together=0.2)


def row(classes: list[int], numbers: list[int] | None = None) -> Labels:
    return Labels(
        np.array([classes], np.int16), np.array([numbers or [0] * len(classes)], np.int32)
    )


def sees(*pixels: tuple[float, ...]) -> np.ndarray:
    """(C, 1, N) probabilities of road, sky, car and bus."""
    return np.array(pixels, np.float32).T[:, None]


def test_what_the_data_label_stays_whatever_the_teacher_sees():
    labels = row([ROAD, CAR, BUS], [0, 1, 0])
    decide_pixels(labels, sees(*[(0.0, 1.0, 0.0, 0.0)] * 3), MEMBERS, SETTINGS)
    decide_instances(labels, sees(*[(0.0, 1.0, 0.0, 0.0)] * 3), {}, MEMBERS, SETTINGS)
    assert labels.classes.tolist() == [[ROAD, CAR, BUS]]


def test_an_unlabelled_pixel_gets_a_class_from_the_confidence_on():
    labels = row([UNKNOWN] * 3)
    decide_pixels(
        labels, sees((0.79, 0.2, 0, 0), (0.81, 0.1, 0, 0), (0, 0, 0.9, 0.1)), MEMBERS, SETTINGS
    )
    assert labels.classes.tolist() == [[UNKNOWN, ROAD, CAR]]
    assert labels.numbers.tolist() == [[0, 0, 0]]  # its things are crowds


def test_nothing_is_added_but_what_may_be():
    labels = row([UNKNOWN, UNKNOWN])
    stuff = LabelSettings(added=(ROAD, SKY))
    decide_pixels(labels, sees((0.9, 0, 0, 0), (0, 0, 0.9, 0)), MEMBERS, stuff)
    assert labels.classes.tolist() == [[ROAD, UNKNOWN]]


def test_of_joined_classes_the_best_among_them_is_taken():
    # The teacher thinks of a car, which the data rule out; among road and sky it is sure of sky.
    labels = row([STUFF, STUFF, STUFF])
    decide_pixels(
        labels,
        sees((0.02, 0.28, 0.7, 0), (0.3, 0.3, 0.4, 0), (0.01, 0.14, 0.85, 0)),
        MEMBERS,
        SETTINGS,
    )
    # The second is undecided, the third seen as something else altogether.
    assert labels.classes.tolist() == [[SKY, STUFF, STUFF]]


def test_an_instance_gets_one_class_by_all_its_pixels():
    labels = row([VEHICLE] * 4, [1, 1, 1, 0])
    probabilities = sees((0, 0, 0.95, 0.05), (0, 0, 0.9, 0.1), (0, 0, 0.6, 0.4), (0, 0, 0, 1))
    decide_instances(labels, probabilities, {}, MEMBERS, SETTINGS)
    assert labels.classes.tolist() == [[CAR, CAR, CAR, VEHICLE]]
    decide_pixels(labels, probabilities, MEMBERS, SETTINGS)
    assert labels.classes.tolist() == [[CAR, CAR, CAR, BUS]]
    assert labels.numbers.tolist() == [[1, 1, 1, 0]]


def test_an_instance_of_which_box_and_pixels_disagree_stays_joined():
    box = Box(0, 0, 1, 1, 0.8, (BUS,))
    for pixels, expected in (((0, 0, 0.8, 0.2), VEHICLE), ((0, 0, 0.3, 0.7), BUS)):
        labels = row([VEHICLE], [3])
        decide_instances(labels, sees(pixels), {3: box}, MEMBERS, SETTINGS)
        assert labels.classes.tolist() == [[expected]]


def test_without_a_semantic_teacher_a_sure_box_decides():
    for score, expected in ((0.7, VEHICLE), (0.9, CAR)):
        labels = row([VEHICLE], [3])
        boxes = {3: Box(0, 0, 1, 1, score, (CAR,))}
        decide_instances(labels, None, boxes, MEMBERS, SETTINGS)
        assert labels.classes.tolist() == [[expected]]


def test_labels_written_and_read_again_are_the_same():
    joined = with_joined(LABEL_SET, GROUPS)
    labels = row([ROAD, CAR, CAR, CAR, VEHICLE, UNKNOWN, STUFF], [0, 7, 9, 0, 4, 0, 0])
    panoptic = labels.to_panoptic(joined)
    assert panoptic.dtype == np.uint16
    assert panoptic[0, [0, 3, 5, 6]].tolist() == [0, 20, PANOPTIC_VOID, 40]
    assert sorted(panoptic[0, 1:3].tolist()) == [21, 22]
    assert panoptic[0, 4] == 51


def test_more_instances_than_numbers_are_a_crowd_and_nothing_else():
    labels = row([CAR] * 12, list(range(1, 13)))
    values = labels.to_panoptic(LABEL_SET)[0].tolist()
    assert sorted(values) == [20, 20, 20, *range(21, 30)]


def test_stuff_and_crowds_of_a_sample_have_no_number():
    sample = Sample(
        'a',
        np.zeros((1, 4, 3), np.uint8),
        np.array([[5, 6, 7, 8]], np.int32),
        (Segment(5, STUFF), Segment(6, CAR), Segment(7, CAR, True)),
    )
    labels = Labels.of(sample, with_joined(LABEL_SET, GROUPS).thing_ids)
    assert labels.classes.tolist() == [[STUFF, CAR, CAR, UNKNOWN]]
    assert [n > 0 for n in labels.numbers[0]] == [False, True, False, False]


def test_joined_classes_are_named_by_bars_and_found_by_their_names_again():
    joined = with_joined(LABEL_SET, GROUPS)
    assert [c.name for c in joined.classes[4:]] == ['road|sky', 'car|bus']
    assert [c.is_thing for c in joined.classes[4:]] == [False, True]
    assert joined.classes[5].color == (0, 25, 150)
    sources = [c._replace(id=i) for i, c in enumerate(_sources(joined))]
    assert joined_classes(sources, LABEL_SET, 'mine') == (tuple(sources), GROUPS)


def test_joined_names_in_any_order_and_with_blanks_are_the_classes_of_a_mixture():
    names = ['bus|car', 'Car | bus', 'car|car', 'sky']
    sources = [SourceClass(i, name) for i, name in enumerate(names)]
    renamed, groups = joined_classes(sources, LABEL_SET, 'mine')
    assert [(c.id, c.name) for c in renamed] == [
        (0, 'car|bus'),
        (1, 'car|bus'),
        (2, 'car'),
        (3, 'sky'),
    ]
    assert groups == ((CAR, BUS),)


def test_each_pixel_is_counted_once():
    before = row([ROAD, STUFF, STUFF, UNKNOWN, UNKNOWN, UNKNOWN]).classes
    after = row([ROAD, SKY, STUFF, ROAD, UNKNOWN, UNKNOWN])
    found = count(before, after, MEMBERS, Split({1: Box(0, 0, 1, 1, 1, (CAR,))}, 3, 2))
    pixels = (found.by_data, found.decided, found.joined, found.added, found.unknown)
    assert pixels == (1, 1, 1, 1, 2)
    found.add(found)
    assert found.sentences() == [
        '2 pictures. Of their pixels the data labelled 16.7 %; the teacher decided 16.7 % that '
        'were joined and added 16.7 %; 16.7 % stayed joined, 33.3 % unknown.',
        '6 joined regions of things: 2 became 2 instances, 4 are doubtful and stay crowds.',
    ]


def _sources(label_set):
    from pdl_ros.datasets.label_folder import classes_of

    return classes_of(label_set)
