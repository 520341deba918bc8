"""A label set means the same to whoever reads its ids, and a broken one says where it is broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdl_ros import labels
from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelClass, LabelSet
from pdl_ros.labels.label_set import PANOPTIC_VOID, SEMANTIC_VOID

SHIPPED = sorted(p.stem for p in Path(labels.__file__).parent.glob('*.yaml'))
ROAD = '  - {name: road, color: [1, 2, 3], thing: false}\n'
CAR = '  - {name: car, color: [4, 5, 6], thing: true}\n'
FORM = 'name: own\nlabel_divisor: 100\nclasses:\n' + ROAD + CAR


def set_of(count: int, divisor: int = 1000) -> LabelSet:
    return LabelSet(
        'many', tuple(LabelClass(f'c{i}', (0, 0, i % 256), False) for i in range(count)), divisor
    )


# --- what is shipped ----------------------------------------------------------------------------


@pytest.mark.parametrize('name', SHIPPED)
def test_a_shipped_label_set_is_found_by_its_name_and_distinguishable_by_eye(name):
    label_set = LabelSet.load(name)
    assert label_set.name == name
    colors = {c.color for c in label_set.classes}
    assert len(colors) == label_set.num_classes
    assert (0, 0, 0) not in colors  # black is void
    assert label_set.thing_ids == tuple(i for i, c in enumerate(label_set.classes) if c.is_thing)


def test_train_ids_are_those_of_the_published_data_sets():
    cityscapes, camvid = LabelSet.load('cityscapes'), LabelSet.load('camvid')
    assert (cityscapes.num_classes, cityscapes.thing_ids) == (19, tuple(range(11, 19)))
    assert cityscapes.classes[13] == LabelClass('car', (0, 0, 142), True)
    assert (camvid.num_classes, camvid.thing_ids) == (11, (8, 9, 10))
    assert [c.name for c in camvid.classes][::5] == ['sky', 'tree', 'bicyclist']
    coco, mapillary = LabelSet.load('coco'), LabelSet.load('mapillary')
    assert (coco.num_classes, coco.thing_ids) == (133, tuple(range(80)))
    assert [coco.classes[i].name for i in (0, 79, 80, 132)] == [
        'person',
        'toothbrush',
        'banner',
        'rug-merged',
    ]
    assert (mapillary.num_classes, len(mapillary.thing_ids)) == (65, 37)
    assert mapillary.classes[55] == LabelClass('Car', (0, 0, 142), True)
    assert [c.name for c in mapillary.classes][::32] == ['Bird', 'Banner', 'Ego Vehicle']


@pytest.mark.parametrize('name', SHIPPED)
def test_the_colour_table_paints_classes_in_their_colours_and_void_black(name):
    label_set = LabelSet.load(name)
    assert label_set.colors.shape == (256, 3)
    assert label_set.colors.dtype == np.uint8
    for class_id, label_class in enumerate(label_set.classes):
        assert tuple(label_set.colors[class_id]) == label_class.color
    assert not label_set.colors[label_set.num_classes :].any()
    assert not label_set.colors[SEMANTIC_VOID].any()


# --- reading and writing ------------------------------------------------------------------------


def test_an_own_label_set_is_read_from_a_file_in_its_order(tmp_path):
    file = tmp_path / 'mine.yml'
    file.write_text(FORM)
    label_set = LabelSet.load(file)
    assert label_set == LabelSet(
        'own',
        (LabelClass('road', (1, 2, 3), False), LabelClass('car', (4, 5, 6), True)),
        label_divisor=100,
    )
    assert LabelSet.load(str(file)) == label_set


def test_a_label_set_without_a_divisor_gets_the_usual_one(tmp_path):
    file = tmp_path / 'mine.yaml'
    file.write_text(FORM.replace('label_divisor: 100\n', ''))
    assert LabelSet.load(file).label_divisor == 1000


class_lists = st.lists(
    st.tuples(st.text(min_size=1), st.tuples(*[st.integers(0, 255)] * 3), st.booleans()),
    min_size=1,
    max_size=6,
    unique_by=lambda c: c[0],
)


@given(st.text(), class_lists, st.integers(2, 1000))
def test_a_label_set_survives_being_written_into_a_checkpoint(name, classes, divisor):
    label_set = LabelSet(name, tuple(LabelClass(*c) for c in classes), divisor)
    assert LabelSet.from_dict(label_set.to_dict()) == label_set


# --- what a user can get wrong ------------------------------------------------------------------


@pytest.mark.parametrize(
    ('text', 'says'),
    [
        ('classes: [', 'is not valid YAML'),
        ('', 'is not a label set'),
        ('just words', 'is not a label set'),
        ('[1, 2]', 'is not a label set'),
        ('name: own', "'classes'"),
        (FORM.replace('name: own\n', ''), "'name'"),
        ('name: own\nclasses: 3', 'is not a label set'),
        ('name: own\nclasses: {road: 1}', 'is not a label set'),
        ('name: own\nclasses: [road, car]', 'is not a label set'),
        (FORM.replace(', thing: true', ''), "'thing'"),
        (FORM.replace('[1, 2, 3]', '[1, 2, 300]'), 'outside 0..255'),
        (FORM.replace('[1, 2, 3]', '[1, 2]'), 'is not a label set'),
        (FORM.replace('[1, 2, 3]', 'red'), 'is not a label set'),
        (FORM.replace('100', 'many'), 'is not a label set'),
        (FORM.replace('100', '1'), 'at least 2'),
        (FORM.replace('car', 'road'), 'twice'),
        ('name: own\nclasses: []', 'has 0 classes'),
    ],
)
def test_a_wrong_label_file_is_refused_in_one_sentence_that_names_the_file(tmp_path, text, says):
    file = tmp_path / 'mine.yaml'
    file.write_text(text)
    with pytest.raises(PdlError, match=says) as error:
        LabelSet.load(file)
    assert 'mine.yaml' in str(error.value)
    assert '\n' not in str(error.value)


def test_a_file_of_bytes_is_no_label_set(tmp_path):
    file = tmp_path / 'mine.yaml'
    file.write_bytes(b'\xff\xfe\x00\x80')
    with pytest.raises(PdlError, match=r'mine\.yaml'):
        LabelSet.load(file)


@pytest.mark.parametrize('name', ['kitty', 'nowhere/mine.yaml', ''])
def test_an_unknown_label_set_is_refused_with_the_shipped_ones(name):
    with pytest.raises(PdlError, match='camvid, cityscapes') as error:
        LabelSet.load(name)
    assert repr(name) in str(error.value)


def test_more_classes_than_a_label_image_can_tell_apart_are_refused():
    assert set_of(255, 200).num_classes == 255  # ids 0..254; 255 is void
    with pytest.raises(PdlError, match='256 classes'):
        set_of(256, 200)


def test_ids_that_do_not_fit_a_16_bit_label_image_are_refused():
    # Class 65, instance 535 would be 65535, which is void; class 66 would wrap to class 0.
    fits = set_of(65, 1000)
    assert (fits.num_classes - 1) * fits.label_divisor + fits.label_divisor - 1 < PANOPTIC_VOID
    with pytest.raises(PdlError, match='label_divisor'):
        set_of(133, 1000)
