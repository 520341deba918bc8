"""A training on a mixture from the shell: trained, scored set by set, reported, gone on with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from pdl_ros.cli.train import _validation
from pdl_ros.labels import LabelSet
from pdl_ros.network import checkpoints

from .test_cli import call, write_dataset


@pytest.fixture
def mixture(tmp_path: Path) -> Path:
    """Two sets of the same pictures: of one the cars alone are known, the other joins all stuff."""
    for name in ('cars', 'people'):
        write_dataset(tmp_path / name)
        (tmp_path / name / 'labels.yaml').write_text(LabelSet.load('scene').to_yaml())
    names = [c.name for c in LabelSet.load('scene').classes]
    only_cars = {name: 'void' for name in names if name != 'car'}
    joined = dict.fromkeys(('building', 'road'), 'building|road')
    file = tmp_path / 'mixture.yaml'
    sets = {
        'cars': {'folder': 'cars', 'weight': 1, 'classes': only_cars},
        'people': {'folder': 'people', 'weight': 2, 'classes': joined, 'crowds': ['car']},
    }
    file.write_text(yaml.safe_dump({'labels': 'scene', 'sets': sets}))
    return file


def test_a_mixture_is_trained_scored_set_by_set_and_gone_on_with(mixture, tmp_path):
    pytest.importorskip('lightning_fabric')
    pytest.importorskip('matplotlib')
    out = tmp_path / 'run'
    command = ('train', 'scene_tiny', '--data', mixture, '--out', out, '--backbone-weights', 'none',
               '--batch-size', 2, '--device', 'cpu', '--set', 'augmentation.paste=1.0')  # fmt: skip
    paused = call(*command, '--steps', 2, '--until', 1, '--val-split', 'none')
    assert paused.returncode == 0, paused.stderr
    done = call(*command, '--steps', 2, '--report')
    assert done.returncode == 0, done.stderr
    assert len((out / 'log.csv').read_text().splitlines()) == 1 + 2
    scores = json.loads((out / 'scores.json').read_text())
    assert {*scores['sets']} == {'cars', 'people'}
    assert 0 <= scores['mean']['miou'] <= 1
    classes = {c['name'] for c in scores['sets']['people']['classes']}
    assert 'building|road' in classes and 'road' not in classes
    header = checkpoints.read(out / 'weights.safetensors').header
    assert header['scores']['miou'] == pytest.approx(scores['mean']['miou'], abs=1e-4)
    assert header['scores']['ap'] is None, 'a training counts none'
    assert 'nan' not in (out / 'validation.csv').read_text()
    report = (out / 'report.html').read_text()
    assert 'cars: Scores in percent' in report and 'people: Scores in percent' in report


def test_a_training_is_scored_on_sets_that_are_never_drawn(mixture):
    data = yaml.safe_load(mixture.read_text())
    for rules in data['sets'].values():
        rules['weight'] = 0
    mixture.write_text(yaml.safe_dump(data))
    validation = _validation(str(mixture), 'val', LabelSet.load('scene'))
    assert [validation[i].name for i in range(len(validation))] == ['0', '1'] * 2


def test_a_mixture_in_other_classes_than_asked_for_is_refused(mixture, tmp_path):
    pytest.importorskip('lightning_fabric')
    refused = call('train', 'scene_tiny', '--data', mixture, '--labels', 'street', '--out',
                   tmp_path / 'run', '--backbone-weights', 'none')  # fmt: skip
    assert refused.returncode == 2
    assert "in the classes of label set 'scene', the network in those of 'street'" in refused.stderr


def test_who_has_nothing_to_score_on_is_told_how_to_train_nevertheless(mixture, tmp_path):
    pytest.importorskip('lightning_fabric')
    for name in ('cars', 'people'):
        for kind in ('images', 'panoptic'):
            (tmp_path / name / kind / 'val').rename(tmp_path / name / kind / 'kept')
    for data in (mixture, tmp_path / 'cars'):
        refused = call('train', 'scene_tiny', '--data', data, '--out', tmp_path / 'run',
                       '--backbone-weights', 'none')  # fmt: skip
        assert refused.returncode == 2
        assert "split 'val'" in refused.stderr
        assert 'give --val-split none' in refused.stderr


def test_a_class_that_is_open_is_not_learnt_as_one_of_its_own(mixture):
    file = mixture.parent / 'cars' / 'labels.yaml'
    file.write_text(file.read_text().replace('name: car', 'name: car|truck'))
    refused = call('train', 'scene_tiny', '--data', file.parent, '--out', mixture.parent / 'run')
    assert refused.returncode == 2
    assert "leaves open which class 'car|truck' is; name the folder in a mixture" in refused.stderr
