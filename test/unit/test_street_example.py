"""The scripts behind the shipped weights say what they lack, and write what they should."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pdl_ros.datasets.layouts import open_dataset
from pdl_ros.datasets.source import SourceLabels, SourceSegment
from pdl_ros.demo.scene import SceneDataset
from pdl_ros.labels import LabelSet, SourceClass
from pdl_ros.network import checkpoints
from pdl_ros.network.weight_files import find_weights

STREET = Path(__file__).resolve().parents[2] / 'examples' / 'street'


def test_a_picture_of_lima_that_is_missing_is_a_sentence(tmp_path):
    raw = tmp_path / 'street' / 'lima_streets'
    raw.mkdir(parents=True)
    (raw / 'train.json').write_text(json.dumps({'a.jpg': []}))
    with pytest.raises(SystemExit, match=r'a\.jpg is missing or damaged'):
        runpy.run_path(str(STREET / 'prepare.py'))['lima'](tmp_path, tmp_path / 'out')


def test_the_drawn_street_is_scored_by_the_truth_that_it_was_drawn_with(tmp_path):
    make = runpy.run_path(str(STREET / 'prepare.py'))['drawn']
    streets = SceneDataset(2, 60, 80, first_seed=1)
    make.__globals__['SceneDataset'] = lambda *_, **__: streets
    make(tmp_path, tmp_path / 'drawn')
    label_set = LabelSet.load(str(tmp_path / 'drawn' / 'labels.yaml'))
    assert {c.name for c in label_set.classes} < {c.name for c in LabelSet.load('street').classes}
    written = open_dataset(tmp_path / 'drawn', 'val', label_set)
    assert len(written) == 2
    for i in range(2):
        ours, theirs = written[i], streets[i]
        np.testing.assert_array_equal(ours.image, theirs.image)
        for segment in theirs.segments:
            there = theirs.panoptic == segment.id
            (found,) = np.unique(ours.panoptic[there])
            assert (ours.panoptic == found).sum() >= there.sum() > 0


def test_the_mean_of_two_networks_is_that_of_each_weight(tmp_path, monkeypatch):
    network, variant = checkpoints.load('scene_tiny')
    first, second, out = (tmp_path / f'{name}.safetensors' for name in ('a', 'b', 'mean'))
    name, weights = next(iter(network.named_parameters()))
    for file, value in ((first, 1.0), (second, 2.0)):
        weights.data.fill_(value)
        checkpoints.save(network, variant, file, {})
    monkeypatch.setattr(sys, 'argv', ['mean.py', str(first), str(second), str(out)])
    runpy.run_path(str(STREET / 'mean.py'), run_name='__main__')
    weights.data.fill_(1.5)
    mean = checkpoints.load(out)[0].state_dict()
    for key, value in network.state_dict().items():
        torch.testing.assert_close(mean[key], value, rtol=1e-3, atol=1e-3)
    assert (mean[name] == 1.5).all()


def test_a_favoured_class_gets_so_much_more_everywhere_and_the_others_nothing(
    tmp_path, monkeypatch
):
    out = tmp_path / 'out.safetensors'
    network, variant = checkpoints.load('scene_tiny')
    source = tmp_path / 'a.safetensors'
    checkpoints.save(network, variant, source, {})
    monkeypatch.setattr(sys, 'argv', ['favour.py', str(source), str(out), 'car=0.5'])
    runpy.run_path(str(STREET / 'favour.py'), run_name='__main__')
    image = torch.zeros(1, 3, 64, 96)
    with torch.inference_mode():
        before, after = (checkpoints.load(f)[0](image).semantic for f in (source, out))
    more = torch.zeros(variant.label_set.num_classes)
    more[[c.name for c in variant.label_set.classes].index('car')] = 0.5
    torch.testing.assert_close(
        after - before, more.view(1, -1, 1, 1).expand_as(before), atol=2e-3, rtol=0
    )
    monkeypatch.setattr(sys, 'argv', ['favour.py', str(source), str(out), 'yeti=0.5'])
    with pytest.raises(SystemExit, match="no class 'yeti'"):
        runpy.run_path(str(STREET / 'favour.py'), run_name='__main__')


def test_street_weights_as_camvid_s_say_the_same_of_the_classes_that_both_know(
    tmp_path, monkeypatch
):
    source, out = find_weights('street_efficientnet_lite0'), tmp_path / 'camvid.safetensors'
    monkeypatch.setattr(sys, 'argv', ['as_camvid.py', str(source), str(out)])
    runpy.run_path(str(STREET / 'as_camvid.py'), run_name='__main__')
    image = torch.zeros(1, 3, 64, 96)
    (street, ours), (camvid, theirs) = map(checkpoints.load, (source, out))
    with torch.inference_mode():
        before, after = street.eval()(image), camvid.eval()(image)
    assert theirs.name == 'camvid_efficientnet_lite0'
    torch.testing.assert_close(after.offset, before.offset)
    row_of = [{c.name: i for i, c in enumerate(v.label_set.classes)} for v in (ours, theirs)]
    other_names = {
        'pavement': 'sidewalk',
        'tree': 'vegetation',
        'sign': 'traffic sign',
        'pedestrian': 'person',
        'bicyclist': 'two-wheeler',
    }
    for new in row_of[1]:
        old = other_names.get(new, new)
        torch.testing.assert_close(
            after.semantic[:, row_of[1][new]], before.semantic[:, row_of[0][old]]
        )
    monkeypatch.setattr(sys, 'argv', ['as_camvid.py', str(find_weights('scene_tiny')), str(out)])
    with pytest.raises(SystemExit, match='classes of scene; give street weights'):
        runpy.run_path(str(STREET / 'as_camvid.py'), run_name='__main__')


def test_a_cat_is_no_thing_in_training_and_unknown_where_pictures_are_scored(tmp_path):
    """Picture 1 is trained on, 10 kept aside; in both a car, a cat and a handbag, in four rows."""
    called = {1: 'car', 2: 'cat', 3: 'handbag'}
    values = np.repeat(np.arange(4), 2)[:, None].repeat(6, 1).astype(np.int32)
    for number in (1, 10):
        cv2.imwrite(str(tmp_path / f'{number}.jpg'), np.zeros((8, 6, 3), np.uint8))

    class Pictures:
        layout = 'COCO instances'
        classes = tuple(SourceClass(i, name, is_thing=True) for i, name in called.items())
        names = ('1', '10')

        def image(self, index: int) -> Path:
            return tmp_path / f'{self.names[index]}.jpg'

        def read(self, index: int, size: tuple[int, int]) -> SourceLabels:
            return SourceLabels(values, tuple(SourceSegment(i, i) for i in called))

    make = runpy.run_path(str(STREET / 'prepare.py'))['coco']
    make.__globals__['open_source'] = lambda *_: Pictures()
    make(tmp_path, tmp_path / 'coco')
    label_set = LabelSet.load(str(tmp_path / 'coco' / 'labels.yaml'))
    stuff = make.__globals__['SOME_STUFF']
    for split, number, cat in (('train', 1, stuff), ('val', 10, None)):
        file = tmp_path / 'coco' / 'panoptic' / split / f'{number}.png'
        rows = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)[::2, 0]
        found = [None if v == 65535 else label_set.classes[v // 1000].name for v in rows.tolist()]
        assert found == [stuff, 'car', cat, None], split
