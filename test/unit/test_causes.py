"""Every labelled thing is sorted by what became of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pdl_ros.datasets import Sample
from pdl_ros.datasets.record import segments_of
from pdl_ros.evaluation.causes import CAUSES, SIZES, fates
from pdl_ros.fusion import PanopticResult

from .labelled_scenes import DIVISOR, LABELS, VOID, Scene

ROAD, CAR, DOG = 0, 2 * DIVISOR, 3 * DIVISOR
FIRST, SECOND = (slice(10, 30), slice(10, 30)), (slice(10, 30), slice(32, 48))


def drawn(*regions) -> np.ndarray:
    """Draw (place, value) on a road."""
    values = np.full((40, 60), ROAD, np.int32)
    for place, value in regions:
        values[place] = value
    return values


def sample_of(panoptic: np.ndarray) -> Sample:
    image = np.zeros((*panoptic.shape, 3), np.uint8)
    return Sample('drawn', image, panoptic, segments_of(panoptic, LABELS))


def result_of(panoptic: np.ndarray, centers=(), semantic=None) -> PanopticResult:
    """Make a result; centers: (x, y) by value in the map."""
    if semantic is None:
        semantic = np.where(panoptic == VOID, 255, panoptic // DIVISOR)
    scores = {int(v): 0.5 for v in np.unique(panoptic) if 2 <= v // DIVISOR < 5}
    result = Scene(sample_of(panoptic), panoptic, semantic.astype(np.uint8), scores).result()
    places = [dict(centers).get(i, (-99.0, -99.0)) for i in result.segments.id.tolist()]
    center = torch.tensor(places).reshape(-1, 2)
    objectness = result.segments.is_thing.float()
    table = result.segments._replace(center=center, objectness=objectness)
    return result._replace(segments=table)


def causes(truth: np.ndarray, result: PanopticResult) -> list[str]:
    return [CAUSES[fate.cause] for fate in fates(sample_of(truth), result, LABELS)]


CARS = drawn((FIRST, CAR + 1), (SECOND, CAR + 2))
CENTERS = {CAR + 1: (19.5, 19.5), CAR + 2: (39.5, 19.5)}


def test_what_overlaps_by_more_than_half_is_found():
    assert causes(CARS, result_of(CARS, CENTERS.items())) == ['found', 'found']


@pytest.mark.parametrize('taken_for', [ROAD, DOG + 1])
def test_a_car_whose_pixels_have_another_class_is_missed_by_the_semantics(taken_for):
    found = drawn((FIRST, CAR + 1), (SECOND, taken_for))
    assert causes(CARS, result_of(found, CENTERS.items()))[1] == 'missed by the semantics'


def test_a_car_whose_segment_voted_for_dog_is_missed_by_the_semantics():
    found = drawn((FIRST, CAR + 1), (SECOND, DOG + 1))
    semantic = CARS // DIVISOR
    told = causes(CARS, result_of(found, CENTERS.items(), semantic))
    assert told == ['found', 'missed by the semantics']


def test_a_car_in_the_segment_of_its_neighbour_is_merged():
    found = drawn((FIRST, CAR + 1), (SECOND, CAR + 1))
    told = causes(CARS, result_of(found, {CAR + 1: (19.5, 19.5)}.items()))
    assert told == ['found', 'merged with a neighbour']


def test_a_car_without_any_instance_is_without_a_centre():
    found = drawn((FIRST, CAR + 1), (SECOND, VOID))
    told = causes(CARS, result_of(found, CENTERS.items(), CARS // DIVISOR))
    assert told == ['found', 'without a centre']


def test_a_car_given_to_a_centre_far_off_is_without_a_centre():
    left, right = (slice(10, 30), slice(32, 40)), (slice(10, 30), slice(40, 48))
    found = drawn((FIRST, CAR + 1), (left, CAR + 2), (right, CAR + 3))
    told = causes(CARS, result_of(found, {CAR + 1: (19.5, 19.5)}.items()))
    assert told == ['found', 'without a centre']


def test_the_middle_of_a_part_of_a_frame_without_centres_is_no_centre():
    left, right = (slice(10, 30), slice(32, 40)), (slice(10, 30), slice(40, 48))
    found = drawn((FIRST, CAR + 1), (left, CAR + 2), (right, CAR + 3))
    result = result_of(found, CENTERS.items())
    table = result.segments._replace(objectness=torch.zeros_like(result.segments.objectness))
    assert causes(CARS, result._replace(segments=table)) == ['found', 'without a centre']


def test_a_car_in_two_halves_is_split():
    left, right = (slice(10, 30), slice(32, 40)), (slice(10, 30), slice(40, 48))
    found = drawn((FIRST, CAR + 1), (left, CAR + 2), (right, CAR + 3))
    assert causes(CARS, result_of(found, CENTERS.items())) == ['found', 'split']


def test_a_car_with_twice_its_area_has_a_poor_outline():
    wide = slice(0, 40), slice(31, 60)
    found = drawn((FIRST, CAR + 1), (wide, CAR + 2))
    assert causes(CARS, result_of(found, CENTERS.items())) == ['found', 'poor outline']


def test_crowds_and_stuff_are_not_sorted_and_sizes_are_those_of_coco():
    truth = drawn((FIRST, CAR), (SECOND, CAR + 2))
    (fate,) = fates(sample_of(truth), result_of(CARS), LABELS)
    assert (fate.class_id, fate.area, SIZES[fate.size]) == (2, 320, 'small')
    large = np.full((100, 100), CAR + 1, np.int32)
    (fate,) = fates(sample_of(large), result_of(large), LABELS)
    assert SIZES[fate.size] == 'large'


def test_a_frame_in_which_nothing_was_predicted_is_sorted_too():
    nothing = np.full(CARS.shape, VOID, np.int32)
    assert causes(CARS, result_of(nothing)) == ['missed by the semantics'] * 2
    told = causes(CARS, result_of(nothing, semantic=CARS // DIVISOR))
    assert told == ['without a centre'] * 2
