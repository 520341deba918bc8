"""The heads are taught what the paper says they shall predict."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdl_ros.datasets import Segment
from pdl_ros.errors import PdlError
from pdl_ros.training.settings import TargetSettings
from pdl_ros.training.targets import Targets, make_targets

from .tiny_labels import CAR, CAR_1, CAR_2, DOG, DOG_1, LABEL_SET, ROAD, ROAD_ID, UNLABELLED


def segments_of(panoptic: np.ndarray, crowds=()) -> tuple[Segment, ...]:
    ids = (int(i) for i in np.unique(panoptic) if i != UNLABELLED)
    return tuple(Segment(i, i // 10, i in crowds) for i in ids)


def targets_of(rows, crowds=(), **changes) -> Targets:
    panoptic = np.atleast_2d(np.array(rows, np.int32))
    return make_targets(
        panoptic, segments_of(panoptic, crowds), LABEL_SET, TargetSettings(**changes)
    )


# --- against a definition that is slow and plain ---------------------------------------------


def targets_by_hand(panoptic, segments, target_settings: TargetSettings) -> dict[str, np.ndarray]:
    """Fill every pixel on its own."""
    height, width = panoptic.shape
    sigma, reach = target_settings.sigma, 3 * target_settings.sigma + 1
    by_id = {s.id: s for s in segments}
    of_id: dict[int, list] = {}
    for y, x in np.ndindex(height, width):
        of_id.setdefault(int(panoptic[y, x]), []).append((y, x))
    mean = {i: [sum(axis) / len(p) for axis in zip(*p, strict=True)] for i, p in of_id.items()}
    things = [i for i in of_id if i in by_id and by_id[i].class_id in (CAR, DOG)]
    result = {
        'semantic': np.full((height, width), 255),
        'semantic_weight': np.ones((height, width)),
        'center_heatmap': np.zeros((1, height, width)),
        'center_weight': np.zeros((1, height, width)),
        'offset': np.zeros((2, height, width)),
        'offset_weight': np.zeros((1, height, width)),
    }
    for y, x in np.ndindex(height, width):
        for i in things:  # crowds too: published code draws their centres
            if by_id[i].is_crowd and target_settings.ignore_crowd_in_center:
                continue
            dy, dx = y - round(mean[i][0]), x - round(mean[i][1])
            if max(abs(dy), abs(dx)) <= reach:
                height_here = math.exp(-(dy**2 + dx**2) / (2 * sigma**2))
                at = result['center_heatmap'][0]
                at[y, x] = max(at[y, x], height_here)
        i = int(panoptic[y, x])
        if i not in by_id:
            continue
        crowd = by_id[i].is_crowd
        if not crowd or not target_settings.ignore_crowd_in_semantic:
            result['semantic'][y, x] = by_id[i].class_id
        result['center_weight'][0, y, x] = not crowd
        if i in things or not target_settings.ignore_stuff_in_offset:
            result['offset_weight'][0, y, x] = not crowd
        if i in things:
            result['offset'][:, y, x] = mean[i][0] - y, mean[i][1] - x
            if len(of_id[i]) < target_settings.small_area:
                result['semantic_weight'][y, x] = target_settings.small_weight
    return result


@st.composite
def labelled_maps(draw) -> tuple[np.ndarray, tuple[Segment, ...]]:
    shape = draw(st.integers(1, 9)), draw(st.integers(1, 12))
    ids = draw(st.lists(st.sampled_from([ROAD_ID, CAR_1, CAR_2, DOG_1, UNLABELLED]), min_size=1))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    panoptic = rng.choice(ids, shape).astype(np.int32)
    crowds = draw(st.sets(st.sampled_from([CAR_1, CAR_2, DOG_1, ROAD_ID])))
    return panoptic, segments_of(panoptic, crowds)


@settings(deadline=None, max_examples=200)
@given(
    labelled_maps(),
    st.builds(
        TargetSettings,
        sigma=st.sampled_from([1, 2, 8.0]),
        small_area=st.integers(0, 12),
        small_weight=st.integers(1, 3),
        ignore_crowd_in_center=st.booleans(),
        ignore_crowd_in_semantic=st.booleans(),
        ignore_stuff_in_offset=st.booleans(),
    ),
)
def test_targets_are_those_of_the_plain_definition(labelled, target_settings):
    targets = make_targets(*labelled, LABEL_SET, target_settings)
    for name, expected in targets_by_hand(*labelled, target_settings).items():
        found = getattr(targets, name)
        assert found.shape == expected.shape, name
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6, err_msg=name)


@settings(deadline=None, max_examples=100)
@given(labelled_maps())
def test_a_pixel_that_follows_its_offset_arrives_at_the_mass_centre(labelled):
    panoptic, segments = labelled
    targets = make_targets(panoptic, segments, LABEL_SET)
    for segment in segments:
        ys, xs = np.nonzero(panoptic == segment.id)
        if segment.class_id == ROAD:
            assert not targets.offset[:, ys, xs].any()
        else:
            np.testing.assert_allclose(ys + targets.offset[0, ys, xs], ys.mean(), atol=1e-5)
            np.testing.assert_allclose(xs + targets.offset[1, ys, xs], xs.mean(), atol=1e-5)


# --- the rules, one by one ------------------------------------------------------------------------


def test_the_heatmap_is_one_at_the_rounded_mass_centre_and_falls_by_the_gaussian():
    panoptic = np.full((9, 40), ROAD_ID)
    panoptic[4, 10:14] = CAR_1  # mean 11.5, which Python rounds to the even 12
    heatmap = targets_of(panoptic, sigma=4).center_heatmap[0]
    assert np.unravel_index(heatmap.argmax(), heatmap.shape) == (4, 12)
    assert heatmap[4, 12] == 1
    assert heatmap[4, 16] == heatmap[8, 12] == pytest.approx(math.exp(-1 / 2))
    assert heatmap[4, 25] > 0 == heatmap[4, 26]  # the window ends at 3σ + 1


def test_two_near_cars_keep_both_peaks():
    panoptic = np.full((3, 9), ROAD_ID)
    panoptic[1, 2], panoptic[1, 6] = CAR_1, DOG_1
    heatmap = targets_of(panoptic, sigma=2).center_heatmap[0]
    assert heatmap[1, 2] == heatmap[1, 6] == 1
    assert heatmap[1, 4] == pytest.approx(math.exp(-1 / 2))  # the higher one, not their sum


@pytest.mark.parametrize('at', [(0, 0), (0, 29), (19, 0), (19, 29)])
def test_a_car_in_a_corner_has_its_peak_there(at):
    panoptic = np.full((20, 30), ROAD_ID)
    panoptic[at] = CAR_1
    heatmap = targets_of(panoptic, sigma=2).center_heatmap[0]
    assert heatmap[at] == heatmap.max() == 1
    assert (heatmap > 0).sum() == 8 * 8


@pytest.mark.parametrize('sigma', [0.5, 2.5, 3.3, 6.7])
def test_a_sigma_that_is_no_whole_number_still_peaks_at_one_in_the_middle(sigma):
    panoptic = np.full((61, 61), ROAD_ID)
    panoptic[30, 30] = CAR_1
    heatmap = targets_of(panoptic, sigma=sigma).center_heatmap[0]
    assert heatmap[30, 30] == heatmap.max() == 1
    np.testing.assert_array_equal(heatmap, heatmap[::-1, ::-1])
    for distance in (1, 2):
        expected = math.exp(-(distance**2) / (2 * sigma**2))
        assert heatmap[30, 30 + distance] == pytest.approx(expected, rel=1e-6)


def test_a_small_car_weighs_more_and_one_of_the_limits_area_does_not():
    targets = targets_of([CAR_1, CAR_1, CAR_2, ROAD_ID, UNLABELLED], small_area=2, small_weight=3)
    assert targets.semantic_weight.tolist() == [[1, 1, 3, 1, 1]]


def test_void_is_taught_to_no_head():
    targets = targets_of([UNLABELLED, ROAD_ID, CAR_1])
    assert targets.semantic.tolist() == [[255, ROAD, CAR]]
    assert targets.center_weight.tolist() == [[[0, 1, 1]]]
    assert targets.offset_weight.tolist() == [[[0, 0, 1]]]


def test_a_crowd_teaches_its_class_but_neither_centre_nor_offset():
    targets = targets_of([CAR_1, CAR_1, ROAD_ID], crowds=[CAR_1])
    assert targets.semantic.tolist() == [[CAR, CAR, ROAD]]
    assert targets.center_weight.tolist() == [[[0, 0, 1]]]
    assert not targets.offset_weight.any()


def test_two_parts_of_a_crowd_do_not_teach_a_centre_on_the_road_between_them():
    rows = [CAR_1, ROAD_ID, CAR_1]
    assert targets_of(rows, crowds=[CAR_1]).center_heatmap[0, 0, 1] == 1, 'as published'
    targets = targets_of(rows, crowds=[CAR_1], ignore_crowd_in_center=True)
    assert targets.center_weight[0, 0, 1] == 1
    assert targets.center_heatmap.max() == 0


def test_a_crowd_may_be_left_out_of_the_semantics_too():
    targets = targets_of([CAR_1, CAR_2, ROAD_ID], crowds=[CAR_1], ignore_crowd_in_semantic=True)
    assert targets.semantic.tolist() == [[255, CAR, ROAD]]
    assert targets.center_weight.tolist() == [[[0, 1, 1]]]


def test_stuff_may_be_taught_to_have_no_offset():
    targets = targets_of(
        [CAR_1, CAR_1, CAR_2, ROAD_ID, UNLABELLED], crowds=[CAR_2], ignore_stuff_in_offset=False
    )
    assert targets.offset_weight.tolist() == [[[1, 1, 0, 1, 0]]]
    assert targets.offset[1].tolist() == [[0.5, -0.5, 0, 0, 0]]


def test_an_instance_that_was_cropped_away_teaches_nothing():
    panoptic = np.full((3, 4), ROAD_ID, np.int32)
    segments = (Segment(ROAD_ID, ROAD), Segment(CAR_1, CAR))
    targets = make_targets(panoptic, segments, LABEL_SET)
    assert not targets.center_heatmap.any()
    assert not targets.offset_weight.any()


def test_only_the_visible_part_of_a_cut_car_counts_for_its_centre():
    whole = np.full((5, 12), ROAD_ID)
    whole[2, 2:9] = CAR_1
    heatmap = targets_of(whole[:, 4:], sigma=1).center_heatmap[0]
    assert np.unravel_index(heatmap.argmax(), heatmap.shape) == (2, 2)


def test_targets_have_the_types_that_a_batch_is_made_of():
    targets = targets_of([CAR_1, ROAD_ID])
    types = {name: value.dtype.name for name, value in targets._asdict().items()}
    assert {n for n, t in types.items() if t == 'float32'} == {'center_heatmap', 'offset'}
    assert set(types.values()) == {'float32', 'uint8'}


@pytest.mark.parametrize(
    'wrong', [{'sigma': 0}, {'sigma': -1}, {'small_area': -1}, {'small_weight': -1}], ids=str
)
def test_a_wrong_setting_is_refused_where_it_is_made_by_its_name(wrong):
    (name,) = wrong
    with pytest.raises(PdlError, match=name):
        TargetSettings(**wrong)
