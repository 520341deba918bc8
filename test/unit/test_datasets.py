"""A folder of labelled images is read as it is, and what is wrong with it is said by file name."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pdl_ros.datasets import Sample, Segment
from pdl_ros.datasets.label_folder import LabelFolder
from pdl_ros.datasets.record import label_values
from pdl_ros.errors import PdlError
from pdl_ros.evaluation import PanopticEvaluator
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import PANOPTIC_VOID
from pdl_ros.training.targets import make_targets

from .tiny_labels import LABEL_SET as TINY

SCENE = LabelSet.load('scene')
ROAD, CAR, PERSON = 4, 5, 6
LABELS = np.array([[4000, 5002, PANOPTIC_VOID], [4000, 5001, 6001]], np.uint16)


def write(root: Path, name: str, image=None, labels=LABELS, split: str = 'train') -> Path:
    """Write one image and its labels; the image tells red from blue."""
    if image is None:
        image = np.zeros((2, 3, 3), np.uint8)
        image[..., 0] = 200  # RGB
    for folder, pixels, file in (
        ('images', image[..., ::-1], name),
        ('panoptic', labels, f'{Path(name).stem}.png'),
    ):
        path = root / folder / split / file
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), pixels)
    return root / 'panoptic' / split / f'{Path(name).stem}.png'


def assert_refused(root: Path, says: str, name: str) -> None:
    with pytest.raises(PdlError, match=says) as error:
        LabelFolder(root, 'train', SCENE)[0]
    assert name in str(error.value)
    assert '\n' not in str(error.value)


# --- reading ------------------------------------------------------------------------------------


def test_samples_come_in_name_order_however_the_disk_lists_them(tmp_path):
    for name in ('b.png', 'c.jpg', 'a.JPEG', '10.png', '9.png'):
        write(tmp_path, name)
    (tmp_path / 'images' / 'train' / 'notes.txt').write_text('not an image')
    folder = LabelFolder(tmp_path, 'train', SCENE)
    assert len(folder) == 5
    assert [folder[i].name for i in range(5)] == ['10', '9', 'a', 'b', 'c']


def test_a_sample_has_red_in_front_and_every_segment_but_void(tmp_path):
    write(tmp_path, 'a.png')
    sample = LabelFolder(tmp_path, 'train', SCENE)[0]
    assert sample.name == 'a'
    assert sample.image.dtype == np.uint8
    assert sample.image[0, 0].tolist() == [200, 0, 0]
    assert sample.panoptic.dtype == np.int32
    assert sample.panoptic.tolist() == LABELS.tolist()
    assert sample.segments == (
        Segment(4000, ROAD),
        Segment(5001, CAR),
        Segment(5002, CAR),
        Segment(6001, PERSON),
    )


def test_an_image_without_any_label_has_no_segments(tmp_path):
    write(tmp_path, 'a.png', labels=np.full((2, 3), PANOPTIC_VOID, np.uint16))
    assert LabelFolder(tmp_path, 'train', SCENE)[0].segments == ()


def test_a_folder_without_splits_is_read_with_an_empty_split(tmp_path):
    write(tmp_path, 'a.png', split='')
    assert LabelFolder(tmp_path, '', SCENE)[0].name == 'a'


def test_things_with_number_0_are_a_crowd_and_stuff_is_one_segment_whatever_its_numbers(tmp_path):
    labels = np.array([[4001, 4007, 4000], [5000, 5001, PANOPTIC_VOID]], np.uint16)
    write(tmp_path, 'a.png', labels=labels)
    sample = LabelFolder(tmp_path, 'train', SCENE)[0]
    assert sample.panoptic.tolist() == [[4000] * 3, [5000, 5001, PANOPTIC_VOID]]
    assert sample.segments == (
        Segment(4000, ROAD),
        Segment(5000, CAR, is_crowd=True),
        Segment(5001, CAR),
    )


def test_an_undetected_crowd_is_not_a_miss_and_stuff_with_numbers_is_found_once(tmp_path):
    labels = np.array([[4001, 4007, 4000], [5000, 5000, 5000]], np.uint16)
    write(tmp_path, 'a.png', labels=labels)
    sample = LabelFolder(tmp_path, 'train', SCENE)[0]
    evaluator = PanopticEvaluator(SCENE)
    evaluator.update(np.array([[4000] * 3, [PANOPTIC_VOID] * 3]), sample)
    evaluator.update(np.array([[4000] * 3, [5001, 5002, 5003]]), sample)
    road, car = (evaluator.compute().classes[c] for c in (ROAD, CAR))
    assert (road.tp, road.fp, road.fn, road.pq) == (2, 0, 0, 1.0)
    assert (car.tp, car.fp, car.fn) == (0, 0, 0)


def test_nothing_is_taught_to_have_its_centre_in_a_crowd(tmp_path):
    labels = np.full((40, 60), 4000, np.uint16)
    labels[10:30, :30] = 5000
    write(tmp_path, 'a.png', np.zeros((40, 60, 3), np.uint8), labels)
    sample = LabelFolder(tmp_path, 'train', SCENE)[0]
    targets = make_targets(sample.panoptic, sample.segments, SCENE)
    assert (targets.semantic[10:30, :30] == CAR).all()
    assert not targets.center_weight[0, 10:30, :30].any()
    assert not targets.offset_weight.any()


def test_what_systems_leave_beside_pictures_is_not_taken_for_one(tmp_path):
    write(tmp_path, 'a.png')
    for name in ('._a.png', '.b.jpg', 'Thumbs.db', '.DS_Store'):
        (tmp_path / 'images' / 'train' / name).write_bytes(b'\0\x05\x16\x07')
    folder = LabelFolder(tmp_path, 'train', SCENE)
    assert [folder[i].name for i in range(len(folder))] == ['a']


# --- pictures that are turned by their EXIF tag ---------------------------------------------------

SHOWN = np.array([[4000, 5001], [4000, 5002], [6001, 4000]], np.uint16)


def write_turned(root: Path, labels: np.ndarray, tagged: bool = False) -> None:
    """Write a picture stored as 3x2 that viewers show as 2x3, and its labels."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, pixels, kind in (
        ('images', np.rot90(SHOWN).astype(np.uint8)[..., None].repeat(3, 2), {'exif': exif}),
        ('panoptic', labels, {'exif': exif} if tagged else {}),
    ):
        (root / name / 'train').mkdir(parents=True)
        Image.fromarray(np.ascontiguousarray(pixels)).save(root / name / 'train' / 'a.png', **kind)


