"""What a network learns has the size at which it will see it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdl_ros.datasets import Sample, Segment
from pdl_ros.datasets.groups import ids_within
from pdl_ros.demo.scene import SceneDataset
from pdl_ros.errors import PdlError
from pdl_ros.preprocessing import network_size
from pdl_ros.training.crops import Crops, load
from pdl_ros.training.other_camera import other_camera
from pdl_ros.training.paste import richest
from pdl_ros.training.settings import AugmentationSettings

from .drawn import SCENE, SETTINGS, VARIANT, Drawn


class OneCar:
    """One picture of any size: a car of an eighth of its height and width."""

    label_set = SCENE

    def __init__(self, height: int, width: int) -> None:
        panoptic = np.zeros((height, width), np.int32)
        panoptic[height // 2 : height // 2 + height // 8, width // 2 : width // 2 + width // 8] = (
            5001
        )
        image = np.repeat(np.where(panoptic, 250, 20).astype(np.uint8)[..., None], 3, -1)
        self.sample = Sample('car', image, panoptic, (Segment(0, 0), Segment(5001, 5)))

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        return self.sample


@pytest.mark.parametrize('size', [(96, 128), (966, 1296), (1080, 1440), (48, 64)], ids=str)
def test_a_thing_has_the_size_in_a_crop_that_it_has_at_inference_whatever_the_camera(size):
    variant = replace(VARIANT, short_edge=96, long_edge=160)
    augmentation = AugmentationSettings((96, 128), (1.0, 1.0), flip=False)
    crop = Crops(OneCar(*size), variant, replace(SETTINGS, augmentation=augmentation), 0, 1)[0]
    assert network_size(*size, variant) == (96, pytest.approx(128, abs=1))
    car = crop['semantic'].numpy() == 5
    assert car.sum() == pytest.approx(12 * 16, rel=0.1)
    bright = crop['image'].numpy()[0] > 0
    assert (bright == car).mean() > 0.99


def test_the_random_scale_is_relative_to_the_size_at_inference():
    variant = replace(VARIANT, short_edge=96, long_edge=160)
    for factor in (0.5, 2.0):
        augmentation = AugmentationSettings((192, 256), scale_choices=(factor,), flip=False)
        crop = Crops(OneCar(966, 1296), variant, replace(SETTINGS, augmentation=augmentation), 0, 1)
        car = crop[0]['semantic'].numpy() == 5
        assert car.sum() == pytest.approx(12 * 16 * factor**2, rel=0.1)


def test_processes_take_the_crops_of_one_between_them():
    settings = replace(SETTINGS, batch_size=4)
    alone = Crops(Drawn(), VARIANT, settings, 1, 3)
    parts = [Crops(Drawn(), VARIANT, settings, 1, 3, rank, 2) for rank in range(2)]
    assert len(alone) == 8
    assert [len(part) for part in parts] == [4, 4]
    order = [parts[0][0], parts[0][1], parts[1][0], parts[1][1], parts[0][2]]
    for ours, theirs in zip(order, (alone[i] for i in range(5)), strict=True):
        np.testing.assert_array_equal(ours['image'], theirs['image'])


def test_railings_are_drawn_where_a_recipe_asks_and_the_crops_of_others_stay_what_they_were():
    settings = replace(SETTINGS, batch_size=6)
    without = Crops(Drawn(), VARIANT, settings, 0, 1)
    crops = []
    for railing in (0.5, 1.0, 1.0):
        augmentation = replace(settings.augmentation, railing=railing, railing_class='building')
        crops.append(Crops(Drawn(), VARIANT, replace(settings, augmentation=augmentation), 0, 1))
    some, all_, again = ([drawn[i] for i in range(6)] for drawn in crops)
    plain = [without[i] for i in range(6)]
    same = [bool((a['image'] == b['image']).all()) for a, b in zip(plain, some, strict=True)]
    assert 0 < sum(same) < 6
    for before, after, twice in zip(plain, all_, again, strict=True):
        changed = before['semantic'] != after['semantic']
        assert changed.any() and (after['semantic'][changed] == 1).all()
        assert all((after[name] == twice[name]).all() for name in after)


def test_another_camera_is_seen_where_a_recipe_asks_and_labels_stay():
    settings = replace(SETTINGS, batch_size=6)
    plain = Crops(Drawn(), VARIANT, settings, 0, 1)
    augmentation = replace(settings.augmentation, camera=1.0)
    other = Crops(Drawn(), VARIANT, replace(settings, augmentation=augmentation), 0, 1)
    changed = 0
    for i in range(6):
        before, after, again = plain[i], other[i], other[i]
        changed += bool((before['image'] != after['image']).any())
        assert (after['image'] == again['image']).all()
        assert all((before[name] == after[name]).all() for name in after if name != 'image')
    assert changed >= 4  # one in sixteen has no fault


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
def test_another_camera_takes_the_same_scene(seed, height, width):
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3), np.uint8)
    image[:, width // 2 :] = 200
    given_ = image.copy()
    taken = other_camera(image, rng)
    assert taken.shape == image.shape and taken.dtype == np.uint8 and taken.flags['C_CONTIGUOUS']
    assert (image == given_).all()
    if min(height, width) >= 30:  # beyond the reach of the widest blur
        assert taken[:, -5:].mean() > taken[:, :5].mean() + 80


def test_of_several_crops_the_one_with_most_rare_things_gives_them_away():
    streets = SceneDataset(8, 96, 128)
    samples = [streets[i] for i in range(8)]
    names = [c.name for c in SCENE.classes]
    car, person = names.index('car'), names.index('person')
    rare = ids_within(['car'], SCENE, ((car,), (car, person)))
    assert rare == {car, len(names)}  # itself, and the group of it alone

    def cars(sample: Sample) -> int:
        return sum(
            s.class_id == car and (sample.panoptic == s.id).sum() >= 200 for s in sample.segments
        )

    counts = [cars(s) for s in samples]
    assert len(set(counts)) > 1
    assert richest(samples, rare) is samples[counts.index(max(counts))]
    assert richest(samples, frozenset()) is samples[0]


def test_rare_things_are_pasted_more_often_than_chance_would():
    variant = replace(VARIANT, short_edge=180, long_edge=240)

    def share(paste: float, rare: tuple[str, ...]) -> float:
        augmentation = AugmentationSettings((144, 192), (1.0, 1.0), paste=paste, paste_rare=rare)
        settings = replace(SETTINGS, augmentation=augmentation, batch_size=40)
        crops = Crops(SceneDataset(20, 180, 240), variant, settings, 0, 1)
        person = [c.name for c in SCENE.classes].index('person')
        return float(np.mean([(crops[i]['semantic'] == person).float().mean() for i in range(40)]))

    assert share(1.0, ('person',)) > 1.2 * share(1.0, ()) > share(0.0, ()) > 0


def test_a_rare_thing_that_is_no_thing_ends_a_training_with_one_sentence():
    augmentation = replace(SETTINGS.augmentation, paste=1.0, paste_rare=('road',))
    with pytest.raises(PdlError, match="paste_rare names 'road'; the things are "):
        Crops(Drawn(), VARIANT, replace(SETTINGS, augmentation=augmentation), 0, 1)


@pytest.mark.parametrize('workers', [0, 1])
def test_a_damaged_picture_ends_a_training_with_one_sentence_whoever_reads_it(workers):
    class Damaged(Drawn):
        def __getitem__(self, index: int) -> Sample:
            raise PdlError('a.png is damaged.')

    crops = Crops(Damaged(), VARIANT, SETTINGS, 0, 1)
    with pytest.raises(PdlError) as error:
        next(iter(load(crops, 2, workers, pin=False)))
    assert str(error.value) == 'a.png is damaged.'
