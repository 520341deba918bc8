"""Other engines and fewer bits give the labels and the scores of plain fp32."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from pdl_ros.bench.agreement import PLAIN, bench_agreement, keep_results, print_results
from pdl_ros.datasets import Sample
from pdl_ros.datasets.mixture import open_mixture
from pdl_ros.demo.scene import SceneDataset
from pdl_ros.engines.agreement import Agreement, read_agreement
from pdl_ros.engines.tensorrt_plans import weights_digest
from pdl_ros.engines.torch_engine import auto_precision
from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelSet
from pdl_ros.network import checkpoints
from pdl_ros.network.weight_files import DEFAULT_VARIANT, find_weights

ROOT = Path(__file__).resolve().parents[2]
BF16 = ['torch bf16'] * (auto_precision(torch.device('cpu')) == 'bf16')


def compare(weights: str, dataset, calibration, engines: list[str], step: int = 1) -> dict:
    """Cases by engine, after a look at the report."""
    results = bench_agreement(weights, dataset, calibration, engines, step)
    print_results(json.loads(json.dumps(results)))
    cases = {case['engine']: case for case in results['cases']}
    plain = cases.pop(PLAIN)
    assert (plain['head_error'], plain['equal_pixels'], plain['pq_points']) == (0, [1, 1], 0)
    assert set(cases) == set(engines)
    return cases


def test_drawn_streets_look_the_same_to_every_engine(capsys):
    scored, calibration = SceneDataset(12, 160, 256, first_seed=10_000), SceneDataset(8, 160, 256)
    exact, loose = ['torch fp32', 'onnx fp32'], ['file int8']
    cases = compare('scene_tiny', scored, calibration, [*exact, *BF16, 'file fp16', *loose])
    for engine in exact:
        assert cases[engine]['head_error'] < 1e-4
        assert cases[engine]['equal_pixels'][0] > 0.9999
    for engine in (*BF16, 'file fp16'):
        assert cases[engine]['head_error'] < 0.03
        assert cases[engine]['equal_pixels'][0] > 0.995
        assert abs(cases[engine]['pq_points']) < 0.3
    assert cases['file int8']['equal_pixels'][0] > 0.97
    assert abs(cases['file int8']['pq_points']) < 2
    assert all(engine in capsys.readouterr().out for engine in ['file int8'])


def test_real_streets_keep_their_labels_and_scores_in_half_precision(camvid, tmp_path):
    """With the default weights; the classes are what examples/street says of CamVid's."""
    judge = yaml.safe_load((ROOT / 'examples' / 'street' / 'judge.yaml').read_text())
    for kind in ('images', 'panoptic'):
        (tmp_path / kind).symlink_to(camvid / kind)
    (tmp_path / 'labels.yaml').write_text(LabelSet.load('camvid').to_yaml())
    rules = {**judge['sets']['camvid'], 'folder': str(tmp_path)}
    file = tmp_path / 'streets.yaml'
    file.write_text(yaml.safe_dump({'labels': 'street', 'sets': {'camvid': rules}}))
    scored, calibration = (open_mixture(file, s).sets[0].dataset for s in ('val', 'train'))
    engines = [*BF16, 'file fp16']
    for case in compare(DEFAULT_VARIANT, scored, calibration, engines, step=6).values():
        assert case['equal_pixels'][0] > 0.995
        assert abs(case['pq_points']) < 0.3


def test_an_engine_that_this_machine_does_not_have_says_so_and_the_others_go_on(
    monkeypatch, capsys
):
    monkeypatch.setattr('pdl_ros.engines.onnx_engine.has_bf16', lambda: False)
    scenes = SceneDataset(1, 64, 96)
    results = bench_agreement('scene_tiny', scenes, scenes, ['onnx bf16', 'torch fp32'])
    found = {case['engine']: case for case in results['cases']}
    assert found['torch fp32']['equal_pixels'] == [1, 1]
    assert "no precision 'bf16'" in found['onnx bf16']['why_not']
    print_results(json.loads(json.dumps(results)))
    assert 'onnx bf16: not compared: ' in capsys.readouterr().out


def test_what_is_kept_for_auto_says_which_images_it_is_of_and_leaves_out_what_did_not_run(tmp_path):
    checkpoint = tmp_path / 'ours.safetensors'
    shutil.copy(find_weights('scene_tiny'), checkpoint)
    seen = {'equal_pixels': [0.998, 0.9], 'pq_points': -0.1}
    cases = [{'engine': name, **seen} for name in (PLAIN, 'torch bf16', 'file int8')]
    cases.append({'engine': 'openvino int8', 'why_not': 'It does not run here.'})
    results = {'weights': str(checkpoint), 'images': 12, 'cases': cases}
    keep_results(results, Path('data') / 'camvid')
    weights = weights_digest(checkpoints.load(checkpoint)[0])
    (row,) = read_agreement(checkpoint, weights)
    assert row == Agreement('torch', 'bf16', row.isa, 0.998, -0.1, '12 images of camvid')


def test_labels_that_leave_a_class_open_are_scored_for_what_they_say():
    class Joined(SceneDataset):
        """As a mixture has it: road, or pavement, nobody said which."""

        groups = ((0, 1),)

        def __getitem__(self, index: int) -> Sample:
            sample = super().__getitem__(index)
            joined = [s._replace(class_id=7) if s.class_id < 2 else s for s in sample.segments]
            return sample._replace(segments=tuple(joined))

    scored = Joined(1, 160, 256, first_seed=10_000)
    assert scored.label_set.num_classes == 7
    (case,) = bench_agreement('scene_tiny', scored, scored, [])['cases']
    assert case['miou'] > 0.5


def test_an_engine_that_is_not_known_is_refused_before_anything_runs():
    scenes = SceneDataset(1, 64, 96)
    with pytest.raises(PdlError, match='torch fp32 or torch bf16'):
        bench_agreement('scene_tiny', scenes, scenes, ['cuda fp16'])