@pytest.mark.parametrize('tagged', [False, True])
def test_labels_lie_as_a_turned_picture_is_shown_by_themselves_or_by_their_own_tag(
    tmp_path, tagged
):
    write_turned(tmp_path, np.rot90(SHOWN) if tagged else SHOWN, tagged=tagged)
    sample = LabelFolder(tmp_path, 'train', SCENE)[0]
    np.testing.assert_array_equal(sample.panoptic, SHOWN)
    np.testing.assert_array_equal(sample.image[..., 0], SHOWN.astype(np.uint8))


def test_a_picture_is_read_as_it_is_stored_where_its_labels_lie_so(tmp_path):
    write_turned(tmp_path, np.rot90(SHOWN))
    sample = LabelFolder(tmp_path, 'train', SCENE)[0]
    np.testing.assert_array_equal(sample.panoptic, np.rot90(SHOWN))
    np.testing.assert_array_equal(sample.image[..., 0], np.rot90(SHOWN).astype(np.uint8))


def test_labels_that_fit_a_turned_picture_neither_way_are_refused_with_both_sizes(tmp_path):
    write_turned(tmp_path, np.zeros((3, 3), np.uint16))
    assert_refused(tmp_path, r'is 3x3, but .* turned by its EXIF tag, is 2x3', 'panoptic/train/a')


# --- what a user can get wrong ------------------------------------------------------------------


@pytest.mark.parametrize('gone', ['images', 'panoptic'])
def test_a_missing_folder_is_named_with_the_layout(tmp_path, gone):
    write(tmp_path, 'a.png')
    shutil.rmtree(tmp_path / gone)
    assert_refused(tmp_path, r'images/<split>/ and panoptic/<split>/', f'{gone}/train')


def test_an_empty_folder_is_refused_before_training_starts(tmp_path):
    write(tmp_path, 'a.png')
    (tmp_path / 'images' / 'train' / 'a.png').unlink()
    assert_refused(tmp_path, 'holds 0 images', str(tmp_path))


def test_a_missing_label_image_is_named_before_training_starts(tmp_path):
    for name in ('a.png', 'b.png', 'c.png'):
        write(tmp_path, name)
    (tmp_path / 'panoptic' / 'train' / 'b.png').unlink()
    with pytest.raises(PdlError, match=r'3 images; 1 of their files .* first is .*train/b\.png'):
        LabelFolder(tmp_path, 'train', SCENE)


