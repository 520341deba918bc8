"""What the fusion does beyond the published rule, where it is asked to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdl_ros.bench.hard_heads import label_set_of
from pdl_ros.fusion import FusionSettings, fuse, fuse_reference

from .fusion_by_hand import (
    ALL,
    CAR,
    DOG,
    LABEL_SET,
    VOID,
    assert_same,
    assert_table_describes_maps,
    heads_of,
    run,
    tensors,
)


def test_a_row_of_cars_without_any_centre_is_void_as_published_or_kept_where_it_is_asked_for():
    classes = np.zeros((12, 20), int)
    classes[2:5, 2:8] = classes[8:11, 12:18] = CAR
    classes[0, 19] = CAR  # a speck
    classes[5, 8] = classes[2:4, 12:14] = DOG  # touches the first car at a corner, and a dog
    heads = heads_of(classes)
    published = run(heads)
    assert (published.panoptic.numpy()[classes > 0] == VOID).all()
    kept = replace(ALL, without_center='components', stuff_area=4)
    rows = [row for row in run(heads, kept).segments.rows() if row['is_thing']]
    assert [(r['id'], r['area'], r['center']) for r in rows] == [
        (CAR * 100 + 1, 18, [4.5, 3.0]),
        (DOG * 100 + 1, 4, [12.5, 2.5]),
        (CAR * 100 + 2, 18, [14.5, 9.0]),
    ]
    for score, has_score in (('both', False), ('instance', False), ('semantic', True)):
        for row in run(heads, replace(kept, score=score)).segments.rows():
            assert row['objectness'] == 0, 'who filters by it drops them all'
            assert (row['score'] > 0) == (has_score and row['is_thing'])


def test_a_single_centre_keeps_the_published_rule_for_all_things_of_a_frame():
    classes = np.zeros((12, 20), int)
    classes[2:5, 2:8] = classes[8:11, 12:18] = CAR
    heads = heads_of(classes, {(3, 4): 0.5})
    assert_same(run(heads), run(heads, replace(ALL, without_center='components')))


@pytest.mark.parametrize('function', [fuse, fuse_reference])
def test_a_car_behind_a_dog_that_took_its_centre_is_a_car_where_it_is_asked_for(function):
    classes = np.zeros((12, 20), int)
    classes[2:8, 2:12] = CAR
    classes[4:10, 8:14] = DOG
    heads = heads_of(classes, {(6, 9): 0.5})

    def things(fusion: FusionSettings) -> list[tuple]:
        rows = function(heads, LABEL_SET, fusion, classes.shape).segments.rows()
        return [
            (row['id'], row['area'], row['objectness'], row['box'], row['center'])
            for row in rows
            if row['is_thing']
        ]

    car, dog = int((classes == CAR).sum()), int((classes == DOG).sum())
    assert (car, dog) == (44, 36)
    joined = [(CAR * 100 + 1, 80, 0.5, [2, 2, 14, 10], [9, 6])]
    assert things(replace(ALL, stuff_area=4)) == joined
    split = replace(ALL, stuff_area=4, outvoted_area=36)
    apart = [
        (CAR * 100 + 1, car, 0.5, [2, 2, 12, 8], [9, 6]),
        (DOG * 100 + 1, dog, 0.5, [8, 4, 14, 10], [10.5, 6.5]),
    ]
    assert things(split) == apart
    assert things(replace(split, outvoted_area=37)) == joined, 'too small'
    classes[4:10, 11:14] = 0
    heads = heads_of(classes, {(6, 9): 0.5})
    assert (classes == DOG).sum() == 18
    assert len(things(replace(split, outvoted_area=18))) == 1, 'an edge, or doubt, is no thing'


@pytest.mark.parametrize('function', [fuse, fuse_reference])
def test_a_thing_that_is_hardly_believed_is_void_where_it_is_asked_for(function):
    classes = np.zeros((12, 24), int)
    cars = np.s_[2:5, 2:8], np.s_[2:5, 10:14], np.s_[8:11, 12:18]
    for car in cars:
        classes[car] = CAR
    heads = heads_of(classes, {(3, 4): 0.25, (3, 12): 0.5, (9, 14): 0.75})

    def ids(threshold: float, area: int = 0) -> list[tuple[int, int]]:
        fusion = replace(ALL, score='instance', score_threshold=threshold, doubtful_area=area)
        result = function(heads, LABEL_SET, fusion, classes.shape)
        assert_table_describes_maps(result)
        assert (result.semantic.numpy() == classes).all(), 'the class stays'
        return [(int(result.panoptic[car].max()), int(result.instance[car].max())) for car in cars]

    first, second, third = (CAR * 100 + n for n in (1, 2, 3))
    assert ids(0) == ids(0.25) == [(first, 1), (second, 2), (third, 3)], 'as much is enough'
    assert ids(0.3) == [(VOID, 0), (first, 1), (second, 2)]
    assert ids(0.9) == [(VOID, 0)] * 3
    assert ids(0.9, 18) == [(first, 1), (VOID, 0), (second, 2)], 'of 18, 12 and 18 pixels'
    assert ids(0.9, 19) == [(VOID, 0)] * 3


def test_what_is_too_large_to_be_doubted_is_so_at_every_output_size():
    classes = np.zeros((12, 20), int)
    classes[2:6, 2:8] = CAR
    slope = {(3, 4): 0.25, (3, 5): 0.2, (4, 4): 0.15, (4, 5): 0.1}  # a flat one has four centres
    heads = heads_of(classes, slope, stride=4)
    for area, things in ((300, 1), (500, 0)):  # it has 4 × 6 × 16 of the network's pixels
        fusion = replace(ALL, nms_kernel=15, score_threshold=0.9, doubtful_area=area)
        for size in ((24, 40), (48, 80), (96, 160)):
            rows = fuse(heads, LABEL_SET, fusion, size).segments.rows()
            assert sum(row['is_thing'] for row in rows) == things, (area, size)


def test_what_takes_the_place_of_a_centre_is_kept_though_its_score_is_nothing():
    classes = np.zeros((12, 20), int)
    classes[2:5, 2:8] = CAR
    fusion = replace(ALL, without_center='components', stuff_area=4)
    heads = heads_of(classes, {})
    assert_same(run(heads, fusion), run(heads, replace(fusion, score_threshold=0.5)))


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 9]))
def test_of_many_thing_classes_one_splits_off_and_ids_have_room_for_few(seed, area):
    rng = np.random.default_rng(seed)
    labels = label_set_of(6, 5, 3)
    blocks = np.kron(rng.integers(0, 6, (3, 4)), np.ones((4, 4), int))
    logits = np.eye(6, dtype=np.float32)[blocks].transpose(2, 0, 1) * 3
    logits += rng.normal(0, 1, logits.shape).astype(np.float32)
    heatmap = (rng.random(blocks.shape) > 0.95).astype(np.float32)
    offset = rng.normal(0, 2, (2, *blocks.shape)).astype(np.float32)
    fusion = replace(ALL, outvoted_area=area)
    heads = tensors(logits, heatmap, offset)
    ours, theirs = (f(heads, labels, fusion, blocks.shape) for f in (fuse, fuse_reference))
    assert_same(ours, theirs, 1e-5)
    assert_table_describes_maps(ours, labels)
