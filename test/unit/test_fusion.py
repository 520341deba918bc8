"""The fusion gives what the published definition gives, pixel for pixel, and never loses its
mind.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdl_ros.errors import PdlError
from pdl_ros.fusion import FusionSettings, fuse, fuse_reference
from pdl_ros.network.heads import HeadOutputs

from .fusion_by_hand import (
    ALL,
    CAR,
    DOG,
    EVERY,
    LABEL_SET,
    ROAD,
    VOID,
    WALL,
    assert_equals_by_hand,
    assert_same,
    assert_table_describes_maps,
    fuse_by_hand,
    fusion_settings,
    head_arrays,
    heads_of,
    run,
    tensors,
)


@settings(deadline=None, max_examples=300)
@given(head_arrays(), fusion_settings)
def test_maps_and_segments_are_those_of_the_paper_worked_out_by_hand(arrays, fusion):
    by_hand = fuse_by_hand(*arrays, fusion)
    for function in (fuse, fuse_reference):
        result = function(tensors(*arrays), LABEL_SET, fusion, arrays[1].shape)
        assert_equals_by_hand(result, *by_hand)


BROKEN = [np.nan, np.inf, -np.inf, 3e38, -3e38]


@settings(deadline=None, max_examples=200)
@given(
    head_arrays(),
    fusion_settings,
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 500), st.sampled_from(BROKEN))),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
def test_a_diverged_network_gives_nonsense_but_neither_a_crash_nor_unknown_ids(
    arrays, fusion, breaks, size
):
    for head, position, value in breaks:
        arrays[head].flat[position % arrays[head].size] = value
    for stride, out in ((1, arrays[1].shape), (4, size)):
        result = fuse(tensors(*arrays, stride), LABEL_SET, fusion, out)
        assert result.panoptic.shape == out
        assert_table_describes_maps(result)


@pytest.mark.parametrize('head', [0, 1, 2])
@pytest.mark.parametrize('value', BROKEN)
def test_a_head_of_nothing_but_nonsense_does_not_stop_the_node(head, value):
    heads = heads_of([[CAR, DOG], [ROAD, CAR]], {(0, 0): 1.0})
    heads[head][:] = value
    assert_table_describes_maps(run(heads))


# --- the rules, one by one ------------------------------------------------------------------------


def test_a_street_without_things_is_all_stuff():
    result = run(heads_of([[ROAD, WALL], [ROAD, ROAD]]))
    assert result.panoptic.tolist() == [[0, 200], [0, 0]]
    assert not result.instance.any()
    assert [row['area'] for row in result.segments.rows()] == [3, 1]


def test_things_without_any_centre_are_void_but_keep_their_class():
    result = run(heads_of([[CAR, ROAD], [DOG, ROAD]]))
    assert result.panoptic.tolist() == [[VOID, 0], [VOID, 0]]
    assert result.semantic.tolist() == [[CAR, ROAD], [DOG, ROAD]]
    assert not result.instance.any()


def test_stuff_is_void_below_the_area_and_kept_at_it():
    heads = heads_of([[ROAD, ROAD, WALL], [ROAD, WALL, ROAD]])
    result = run(heads, replace(ALL, stuff_area=4))
    assert result.panoptic.tolist() == [[0, 0, VOID], [0, VOID, 0]]
    result = run(heads, replace(ALL, stuff_area=5))
    assert (result.panoptic == VOID).all()
    assert result.segments.rows() == []


def test_a_one_pixel_image_is_segmented():
    for align in (False, True):
        fusion = replace(ALL, align_corners=align)
        assert run(heads_of([[ROAD]]), fusion).panoptic.tolist() == [[0]]
        assert run(heads_of([[CAR]], {(0, 0): 0.5}), fusion).panoptic.tolist() == [[101]]


def test_with_as_many_peaks_as_allowed_the_weakest_and_its_ties_are_dropped():
    heads = heads_of([[CAR] * 9], {(0, 0): 0.9, (0, 2): 0.8, (0, 4): 0.5, (0, 6): 0.5, (0, 8): 1})
    for top_k, kept in ((200, [0, 2, 4, 6, 8]), (5, [0, 2, 8]), (4, [0, 2, 8]), (3, [0, 8])):
        centers = run(heads, replace(ALL, top_k=top_k)).segments.center[:, 0]
        assert centers.tolist() == kept


def test_every_pixel_of_a_flat_peak_is_a_centre_as_published():
    peak = {(1, 1): 0.7, (1, 2): 0.7, (2, 1): 0.7, (2, 2): 0.7}
    result = run(heads_of([[CAR] * 4] * 4, peak))
    assert result.segments.center.tolist() == [[1, 1], [2, 1], [1, 2], [2, 2]]


def test_a_heatmap_at_the_threshold_is_no_centre():
    assert not run(heads_of([[CAR]], {(0, 0): 0.1})).instance.any()


def test_a_pixel_between_two_centres_goes_to_the_upper_left_one():
    result = run(heads_of([[CAR] * 5], {(0, 0): 0.5, (0, 4): 0.9}))
    assert result.instance.tolist() == [[1, 1, 1, 2, 2]]


def test_an_instance_is_what_most_of_its_pixels_are_and_the_smaller_class_on_a_tie():
    most = run(heads_of([[DOG, DOG, CAR]], {(0, 1): 1}))
    assert most.panoptic.tolist() == [[301] * 3]
    assert most.semantic.tolist() == [[DOG, DOG, CAR]]
    assert run(heads_of([[DOG, CAR]], {(0, 0): 1})).panoptic.tolist() == [[101] * 2]


def test_instances_are_numbered_within_their_class_in_reading_order():
    result = run(heads_of([[CAR, DOG, CAR]], {(0, 0): 0.4, (0, 1): 0.9, (0, 2): 0.5}), EVERY)
    assert result.panoptic.tolist() == [[101, 301, 102]]
    assert result.instance.tolist() == [[1, 2, 3]]


def test_a_centre_to_which_no_pixel_points_is_no_segment_and_leaves_no_gap():
    result = run(heads_of([[ROAD, ROAD, CAR]], {(0, 0): 1, (0, 2): 0.5}))
    assert result.panoptic.tolist() == [[0, 0, 101]]
    assert result.instance.tolist() == [[0, 0, 1]]


def test_more_instances_than_the_divisor_counts_do_not_become_another_class():
    # Three ids a class: the fourth car would be wall 0 by arithmetic, the fifth wall 1.
    narrow = replace(LABEL_SET, label_divisor=4)
    result = run(heads_of([[CAR] * 9], {(0, x): 0.5 for x in range(0, 9, 2)}), label_set=narrow)
    assert_table_describes_maps(result, narrow)
    assert result.segments.id.tolist() == [5, 6, 7]  # the first three in reading order
    assert (result.panoptic == VOID).sum() == 9 - result.segments.area.sum() > 0


def test_a_label_set_without_things_or_without_stuff_works():
    for is_thing, panoptic in ((False, [[0, 100]]), (True, [[1, 101]])):
        classes = tuple(replace(c, is_thing=is_thing) for c in LABEL_SET.classes)
        label_set = replace(LABEL_SET, classes=classes)
        heads = heads_of([[ROAD, CAR]], {(0, 0): 0.5, (0, 1): 0.6})
        assert run(heads, EVERY, label_set).panoptic.tolist() == panoptic


def test_the_score_is_read_at_the_centre_or_where_detectron2_reads_it():
    heads = heads_of([[CAR, CAR, CAR, CAR]], {(0, 3): 0.8})
    heads.center_heatmap[0, 0, 0, 1] = 0.05  # int(mean of 0..3) = 1
    for objectness, expected in (('center', 0.8), ('mask_centroid', 0.05)):
        (row,) = run(heads, replace(ALL, objectness=objectness)).segments.rows()
        assert row['objectness'] == pytest.approx(expected)
        assert row['class_score'] == pytest.approx(np.exp(4) / (np.exp(4) + 3))
        assert row['score'] == pytest.approx(row['objectness'] * row['class_score'])


@pytest.mark.parametrize(
    ('score', 'expected'), [('semantic', 0.9), ('instance', 0.5), ('both', 0.45)]
)
def test_the_authors_other_scores_can_be_asked_for(score, expected):
    heads = heads_of([[CAR]], {(0, 0): 0.5})
    heads.semantic[0, :, 0, 0] = torch.tensor([0.1 / 3, 0.9, 0.1 / 3, 0.1 / 3]).log()
    (row,) = run(heads, replace(ALL, score=score)).segments.rows()
    assert row['score'] == pytest.approx(expected)
    assert row['objectness'] * row['class_score'] == pytest.approx(0.45)


# --- a network that diverged: NaN and infinity are no evidence -----------------------------------

NOT_FINITE = pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])


@NOT_FINITE
def test_a_class_without_a_number_loses_to_the_classes_that_have_one(value):
    heads = heads_of([[ROAD, CAR]], {(0, 1): 0.5})
    heads.semantic[0, [WALL, DOG], 0, :] = value
    assert run(heads).panoptic.tolist() == [[0, 101]]
    assert run(heads).segments.class_score[0] == pytest.approx(np.exp(4) / (np.exp(4) + 1))


@NOT_FINITE
def test_a_pixel_without_a_number_for_any_class_is_void_and_counts_nowhere(value):
    heads = heads_of([[ROAD, CAR, CAR, ROAD]], {(0, 1): 0.5})
    heads.semantic[0, :, 0, 2:] = value
    result = run(heads)
    assert result.semantic.tolist() == [[ROAD, CAR, 255, 255]]
    assert result.panoptic.tolist() == [[0, 101, VOID, VOID]]
    assert result.segments.area.tolist() == [1, 1]


@NOT_FINITE
def test_no_centre_stands_where_the_heatmap_has_no_number(value):
    heads = heads_of([[CAR] * 5], {(0, 1): 0.5, (0, 4): value})
    assert run(heads).segments.center.tolist() == [[1, 0]]


@NOT_FINITE
def test_a_thing_pixel_that_points_nowhere_is_void_and_keeps_its_class(value):
    offset = torch.zeros(2, 1, 4)
    offset[1, 0, 3] = value
    result = run(heads_of([[CAR] * 4], {(0, 0): 0.5}, offset))
    # Pixel 2 interpolates, with weight 0, towards the broken sample.
    assert result.panoptic.tolist() == [[101, 101, VOID, VOID]]
    assert result.instance.tolist() == [[1, 1, 0, 0]]
    assert result.semantic.tolist() == [[CAR] * 4]
    assert result.segments.area.tolist() == [2]


def test_an_offset_too_large_for_any_distance_goes_to_the_first_centre():
    offset = torch.full((2, 1, 3), 3e38)
    result = run(heads_of([[CAR] * 3], {(0, 0): 0.5, (0, 2): 0.5}, offset))
    assert result.instance.tolist() == [[1, 1, 1]]


@given(head_arrays())
@settings(deadline=None, max_examples=20)
def test_heads_in_half_precision_are_fused_as_the_numbers_they_are(arrays):
    half = [a.astype(np.float16) for a in arrays]
    assert_same(run(tensors(*half)), run(tensors(*(a.astype(np.float32) for a in half))))


# --- what a caller can get wrong ------------------------------------------------------------------


def test_a_batch_is_refused_instead_of_its_first_frame_shown_for_all():
    heads = HeadOutputs(*(h.repeat(2, 1, 1, 1) for h in heads_of([[ROAD]])[:3]), 1)
    with pytest.raises(ValueError, match='one frame at a time'):
        run(heads)


@pytest.mark.parametrize(
    'wrong',
    [
        {'nms_kernel': 4},
        {'nms_kernel': -1},
        {'center_threshold': -0.1},
        {'center_threshold': float('nan')},
        {'top_k': 0},
        {'stuff_area': -1},
        {'without_center': 'nearest'},
        {'outvoted_area': -1},
        {'score_threshold': -0.1},
        {'doubtful_area': -1},
        {'objectness': 'both'},
        {'score': 'center'},
    ],
    ids=str,
)
def test_a_wrong_setting_is_refused_where_it_is_made_by_its_name(wrong):
    (name,) = wrong
    with pytest.raises(PdlError, match=f'^{name} is [^\n]+$'):
        FusionSettings(**wrong)
