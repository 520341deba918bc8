"""What is wrong with a data set is listed before anything is trained on it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from pdl_ros.labels import LabelSet

from ..conftest import SHARED
from . import trees
from .test_cli import call
from .trees import HEIGHT, WIDTH

VALUES = trees.world((0, 1000, 65535), [2001, 2002], 2000).astype(np.uint16)


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """A folder of numbers with one sound image and one of each fault."""
    images, labels = tmp_path / 'images' / 'train', tmp_path / 'panoptic' / 'train'
    for name in ('cut', 'missing', 'size', 'sound', 'unknown', 'void'):
        trees.picture(images / f'{name}.jpg')
        trees.save(labels / f'{name}.png', VALUES)
    whole = (images / 'cut.jpg').read_bytes()
    (images / 'cut.jpg').write_bytes(whole[: len(whole) // 2])
    (labels / 'missing.png').unlink()
    trees.save(labels / 'size.png', VALUES[:-1])
    trees.save(labels / 'unknown.png', trees.fill(VALUES.copy(), (0, 2, 0, 5), 9001))
    trees.save(labels / 'void.png', np.full_like(VALUES, 65535))
    (tmp_path / 'mine.yaml').write_text(yaml.safe_dump(trees.label_set().to_dict()))
    return tmp_path


def test_every_fault_is_named_with_its_image_and_the_status_says_so(faulty):
    report = faulty / 'report.json'
    done = call('data', 'check', faulty, '--labels', faulty / 'mine.yaml', '--json', report)
    assert done.returncode == 2
    assert '4 images' in done.stderr
    assert 'the first is train/cut' in done.stderr
    (found,) = json.loads(report.read_text())
    assert {f['image']: f['kind'] for f in found['faults']} == {
        'cut': 'unreadable',
        'missing': 'missing',
        'size': 'of another size',
        'unknown': 'unknown class',
        'void': 'without any label',
    }
    for fault in found['faults']:
        assert fault['image'] in fault['says']
        assert fault['says'] in done.stdout
    assert found['unknown'] == {'9': 10}
    assert 'class 9, which the label set lacks: 10 pixels' in done.stdout


def test_what_there_is_of_each_class_is_counted_in_what_can_be_used(faulty):
    report = faulty / 'report.json'
    call('data', 'check', faulty, '--labels', faulty / 'mine.yaml', '--json', report)
    (found,) = json.loads(report.read_text())
    assert (found['images'], found['sizes']) == (6, {f'{WIDTH}x{HEIGHT}': 3})
    assert found['pixels'] == 2 * HEIGHT * WIDTH
    areas = sorted((bottom - top) * (right - left) for top, bottom, left, right in trees.CARS)
    top, bottom, left, right = trees.CROWD
    car = found['classes']['car']
    assert car['pixels'] == sum(areas) + (bottom - top) * (right - left)
    assert (car['images'], car['segments'], car['crowds']) == (1, 2, 1)
    assert (car['smallest'], car['median'], car['largest']) == (areas[0], sum(areas) // 2, areas[1])
    assert (car['small'], car['medium'], car['large']) == (2, 0, 0)
    labelled = sum(c['pixels'] for c in found['classes'].values())
    assert found['void'] + labelled == found['pixels']


def test_what_cannot_be_used_is_left_out_from_then_on_by_choice(faulty):
    labels = ('--labels', faulty / 'mine.yaml')
    done = call('data', 'check', faulty, *labels, '--skip')
    assert done.returncode == 0, done.stderr
    assert sorted((faulty / 'skip.txt').read_text().split()) == [
        'train/cut',
        'train/missing',
        'train/size',
        'train/unknown',
    ]
    again = call('data', 'check', faulty, *labels)
    assert again.returncode == 0, again.stderr
    assert '2 images' in again.stdout


def test_a_segment_that_the_json_lists_and_nobody_drew_is_named(tmp_path):
    trees.coco_panoptic(tmp_path)
    file = tmp_path / 'annotations' / 'panoptic_val2017.json'
    data = json.loads(file.read_text())
    data['annotations'][0]['segments_info'].append({'id': 4321, 'category_id': 3, 'iscrowd': 0})
    file.write_text(json.dumps(data))
    done = call('data', 'check', tmp_path, '--split', 'val')
    assert done.returncode == 0, done.stderr
    assert 'listed but not in the labels: 1' in done.stdout
    assert '1 segments of' in done.stdout


def test_without_a_label_set_the_one_of_the_data_is_taken_and_numbers_need_one(faulty, tmp_path):
    done = call('data', 'check', faulty)
    assert done.returncode == 2
    assert 'give their label set with --labels, or keep it there as labels.yaml' in done.stderr
    (faulty / 'mine.yaml').rename(faulty / 'labels.yaml')
    assert 'label set world' in call('data', 'check', faulty).stdout


def test_classes_that_are_missing_from_a_split_are_named(tmp_path):
    trees.own_pngs(tmp_path)
    trees.save(tmp_path / 'panoptic' / 'val' / 'a.png', np.zeros_like(VALUES))
    done = call('data', 'check', tmp_path)
    assert 'No pixel of these classes in val: sky, car.' in done.stdout


def test_each_set_of_a_mixture_is_checked_and_then_what_its_classes_become(tmp_path):
    for name in ('good', 'bad'):
        trees.own_pngs(tmp_path / name)
    classes = [c.name for c in LabelSet.load(tmp_path / 'good' / 'labels.yaml').classes]
    rules = {n: {'folder': n, 'classes': dict.fromkeys(classes, 'road')} for n in ('good', 'bad')}
    file, report = tmp_path / 'mixture.yaml', tmp_path / 'report.json'
    file.write_text(yaml.safe_dump({'labels': 'street', 'sets': rules}))
    done = call('data', 'check', file, '--json', report)
    assert done.returncode == 0, done.stderr
    assert {*json.loads(report.read_text())} == {'good', 'bad'}

    rules['good']['classes'][classes[0]] = 'rode'
    file.write_text(yaml.safe_dump({'labels': 'street', 'sets': rules}))
    done = call('data', 'check', file)
    assert done.returncode == 2
    assert "becomes 'rode', which label set 'street' lacks; is it 'road'?" in done.stderr

    next((tmp_path / 'bad' / 'panoptic' / 'train').iterdir()).unlink()
    done = call('data', 'check', file)
    assert done.returncode == 2
    assert f'1 images of {tmp_path / "bad"} cannot be used' in done.stderr


def test_the_label_set_of_a_mixture_is_written_as_that_of_a_folder(tmp_path):
    file, made = tmp_path / 'mixture.yaml', tmp_path / 'made.yaml'
    file.write_text('labels: street\nsets: {a: {folder: a}}')
    assert call('data', 'labels', file, '--out', made).returncode == 0
    assert LabelSet.load(made) == LabelSet.load('street')


@pytest.mark.parametrize('tree', ['cityscapes', 'coco_panoptic', 'coco_instances', 'yolo'])
def test_a_label_set_is_made_of_the_data_and_fits_them(tmp_path, tree):
    trees.TREES[tree][0](tmp_path / 'set')
    made = tmp_path / 'made.yaml'
    done = call('data', 'labels', tmp_path / 'set', '--out', made)
    assert done.returncode == 0, done.stderr
    label_set = LabelSet.load(made)
    assert 'car' in {c.name for c in label_set.classes if c.is_thing}
    # A network of things alone would have to call every pixel one of them.
    assert not all(c.is_thing for c in label_set.classes)
    done = call('data', 'check', tmp_path / 'set', '--labels', made)
    assert done.returncode == 0, done.stderr


def test_polygons_without_stuff_are_checked_and_trained_on_with_the_label_set_of_the_data(tmp_path):
    root = SHARED / 'data' / 'street' / 'coco_mini'
    if not root.is_dir():
        pytest.skip('needs the data that is not shipped with the project (coco_mini)')
    made = tmp_path / 'made.yaml'
    call('data', 'labels', root, '--out', made)
    label_set = LabelSet.load(made)
    assert [c.name for c in label_set.classes][:3] == ['background', 'person', 'bicycle']
    assert label_set.sources.unlabelled == 'background'
    from pdl_ros.datasets.layouts import open_dataset

    sample = open_dataset(root, '', label_set)[0]
    assert {s.class_id for s in sample.segments} > {0}
    assert np.isin(sample.panoptic, [s.id for s in sample.segments]).all()
