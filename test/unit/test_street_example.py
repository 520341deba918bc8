"""The scripts behind the shipped weights say what they lack, and write what they should."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

from pdl_ros.network import checkpoints

STREET = Path(__file__).resolve().parents[2] / 'examples' / 'street'


def test_a_picture_of_lima_that_is_missing_is_a_sentence(tmp_path):
    raw = tmp_path / 'street' / 'lima_streets'
    raw.mkdir(parents=True)
    (raw / 'train.json').write_text(json.dumps({'a.jpg': []}))
    with pytest.raises(SystemExit, match=r'a\.jpg is missing or damaged'):
        runpy.run_path(str(STREET / 'prepare.py'))['lima'](tmp_path, tmp_path / 'out')


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
