"""Things that touch are told apart by boxes, and left alone where boxes leave a doubt."""

from __future__ import annotations

import numpy as np

from pdl_ros.teachers.boxes import Box
from pdl_ros.teachers.labels import Labels
from pdl_ros.teachers.settings import LabelSettings
from pdl_ros.teachers.splitting import split

from .test_deciding import BUS, CAR, MEMBERS, ROAD, VEHICLE

SETTINGS = LabelSettings()
THINGS = (CAR, BUS, VEHICLE)


def street(*cars: tuple[int, int, int, int], class_id: int = CAR) -> Labels:
    """60x100 of road, with crowds in (x0, y0, x1, y1)."""
    labels = Labels(np.full((60, 100), ROAD, np.int16), np.zeros((60, 100), np.int32))
    for x0, y0, x1, y1 in cars:
        labels.classes[y0:y1, x0:x1] = class_id
    return labels


def box(x0: int, y0: int, x1: int, y1: int, score: float = 0.9, ids=(CAR,)) -> Box:
    return Box(x0, y0, x1, y1, score, ids)


def test_two_things_that_touch_become_two_about_where_their_boxes_meet():
    labels = street((10, 20, 80, 40))
    done = split(labels, [box(10, 20, 50, 40), box(50, 20, 80, 40)], MEMBERS, THINGS, SETTINGS)
    left, right = labels.numbers[30, 20], labels.numbers[30, 70]
    assert left != right and left > 0 and right > 0
    assert (labels.numbers[20:40, 10:47] == left).all()
    assert (labels.numbers[20:40, 53:80] == right).all()
    assert (labels.numbers[20:40, 10:80] > 0).all()
    assert not labels.numbers[:20].any()
    assert (done.regions, done.doubtful, len(done.boxes)) == (1, 0, 2)


def test_one_box_makes_an_instance_of_a_region_it_fits():
    labels = street((10, 20, 50, 40))
    split(labels, [box(9, 19, 51, 42)], MEMBERS, THINGS, SETTINGS)
    assert (labels.numbers[20:40, 10:50] > 0).all()


def test_a_region_without_a_box_stays_a_crowd():
    labels = street((10, 20, 50, 40), (60, 20, 90, 40))
    done = split(labels, [box(60, 20, 90, 40)], MEMBERS, THINGS, SETTINGS)
    assert not labels.numbers[:, :55].any()
    assert labels.numbers[30, 70] > 0
    assert (done.regions, done.doubtful) == (2, 1)


def test_a_box_over_a_small_part_of_a_region_proves_nothing():
    labels = street((10, 20, 90, 40))
    done = split(labels, [box(10, 20, 35, 40)], MEMBERS, THINGS, SETTINGS)
    assert not labels.numbers.any()
    assert done.doubtful == 1


def test_a_box_that_is_nearly_empty_makes_no_instance():
    labels = street((10, 20, 16, 40))
    split(labels, [box(10, 20, 70, 40)], MEMBERS, THINGS, SETTINGS)
    assert not labels.numbers.any()


def test_where_boxes_overlap_the_nearer_centre_wins_and_the_lower_box_is_in_front():
    labels = street((10, 10, 50, 30), (30, 15, 70, 45))
    split(labels, [box(10, 10, 50, 30), box(30, 15, 70, 45)], MEMBERS, THINGS, SETTINGS)
    behind, front = labels.numbers[20, 12], labels.numbers[40, 60]
    assert behind > 0 and front > 0 and behind != front
    assert labels.numbers[20, 25] == behind
    # In the middle of the overlap both are as near; the one that reaches lower covers the other.
    assert labels.numbers[24, 41] == front


def test_parts_of_a_thing_behind_a_pole_are_one_instance():
    labels = street((10, 20, 28, 40), (32, 20, 50, 40))
    split(labels, [box(10, 20, 50, 40)], MEMBERS, THINGS, SETTINGS)
    assert labels.numbers[30, 15] == labels.numbers[30, 45] > 0


def test_true_instances_stay_unless_their_class_is_to_be_separated():
    labels = street((10, 20, 80, 40))
    labels.numbers[20:40, 10:80] = 5
    boxes = [box(10, 20, 50, 40), box(50, 20, 80, 40)]
    done = split(labels, boxes, MEMBERS, THINGS, SETTINGS)
    assert (labels.numbers[20:40, 10:80] == 5).all()
    assert done.regions == 0
    split(labels, boxes, MEMBERS, THINGS, LabelSettings(separate=(CAR,)))
    assert labels.numbers[30, 20] != labels.numbers[30, 70]


def test_boxes_of_other_classes_do_not_split():
    labels = street((10, 20, 50, 40), class_id=BUS)
    split(labels, [box(10, 20, 50, 40)], MEMBERS, THINGS, SETTINGS)
    assert not labels.numbers.any()


def test_a_joined_region_is_split_by_boxes_of_any_of_its_classes():
    labels = street((10, 20, 80, 40), class_id=VEHICLE)
    boxes = [
        box(10, 20, 50, 40),
        box(50, 20, 80, 40, ids=(BUS,)),
        box(50, 21, 80, 40, 0.5),  # the same thing, taken for a car with less certainty
    ]
    done = split(labels, boxes, MEMBERS, THINGS, SETTINGS)
    assert len(done.boxes) == 2
    assert done.boxes[int(labels.numbers[30, 70])].class_ids == (BUS,)
    assert (labels.classes[20:40, 10:80] == VEHICLE).all()  # deciding is not its job


def test_a_picture_without_things_or_boxes_is_no_trouble():
    done = split(street(), [], MEMBERS, THINGS, SETTINGS)
    assert done == ({}, 0, 0)
    labels = street((0, 0, 100, 60))
    assert split(labels, [], MEMBERS, THINGS, SETTINGS).doubtful == 1


def test_a_box_of_a_window_leaves_no_hole_in_the_car():
    labels = street((10, 20, 80, 50))
    car, window = box(10, 20, 80, 50), box(12, 22, 30, 36)
    split(labels, [car, window], MEMBERS, THINGS, SETTINGS)
    assert len(np.unique(labels.numbers[20:50, 10:80])) == 1
    assert labels.numbers[30, 20] > 0
