"""Polygons of COCO and YOLO, and the stuff beside them: what is read, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pdl_ros.datasets.layouts import open_dataset
from pdl_ros.errors import PdlError

from . import trees
from .trees import CAR, HEIGHT, ROAD, TREES, WIDTH, expected, regions


@pytest.mark.parametrize('tree', ['coco_instances', 'yolo'])
def test_without_a_semantic_png_what_is_no_thing_is_void_or_the_class_that_the_label_set_says(
    tmp_path, tree
):
    write, _, rules = TREES[tree]
    write(tmp_path)
    for png in (tmp_path / 'semantic').glob('*/*.png'):
        png.unlink()
    void = open_dataset(tmp_path, 'train', trees.label_set(**rules))[0]
    assert {s.class_id for s in void.segments} == {CAR}
    road = open_dataset(tmp_path, 'train', trees.label_set(unlabelled='road', **rules))[0]
    things = np.isin(void.panoptic, [s.id for s in void.segments])
    (segment,) = (s for s in road.segments if s.class_id == ROAD)
    np.testing.assert_array_equal(road.panoptic == segment.id, ~things)


def test_the_values_of_a_semantic_png_are_mapped_by_the_label_set_and_its_things_are_crowds(
    tmp_path,
):
    trees.coco_instances(tmp_path)
    for png in (tmp_path / 'semantic').glob('*/*.png'):
        trees.save(png, trees.world((40, 12, 7), [40, 40], 99).astype(np.uint8))
    rules = {'semantic': {40: 'road', 12: 'sky', 7: 'void', 99: 'car'}}
    dataset = open_dataset(tmp_path, 'train', trees.label_set(**rules))
    assert regions(dataset[0]) == expected()
    with pytest.raises(PdlError, match=r'holds 7, which is no class .* map it there'):
        open_dataset(tmp_path, 'train', trees.label_set())[0]


@pytest.mark.parametrize(
    ('line', 'says'),
    [
        ('0 0.5 0.5 0.1 0.1', 'line 1, is a box, not a polygon'),
        ('0 0.1 0.1 0.2', 'cannot be read'),
        ('car 0 0 1 1 1 0', 'cannot be read'),
        ('0 0 0 1e30 1 1 0', 'far outside'),
        ('0 0 0 nan 1 1 0', 'far outside'),
        ('7 0 0 1 1 1 0', 'holds class 7'),
    ],
)
def test_a_wrong_line_of_yolo_is_refused_with_its_file(tmp_path, line, says):
    trees.yolo(tmp_path)
    (tmp_path / 'labels' / 'val' / 'a.txt').write_text(line)
    _, _, rules = TREES['yolo']
    with pytest.raises(PdlError, match=says) as error:
        open_dataset(tmp_path, 'val', trees.label_set(**rules))[0]
    assert 'a.txt' in str(error.value)


@pytest.mark.parametrize(
    ('segmentation', 'says'),
    [
        ([], 'only a box'),
        ({'size': [4, 4], 'counts': [16]}, 'run lengths are of 4x4, not 64x48'),
        ({'size': [HEIGHT, WIDTH], 'counts': [5]}, 'do not fill'),
        ({'size': [HEIGHT, WIDTH], 'counts': [-5, HEIGHT * WIDTH + 5]}, 'do not fill'),
        ({'size': [HEIGHT, WIDTH], 'counts': 'abc'}, 'damaged'),
        ([[0, 0, 10, 10, 1e300, 5]], 'far outside'),
        ([[0, 0, 10]], 'reshape'),
    ],
)
def test_a_wrong_mask_of_coco_is_refused_with_its_file(tmp_path, segmentation, says):
    trees.coco_instances(tmp_path)
    file = tmp_path / 'annotations' / 'instances_val.json'
    data = json.loads(file.read_text())
    data['annotations'][0]['segmentation'] = segmentation
    file.write_text(json.dumps(data))
    with pytest.raises(PdlError, match=says) as error:
        open_dataset(tmp_path, 'val', trees.label_set())[0]
    assert 'instances_val.json' in str(error.value)


def test_unlabelled_ground_that_may_be_things_teaches_no_centre_of_all_of_it(tmp_path):
    trees.coco_instances(tmp_path)
    label_set = trees.label_set(unlabelled='car')
    sample = open_dataset(tmp_path, 'val', label_set)[0]
    (ground,) = [s for s in sample.segments if s.id == 0]
    assert label_set.classes[ground.class_id].name == 'car' and ground.is_crowd


def test_a_file_name_that_leads_out_of_the_folder_is_looked_for_in_it(tmp_path):
    trees.coco_instances(tmp_path)
    file = tmp_path / 'annotations' / 'instances_val.json'
    text = file.read_text()
    for name in ('../../../etc/a.jpg', '/home/she/pictures/a.jpg', 'C:\\\\pictures\\\\a.jpg'):
        file.write_text(text.replace('"a.jpg"', f'"{name}"'))
        sample = open_dataset(tmp_path, 'val', trees.label_set())
        assert sample.source.image(0) == tmp_path / 'images' / 'val' / 'a.jpg'


def test_the_folders_of_an_export_by_roboflow_are_found(tmp_path):
    trees.coco_instances(tmp_path / 'there')
    for split, found in (('train', 'train'), ('valid', 'val')):
        trees.picture(tmp_path / 'here' / split / 'a.jpg')
        text = (tmp_path / 'there' / 'annotations' / f'instances_{found}.json').read_text()
        (tmp_path / 'here' / split / '_annotations.coco.json').write_text(text)
    label_set = trees.label_set(unlabelled='road')
    for split in ('train', 'val'):
        assert len(open_dataset(tmp_path / 'here', split, label_set)[0].segments) == 4
