"""An id stays with its thing, whatever the camera, the bag or the network do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdl_ros.bench.tracking import PlainOverlap, link_components
from pdl_ros.datasets.record import Sample, segments_of
from pdl_ros.demo.scene import Scene
from pdl_ros.errors import PdlError
from pdl_ros.fusion import PanopticResult, SegmentTable
from pdl_ros.tracking import Tracker, Tracks, TrackSettings
from test.unit.tiny_labels import CAR, DOG, LABEL_SET, ROAD

SIZE = (60, 120)
SECOND = 1_000_000_000
STEP = SECOND // 15


class Thing(NamedTuple):
    """A rectangle around (x, y)."""

    x: float
    y: float = 30
    width: int = 10
    height: int = 16
    class_id: int = CAR


def frame(
    *things: Thing, size: tuple[int, int] = SIZE, order: Sequence[int] | None = None
) -> PanopticResult:
    """Draw things, the later over the earlier; `order` is how they are numbered and listed."""
    picture = np.zeros(size, np.int32)
    for number, t in enumerate(things, 1):
        y0, x0 = round(t.y - t.height / 2), round(t.x - t.width / 2)
        picture[max(y0, 0) : max(y0 + t.height, 0), max(x0, 0) : max(x0 + t.width, 0)] = number
    seen = [n for n in range(len(things)) if (picture == n + 1).any()]
    if order is not None:
        seen = [seen[n] for n in order]
    instance = np.zeros(size, np.int32)
    for number, n in enumerate(seen, 1):
        instance[picture == n + 1] = number
    return result_of(instance, [things[n].class_id for n in seen])


def result_of(
    instance: np.ndarray, classes: Sequence[int], centers: Sequence | None = None
) -> PanopticResult:
    """Return the result with things 1..T of these classes, and one row of stuff before them."""
    count = len(classes)
    if centers is None:
        places = [np.argwhere(instance == n + 1) for n in range(count)]
        centers = [place.mean(0)[::-1] for place in places]
    area = np.bincount(instance.ravel(), minlength=count + 1)
    is_thing = torch.arange(count + 1) > 0
    zero = torch.zeros(count + 1)
    table = SegmentTable(
        id=torch.arange(count + 1, dtype=torch.int32),
        class_id=torch.tensor([ROAD, *classes], dtype=torch.int32),
        is_thing=is_thing,
        instance_id=torch.arange(count + 1, dtype=torch.int32),
        area=torch.from_numpy(area.astype(np.int32)),
        score=zero,
        objectness=zero,
        class_score=zero,
        box=torch.zeros(count + 1, 4, dtype=torch.int32),
        center=torch.tensor(np.array([(0, 0), *centers]), dtype=torch.float32),
    )
    empty = torch.zeros(0, dtype=torch.int32)
    return PanopticResult(empty, torch.from_numpy(instance), empty, table)


def play(
    frames: Sequence[Sequence[Thing]], tracker: Tracker | None = None, step: int = STEP
) -> list[list[int]]:
    tracker = tracker or Tracker()
    return [tracker.update(frame(*f), n * step).track_id.tolist() for n, f in enumerate(frames)]


def test_the_first_frame_gives_every_thing_an_id_of_its_own():
    tracks = Tracker().update(frame(Thing(20), Thing(60), Thing(100)), 5 * SECOND)
    assert tracks.track_id.tolist() == [1, 2, 3]
    assert tracks.age.tolist() == [0, 0, 0]
    assert tracks.instance_id.tolist() == [1, 2, 3]
    assert (tracks.track_id.dtype, tracks.age.dtype) == (np.uint32, np.uint32)
    assert tracks.reset == ''


def test_a_street_without_things_costs_nobody_an_id():
    tracker = Tracker()
    assert tracker.update(frame(), 0).track_id.shape == (0,)
    assert tracker.update(frame(Thing(20)), STEP).track_id.tolist() == [1]
    assert tracker.update(frame(), 2 * STEP).relabel(np.zeros(SIZE, np.int32)).max() == 0
    tracks = tracker.update(frame(Thing(20)), 3 * STEP)
    assert (tracks.track_id.tolist(), tracks.age.tolist()) == ([1], [2])


def test_two_people_who_pass_each_other_do_not_swap_ids():
    frames = [[Thing(20 + 3 * n, 30), Thing(100 - 3 * n, 33)] for n in range(27)]
    ids = play(frames)
    assert min(map(len, ids)) == 2
    assert set(map(tuple, ids)) == {(1, 2)}


def test_a_person_who_walks_behind_a_pole_is_one_person_in_two_parts():
    pole = Thing(60, 30, width=6, height=30, class_id=DOG)
    ids = play([[Thing(20 + 2.5 * n, 30, width=10), pole] for n in range(33)])
    assert set(map(tuple, ids)) == {tuple(ids[0])}


@pytest.mark.parametrize('missed', [1, 5, 14, 28])
def test_a_walker_whom_the_network_misses_for_some_frames_is_found_where_he_got_to(missed: int):
    walk = [[Thing(15 + 2 * n, 30)] for n in range(50)]
    ids = play([[] if 15 <= n < 15 + missed else f for n, f in enumerate(walk)])
    assert ids[-1] == [1]


@pytest.mark.parametrize(('missed', 'expected'), [(1.0, 1), (0.3, 2)])
def test_an_id_waits_for_its_thing_as_long_as_the_settings_say(missed: float, expected: int):
    tracker = Tracker(TrackSettings(max_missed=missed))
    seen = [True] * 3 + [False] * 10 + [True]
    assert play([[Thing(40)] if s else [] for s in seen], tracker)[-1] == [expected]


def test_a_camera_slower_than_the_patience_still_has_ids():
    tracker = Tracker(TrackSettings(max_missed=0))
    assert play([[Thing(40)]] * 4, tracker, step=SECOND) == [[1]] * 4


def test_who_left_is_not_mistaken_for_who_arrives_elsewhere():
    ids = play([[Thing(15)]] * 3 + [[]] + [[Thing(100)]] * 3)
    assert ids == [[1]] * 3 + [[]] + [[2]] * 3


def test_ages_count_frames_through_an_occlusion():
    tracker = Tracker()
    frames = [[Thing(40)], [Thing(40), Thing(90)], [Thing(90)], [Thing(40), Thing(90)]]
    ages = [tracker.update(frame(*f), n * STEP).age.tolist() for n, f in enumerate(frames)]
    assert ages == [[0], [1, 0], [1], [3, 2]]


def test_a_camera_that_turns_does_not_hand_ids_to_the_neighbours():
    # A row of equal cars, 22 apart; at full turn each frame moves them 15: nearer to the next one.
    moved = np.cumsum([0, 0, 3, 6, 9, 12, 15, 15, 15, 15])
    frames = [[Thing(200 - dx + 22 * n, width=14) for n in range(8)] for dx in moved]
    tracker, plain = Tracker(), PlainOverlap()
    results = [frame(*f, size=(60, 400)) for f in frames]
    ids = [tracker.update(r, n * STEP).track_id.tolist() for n, r in enumerate(results)]
    assert set(map(tuple, ids)) == {tuple(range(1, 9))}
    ids = [plain(r, n * STEP).tolist() for n, r in enumerate(results)]
    assert len(set(map(tuple, ids))) > 1


def test_a_thing_too_fast_to_overlap_keeps_its_id_and_one_across_the_street_does_not():
    small = {'width': 6, 'height': 6}
    assert play([[Thing(40, **small)], [Thing(48, **small)]])[-1] == [1]
    assert play([[Thing(40, **small)], [Thing(60, **small)]])[-1] == [2]
    off = Tracker(TrackSettings(max_distance=0))
    assert play([[Thing(40, **small)], [Thing(48, **small)]], off)[-1] == [2]


def test_a_dog_beside_the_place_of_a_car_is_a_new_thing():
    assert play([[Thing(40)], [Thing(44, class_id=DOG)]])[-1] == [2]


def test_a_class_that_flickers_does_not_cost_the_id():
    classes = (CAR, DOG, CAR, CAR, DOG, DOG)
    ids = play([[Thing(40 + n, class_id=c)] for n, c in enumerate(classes)])
    assert ids == [[1]] * 6
    strict = Tracker(TrackSettings(class_change_iou=1))
    assert play([[Thing(40 + n, class_id=c)] for n, c in enumerate(classes)], strict)[1] == [2]


def test_a_car_that_comes_into_the_picture_and_grows_is_one_car():
    frames = [[Thing(118 - 3 * n, width=6 + n, height=8 + n)] for n in range(20)]
    assert play(frames) == [[1]] * 20


def test_a_bag_played_in_a_loop_starts_over_with_new_ids_and_says_so():
    tracker = Tracker()
    for loop in range(3):
        first = tracker.update(frame(Thing(40)), 10 * SECOND)
        assert bool(first.reset) is (loop > 0)
        assert first.track_id.tolist() == [loop + 1]
        assert first.age.tolist() == [0]
        later = tracker.update(frame(Thing(40)), 11 * SECOND)
        assert (later.track_id.tolist(), later.reset) == ([loop + 1], '')
    assert 'back by 1.000 s' in tracker.update(frame(), 10 * SECOND).reset


def test_two_frames_with_one_stamp_are_no_jump_and_no_infinite_speed():
    tracker = Tracker()
    stamps = (0, STEP, STEP, STEP, 2 * STEP, 3 * STEP)
    for n, stamp in enumerate(stamps):
        tracks = tracker.update(frame(Thing(40 + 2 * n)), stamp)
        assert (tracks.track_id.tolist(), tracks.age.tolist(), tracks.reset) == ([1], [n], '')


def test_a_camera_that_was_off_for_long_starts_over_and_says_so():
    tracker = Tracker(TrackSettings(max_gap=0.5))
    tracker.update(frame(Thing(40)), 0)
    assert tracker.update(frame(Thing(40)), SECOND // 2).track_id.tolist() == [1]
    tracks = tracker.update(frame(Thing(40)), 2 * SECOND)
    assert (tracks.track_id.tolist(), tracks.age.tolist()) == ([2], [0])
    assert 'no frame came for 1.500 s' in tracks.reset


def test_a_driver_that_changes_the_resolution_starts_over_and_says_so():
    tracker = Tracker()
    tracker.update(frame(Thing(40), size=(60, 120)), 0)
    for size, expected in (((30, 60), 2), ((120, 240), 3), ((120, 241), 4)):
        tracks = tracker.update(frame(Thing(40), size=size), expected * STEP)
        assert tracks.track_id.tolist() == [expected]
        assert f'to {size[1]}x{size[0]}' in tracks.reset
    tracker.update(frame(Thing(40), size=(480, 640)), 5 * STEP)
    assert '640x480 to 641x480' in tracker.update(frame(size=(480, 641)), 6 * STEP).reset


def test_a_reset_by_hand_forgets_everything_but_the_ids_already_given():
    tracker = Tracker()
    tracker.update(frame(Thing(40), Thing(80)), SECOND)
    tracker.reset()
    tracks = tracker.update(frame(Thing(40), size=(70, 130)), 0)
    assert (tracks.track_id.tolist(), tracks.reset) == ([3], '')


def test_a_result_that_its_owner_reuses_afterwards_does_not_change_the_past():
    tracker, first = Tracker(), frame(Thing(40), Thing(80))
    tracks = tracker.update(first, 0)
    first.instance.zero_()
    for column in first.segments:
        column.zero_()
    assert tracks.instance_id.tolist() == [1, 2]
    assert tracker.update(frame(Thing(40), Thing(80)), STEP).track_id.tolist() == [1, 2]


@pytest.mark.parametrize('count', [1200, 3000])
def test_more_than_a_thousand_things_keep_their_ids(count: int):
    def crowd(shift: int) -> PanopticResult:
        instance = np.zeros((240, 400), np.int32)
        n = np.arange(count)
        y, x = 2 + 4 * (n // 90), 4 + shift + 4 * (n % 90)
        instance[y, x] = instance[y + 1, x] = instance[y, x + 1] = instance[y + 1, x + 1] = n + 1
        return result_of(instance, [CAR] * count, np.stack([x + 0.5, y + 0.5], 1))

    tracker = Tracker()
    for number in range(3):
        tracks = tracker.update(crowd(number), number * STEP)
        assert np.array_equal(tracks.track_id, np.arange(1, count + 1))


def test_a_distant_cone_in_a_large_picture_has_an_id_too():
    # Large pictures are thinned out; a thing may fall between the pixels that are looked at.
    frames = [[Thing(500.6 + n, 300.6, 1, 1), Thing(900, 700, 90, 90)] for n in range(12)]
    tracker = Tracker()
    results = [frame(*f, size=(1080, 1920)) for f in frames]
    ids = [tracker.update(r, n * STEP).track_id.tolist() for n, r in enumerate(results)]
    assert {found[1] for found in ids} == {ids[0][1]}
    assert {found[0] for found in ids} == {ids[0][0]}


def test_on_a_drawn_street_with_perfect_masks_nobody_loses_an_id_while_in_sight():
    scene, tracker = Scene(47, 192, 320), Tracker()
    last: dict[int, int] = {}
    identities, kept = set(), 0
    for index in range(0, 240, 2):
        sample = scene.frame(index)
        things = [s for s in sample.segments if s.class_id in scene.label_set.thing_ids]
        instance = np.zeros(sample.panoptic.shape, np.int32)
        for number, thing in enumerate(things, 1):
            instance[sample.panoptic == thing.id] = number
        result = result_of(instance, [t.class_id for t in things])
        found = tracker.update(result, index * STEP).track_id.tolist()
        now = dict(zip((t.id for t in things), found, strict=True))
        for identity in now.keys() & last.keys():
            assert now[identity] == last[identity], (index, identity)
            kept += 1
        identities |= now.keys()
        last = now
    assert len(identities) >= 8
    assert kept > 300


things_anywhere = st.lists(
    st.builds(
        Thing,
        x=st.integers(0, 119),
        y=st.integers(0, 59),
        width=st.integers(1, 40),
        height=st.integers(1, 30),
        class_id=st.sampled_from((CAR, DOG)),
    ),
    max_size=8,
)
streams = st.lists(
    st.tuples(things_anywhere, st.sampled_from((0, STEP, STEP, SECOND, 3 * SECOND, -SECOND))),
    max_size=8,
)


def follow(stream, orders=None) -> list[tuple[Tracks, PanopticResult]]:
    tracker, stamp, out = Tracker(), 0, []
    for number, (things, step) in enumerate(stream):
        stamp += step
        result = frame(*things)
        if orders is not None:
            count = int(result.segments.is_thing.sum())
            result = frame(*things, order=orders[number].permutation(count))
        out.append((tracker.update(result, stamp), result))
    return out


@settings(deadline=None, max_examples=60)
@given(streams)
def test_no_id_is_ever_on_two_things_or_given_twice(stream):
    ended: set[int] = set()
    known: dict[int, int] = {}
    for number, (tracks, result) in enumerate(follow(stream)):
        ids = tracks.track_id.tolist()
        assert len(set(ids)) == len(ids) == int(result.segments.is_thing.sum())
        assert 0 not in ids
        if tracks.reset:
            ended |= known.keys()
        assert not ended & set(ids)
        for track, age in zip(ids, tracks.age.tolist(), strict=True):
            assert known.setdefault(track, number) == number - age


@settings(deadline=None, max_examples=60)
@given(streams, st.integers(0, 2**32 - 1))
def test_the_numbers_that_the_network_happens_to_give_change_no_id(stream, seed):
    plain = follow(stream)
    mixed = follow(stream, [np.random.default_rng([seed, n]) for n in range(len(stream))])
    for (tracks, result), (other, shuffled) in zip(plain, mixed, strict=True):
        expected = tracks.relabel(result.instance.numpy())
        assert np.array_equal(other.relabel(shuffled.instance.numpy()), expected)
        assert other.reset == tracks.reset


@settings(deadline=None, max_examples=30)
@given(streams)
def test_the_same_bag_gives_the_same_ids_every_time(stream):
    for (tracks, _), (again, _) in zip(follow(stream), follow(stream), strict=True):
        assert tracks.track_id.tolist() == again.track_id.tolist()
        assert tracks.age.tolist() == again.age.tolist()


@settings(deadline=None, max_examples=60)
@given(things_anywhere, st.integers(1, 30))
def test_a_picture_that_stands_still_keeps_every_id(things, count):
    assert len({tuple(ids) for ids in play([things] * count)}) == 1


def test_the_instance_image_shows_track_ids_on_the_same_pixels():
    result = frame(Thing(20), Thing(60), Thing(100), order=(2, 0, 1))
    tracks = Tracker().update(result, 0)
    instance = result.instance.numpy()
    image = tracks.relabel(instance)
    assert image.dtype == np.uint32
    assert np.array_equal(image > 0, instance > 0)
    for running, track in zip(tracks.instance_id, tracks.track_id, strict=True):
        assert set(image[instance == running]) == {track}


def test_a_16_bit_instance_image_never_shows_a_thing_as_nothing():
    ids = np.array([65535, 65536, 131070, 131071], np.uint32)
    running = np.arange(1, 5, dtype=np.int32)
    tracks = Tracks(running, ids, np.zeros(4, np.uint32), '')
    image = tracks.relabel(np.arange(5, dtype=np.int32)[None], np.uint16)
    assert image.dtype == np.uint16
    assert image.tolist() == [[0, 65535, 1, 65535, 1]]


@pytest.mark.parametrize(
    ('wrong', 'sentence'),
    [
        ({'min_iou': 0.0}, 'min_iou is 0.0; it must be above 0'),
        ({'min_iou': float('nan')}, 'min_iou is nan'),
        ({'class_change_iou': 1.5}, 'class_change_iou is 1.5; it must be above 0 and at most 1'),
        ({'max_distance': -1.0}, 'max_distance is -1.0; it must be finite, 0 or more'),
        ({'max_missed': float('inf')}, 'max_missed is inf; it must be finite'),
        ({'max_gap': 0.0}, 'max_gap is 0.0; it must be finite and above 0'),
        ({'velocity_memory': -2.0}, 'velocity_memory is -2.0'),
    ],
)
def test_a_wrong_setting_is_refused_with_its_name_and_value(wrong, sentence):
    with pytest.raises(PdlError, match=sentence):
        TrackSettings(**wrong)


def street(*xs: int) -> Sample:
    """Photograph textured cars at these x; cars closer than 20 touch and are one component."""
    texture = np.random.default_rng(3).integers(0, 255, (20, 20, 3), np.uint8).repeat(2, 0)
    image, panoptic = np.full((80, 160, 3), 90, np.uint8), np.zeros((80, 160), np.int32)
    value = 10 * CAR
    for n, x in enumerate(sorted(xs)):
        value += not n or x - sorted(xs)[n - 1] > 20
        image[20:60, x : x + 20], panoptic[20:60, x : x + 20] = texture, value
    return Sample(str(xs), image, panoptic, segments_of(panoptic, LABEL_SET))


def test_the_benchmark_links_what_moves_and_lets_go_of_what_merges():
    label_set = LABEL_SET
    drive = [street(20, 90), street(24, 90), street(28, 90), street(70, 90)]
    chains = list(link_components(drive, label_set))
    assert [list(c.values()) for c in chains[:3]] == [[1, 2]] * 3
    assert len(chains[3]) == 1
    assert not set(chains[3].values()) & {1}


@pytest.mark.parametrize('split', [0, 1, 5, 9])
def test_what_a_tracker_remembers_can_be_kept_in_a_file_and_gone_on_with(tmp_path, split):
    """Also where it remembers things that are hidden, or nothing at all."""
    seen = [[Thing(100 - 5 * n, 20, class_id=DOG)] if n not in (4, 5) else [] for n in range(10)]
    frames = [frame(Thing(10 + 4 * n), *others) for n, others in enumerate(seen)]
    whole, first, second = Tracker(), Tracker(), Tracker()
    expected = [whole.update(result, n * STEP) for n, result in enumerate(frames)]
    for n in range(split):
        first.update(frames[n], n * STEP)
    np.savez(tmp_path / 'state.npz', **first.state())
    with np.load(tmp_path / 'state.npz', allow_pickle=False) as state:
        second.restore(dict(state))
    for n in range(split, 10):
        tracks = second.update(frames[n], n * STEP)
        for ours, theirs in zip(tracks[:3], expected[n][:3], strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert tracks.reset == expected[n].reset
