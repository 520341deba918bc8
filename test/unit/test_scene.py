"""The drawn street: what a trainer, a tracker's test and the demo rely on."""

import itertools

import numpy as np
import pytest

from pdl_ros.datasets.record import segments_of
from pdl_ros.demo.scene import CAR, FPS, MIN_AREA, PERSON, ROAD, SKY, Scene, SceneDataset
from pdl_ros.demo.scene import scene as scene_module
from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelSet

SIZE = (96, 160)


@pytest.fixture(scope='module')
def samples():
    """300 frames in a row (20 s: a whole cycle of the traffic) of a busy street."""
    scene = Scene(47, *SIZE)
    return [scene.frame(i) for i in range(300)]


def objects(sample):
    return {s.id for s in sample.segments if s.class_id in (CAR, PERSON)}


def center(sample, value):
    rows, columns = np.nonzero(sample.panoptic == value)
    return np.array([rows.mean(), columns.mean()])


@pytest.mark.parametrize('size', [(96, 160), (128, 208), (90, 97), (384, 640), (200, 100)])
def test_a_frame_has_the_asked_size_and_types_so_that_readers_can_treat_it_as_any_sample(size):
    sample = Scene(3, *size).frame(17)
    assert sample.image.shape == (*size, 3)
    assert sample.image.dtype == np.uint8
    assert sample.panoptic.shape == size
    assert sample.panoptic.dtype == np.int32


def test_the_same_seed_and_index_give_the_same_frame_whatever_was_asked_before():
    one, other = Scene(5, *SIZE), Scene(5, *SIZE)
    for index in (0, 7, 400):
        one.frame(index)
    first, second = one.frame(123), other.frame(123)
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.panoptic, second.panoptic)
    assert first.segments == second.segments
    assert first.name == second.name


def test_another_seed_is_another_street():
    first, second = Scene(1, *SIZE).frame(0), Scene(2, *SIZE).frame(0)
    assert (first.panoptic != second.panoptic).mean() > 0.1
    assert np.abs(first.image.astype(int) - second.image).mean() > 10


def test_labels_are_the_same_street_at_any_size_so_that_a_picture_can_be_rendered_larger():
    small, large = Scene(9, 96, 160).frame(40), Scene(9, 288, 480).frame(40)
    same = small.panoptic == large.panoptic[1::3, 1::3]
    assert same.mean() > 0.97


def test_every_pixel_is_labelled_with_a_known_class_and_an_instance_where_it_is_a_thing(samples):
    label_set = LabelSet.load('scene')
    for sample in samples[::20]:
        class_id, instance = np.divmod(sample.panoptic, label_set.label_divisor)
        assert class_id.min() >= 0
        assert class_id.max() < label_set.num_classes
        np.testing.assert_array_equal(instance > 0, np.isin(class_id, label_set.thing_ids))
        assert sample.segments == segments_of(sample.panoptic, label_set)


def test_the_class_numbers_of_the_drawing_are_those_of_the_label_set():
    names = [c.name for c in LabelSet.load('scene').classes]
    assert (names[SKY], names[ROAD], names[CAR], names[PERSON]) == ('sky', 'road', 'car', 'person')
    assert LabelSet.load('scene').label_divisor == 1000


def test_no_object_is_so_small_that_a_network_could_not_find_it(samples):
    for sample in samples:
        for value in objects(sample):
            assert np.count_nonzero(sample.panoptic == value) >= MIN_AREA * sample.panoptic.size


def test_an_object_keeps_its_id_while_it_moves_so_that_a_tracker_can_be_scored(samples):
    moved = 0.0
    for before, after in itertools.pairwise(samples):
        shared = objects(before) & objects(after)
        lost = objects(before) - shared
        assert len(shared) >= len(lost)
        for value in shared:
            step = np.abs(center(after, value) - center(before, value)).max()
            assert step < 0.12 * SIZE[1]  # nobody jumps across the picture, as a swapped id would
            moved += step
    assert moved > 500


def test_an_id_that_left_does_not_come_back_as_somebody_else(samples):
    last_seen = {}
    for index, sample in enumerate(samples):
        for value in objects(sample):
            gap = index - last_seen.get(value, index)
            assert gap < 10 * FPS  # hidden behind a car for a while, at most
            last_seen[value] = index
    assert len(last_seen) > 15  # the street goes on: new cars and people keep coming


def test_there_are_cars_in_both_directions_and_people_to_find():
    counts = []
    for seed in range(12):
        scene = Scene(seed, *SIZE)
        counts += [len(objects(scene.frame(i))) for i in range(0, 600, 120)]
    assert 5 <= np.mean(counts) <= 10
    assert np.percentile(counts, 10) >= 3


def test_the_picture_does_not_give_the_class_away_by_its_colour():
    cars = []
    for seed in range(12):
        sample = Scene(seed, *SIZE).frame(60)
        cars += [sample.image[sample.panoptic == v].mean(0) for v in objects(sample) if v < 6000]
    assert np.std(cars, axis=0).min() > 20


def test_what_is_labelled_as_a_thing_looks_different_from_the_empty_street():
    scene = Scene(47, *SIZE)
    sample, empty = scene.frame(420), scene._background
    changed = np.abs(cv2_lut(empty, scene._tone) - sample.image.astype(int)).max(-1) > 25
    things = sample.panoptic >= CAR * 1000
    assert changed[things].mean() > 0.8
    assert changed[~things].mean() < 0.12  # shadows, trees and edges


def cv2_lut(image, tone):
    return np.stack([tone[:, 0, c][image[..., c]] for c in range(3)], -1).astype(int)


def test_what_never_moves_is_drawn_once_so_that_the_demo_runs_at_its_rate(monkeypatch):
    drawn, draw = [], scene_module.draw_background
    monkeypatch.setattr(
        scene_module, 'draw_background', lambda *given: drawn.append(given) or draw(*given)
    )
    scene = Scene(0, *SIZE)
    frames = [scene.frame(index).image for index in range(10)]
    assert len(drawn) == 1
    assert any((frame != frames[0]).any() for frame in frames[1:]), 'something moves'


def test_the_dataset_gives_as_many_different_streets_as_asked_and_then_stops():
    dataset = SceneDataset(4, *SIZE, first_seed=100)
    names = [sample.name for sample in dataset]
    assert len(dataset) == len(set(names)) == 4
    assert dataset.label_set == LabelSet.load('scene')
    np.testing.assert_array_equal(dataset[2].image, SceneDataset(1, *SIZE, first_seed=102)[0].image)
    with pytest.raises(IndexError):
        dataset[4]


def test_a_picture_too_small_to_draw_is_refused_in_a_sentence():
    with pytest.raises(PdlError, match='32x32'):
        Scene(0, 16, 160)