@pytest.mark.parametrize(
    'labels',
    [
        np.zeros((2, 3), np.uint8),
        np.zeros((2, 3, 3), np.uint16),
    ],
    ids=['8 bit', 'colour'],
)
def test_a_label_image_of_another_kind_is_refused_with_the_right_kind(tmp_path, labels):
    label_file = write(tmp_path, 'a.png', labels=labels)
    assert_refused(tmp_path, 'one-channel 16-bit PNG of size 3x2', str(label_file))


@pytest.mark.parametrize('shape', [(3, 2), (2, 4)], ids=['turned', 'too wide'])
def test_labels_of_another_size_than_their_picture_are_refused_with_both(tmp_path, shape):
    label_file = write(tmp_path, 'a.png', labels=np.zeros(shape, np.uint16))
    assert_refused(tmp_path, f'is {shape[1]}x{shape[0]}, but .* is 3x2', str(label_file))


def test_a_class_outside_the_label_set_is_refused_by_number(tmp_path):
    label_file = write(tmp_path, 'a.png', labels=np.full((2, 3), 7001, np.uint16))
    assert_refused(tmp_path, "class 7, but label set 'scene' ends at 6", str(label_file))


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
@pytest.mark.parametrize('content', ['empty', 'text', 'head', 'half'])
def test_a_damaged_image_is_refused_by_name_and_not_trained_on_half_grey(tmp_path, suffix, content):
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    write(tmp_path, f'a{suffix}', noise, np.zeros((64, 96), np.uint16))
    image = tmp_path / 'images' / 'train' / f'a{suffix}'
    whole = image.read_bytes()
    image.write_bytes(
        {'empty': b'', 'text': b'<html>', 'head': whole[:20], 'half': whole[: len(whole) // 2]}[
            content
        ]
    )
    assert_refused(tmp_path, 'damaged', str(image))


@pytest.mark.parametrize('share', [0.0, 0.1, 0.5])
def test_a_damaged_label_image_is_refused_by_name(tmp_path, share):
    noise = np.random.default_rng(0).integers(0, 7, (64, 96)).astype(np.uint16) * 1000
    label_file = write(tmp_path, 'a.png', np.zeros((64, 96, 3), np.uint8), noise)
    whole = label_file.read_bytes()
    label_file.write_bytes(whole[: int(share * len(whole))])
    assert_refused(tmp_path, r'.', str(label_file))


# --- real images --------------------------------------------------------------------------------


@pytest.mark.parametrize(('split', 'count'), [('train', 367), ('val', 101)])
def test_camvid_is_read_whole_with_cars_on_roads(camvid, split, count):
    label_set = LabelSet.load('camvid')
    folder = LabelFolder(camvid, split, label_set)
    assert len(folder) == count
    sample = folder[0]
    assert sample.image.shape == (360, 480, 3)
    assert 30 < sample.image.mean() < 225
    assert {s.class_id for s in sample.segments} >= {0, 1, 3}  # sky, building, road
    for segment in sample.segments:
        is_thing = label_set.classes[segment.class_id].is_thing
        assert (segment.id % 1000 > 0) == is_thing
        assert segment.class_id == segment.id // 1000
    rows, _ = np.nonzero(sample.panoptic == 3000)
    sky_rows, _ = np.nonzero(sample.panoptic == 0)
    assert rows.mean() > sky_rows.mean()  # road below sky: image rows are the labels' rows


def test_labels_of_any_ids_are_numbered_as_predictions_are():
    road, car, dog, void = 0, 1, 2, 65535
    ids = np.array([[70_000, 3, 3, 9], [8, 8, 5, 1]], np.int32)
    segments = (
        Segment(70_000, road), Segment(3, car), Segment(8, car), Segment(5, dog, True),
        Segment(9, 3),  # of a group: one of several
    )  # fmt: skip
    sample = Sample('tiny', np.zeros((2, 4, 3), np.uint8), ids, segments)
    values = label_values(sample, TINY)
    assert values.tolist() == [[0, 11, 11, void], [12, 12, 20, void]]
    many = [Segment(i, car) for i in (3, 8, *range(100, 108), 70_000)]
    crowded = label_values(sample._replace(segments=tuple(many)), TINY)
    assert crowded[0].tolist() == [void, 11, 11, void], 'the tenth car would be the first dog'
