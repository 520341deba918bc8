"""Whoever repeats the paper's ablations compares what it compared, one thing at a time."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from typer.testing import CliRunner

from pdl_ros.bench import ablations, machine
from pdl_ros.cli.app import app
from pdl_ros.errors import PdlError
from pdl_ros.evaluation import PanopticEvaluator
from pdl_ros.network.heads import HeadOutputs
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.settings import DecoderSettings
from pdl_ros.training.losses import panoptic_loss
from pdl_ros.training.settings import LossSettings

from .drawn import SCENE, SETTINGS, VARIANT, Drawn

ALL = list(ablations.ABLATIONS)
FEW = replace(SETTINGS, steps=2)


def network_with(**changes) -> PanopticDeepLab:
    torch.manual_seed(0)
    variant = replace(VARIANT, decoder=replace(VARIANT.decoder, **changes))
    return PanopticDeepLab(variant).eval()


def differences(a: dict, b: dict, path: str = '') -> list[str]:
    """Name every value in which two nested settings differ."""
    found = []
    for key, value in a.items():
        if isinstance(value, dict):
            found += differences(value, b[key], f'{path}{key}.')
        elif value != b[key]:
            found.append(path + key)
    return found


@pytest.mark.parametrize(
    ('shared', 'aspps', 'decoders'), [('none', 2, 2), ('aspp', 1, 2), ('decoder', 1, 1)]
)
@torch.inference_mode()
def test_branches_share_what_they_are_told_to_and_are_saved_without_a_copy(shared, aspps, decoders):
    network = network_with(shared=shared)
    keys = network.state_dict()
    assert len({key.split('.')[0] for key in keys if '.aspp.' in key}) == aspps
    assert len({key.split('.')[0] for key in keys if '_decoder.' in key}) == decoders
    memory = [t.data_ptr() for t in keys.values() if t.numel() > 1]
    assert len(memory) == len(set(memory))
    heads = network(torch.randn(1, 3, 64, 96))
    assert [h.shape[1] for h in heads[:3]] == [VARIANT.label_set.num_classes, 1, 2]


@torch.inference_mode()
def test_a_shared_aspp_is_the_one_of_the_semantic_branch():
    network, image = network_with(shared='aspp'), torch.randn(1, 3, 64, 96)
    before = network(image).offset
    network.semantic_decoder.aspp.project.conv.weight.zero_()
    assert not torch.equal(network(image).offset, before)


@torch.inference_mode()
def test_a_sigmoid_makes_a_heatmap_of_chances_that_are_small_at_first():
    image = torch.randn(1, 3, 64, 96)
    linear, chances = (network_with(center_sigmoid=s)(image).center_heatmap for s in (False, True))
    torch.testing.assert_close(chances, (linear - 4.6).sigmoid())
    assert 0.005 < float(chances.mean()) < 0.02


@pytest.mark.parametrize('sigmoid', [False, True])
def test_a_heatmap_of_chances_is_trained_by_cross_entropy_and_another_by_squared_errors(sigmoid):
    generator = torch.Generator().manual_seed(0)
    logits, truth, weight = (torch.rand(2, 1, 8, 12, generator=generator) for _ in range(3))
    weight = (weight > 0.3).float()
    heatmap = logits.sigmoid() if sigmoid else logits
    targets = {
        'semantic': torch.zeros(2, 8, 12, dtype=torch.uint8),
        'semantic_weight': torch.ones(2, 8, 12),
        'center_heatmap': truth,
        'center_weight': weight,
        'offset': torch.zeros(2, 2, 8, 12),
        'offset_weight': torch.ones(2, 1, 8, 12),
    }
    heads = HeadOutputs(torch.zeros(2, 3, 8, 12), heatmap, torch.zeros(2, 2, 8, 12), 4)
    decoder = DecoderSettings(center_sigmoid=sigmoid)
    found = panoptic_loss(heads, targets, LossSettings(center=1.0), decoder)['center']
    plain = (
        F.binary_cross_entropy_with_logits(logits, truth, weight, reduction='sum')
        if sigmoid
        else F.mse_loss(logits * weight, truth * weight, reduction='sum')
    )
    torch.testing.assert_close(found, plain / weight.sum())


def test_a_network_that_is_sure_and_wrong_has_a_finite_loss_and_gradient():
    logits = torch.tensor([[[[200.0, -200.0]]]], requires_grad=True)
    decoder = DecoderSettings(center_sigmoid=True)
    targets = {
        'semantic': torch.zeros(1, 1, 2, dtype=torch.uint8),
        'semantic_weight': torch.ones(1, 1, 2),
        'center_heatmap': torch.tensor([[[[0.0, 1.0]]]]),
        'center_weight': torch.ones(1, 1, 1, 2),
        'offset': torch.zeros(1, 2, 1, 2),
        'offset_weight': torch.ones(1, 1, 1, 2),
    }
    heads = HeadOutputs(torch.zeros(1, 3, 1, 2), logits.sigmoid(), torch.zeros(1, 2, 1, 2), 4)
    loss = panoptic_loss(heads, targets, LossSettings(), decoder)['center']
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_an_unknown_way_to_share_is_refused_in_one_sentence():
    with pytest.raises(PdlError, match=r"shared is 'all'; it can be none, aspp, decoder"):
        DecoderSettings(shared='all')


@pytest.mark.parametrize('ablation', ALL)
def test_every_change_differs_from_the_recipe_in_one_value_only(ablation):
    base = {'variant': asdict(VARIANT.decoder), 'recipe': asdict(SETTINGS)}
    for change in ablations.ABLATIONS[ablation].values():
        variant, settings = change(VARIANT, SETTINGS)
        found = differences({'variant': asdict(variant.decoder), 'recipe': asdict(settings)}, base)
        assert len(found) <= 1, found
        assert replace(variant, decoder=VARIANT.decoder) == VARIANT


@pytest.fixture(scope='module')
def results(tmp_path_factory):
    """Two ablations with one seed, and the folder that they were made in."""
    folder = tmp_path_factory.mktemp('ablations')
    names = ['branches', 'bootstrapping']
    found = ablations.bench_ablations(names, VARIANT, FEW, (Drawn(), Drawn()), 1, folder)
    return found, folder


def test_each_choice_is_trained_with_every_seed_and_what_is_the_recipe_itself_only_once(results):
    found, folder = results
    assert list(found['arms']) == [
        ablations.BASE,
        'one ASPP for both branches',
        'one decoder for both branches',
        'all pixels',
    ]
    for rows in found['arms'].values():
        assert len(rows) == 1
        assert all(0 <= score <= 100 for row in rows for score in row.values())
    logs = {file.read_text() for file in folder.glob('*/log.csv')}
    assert len(logs) == 4  # the choices do change what is learnt


def test_the_same_command_trains_nothing_twice_and_goes_on_with_another_seed(results):
    found, folder = results
    before = {file: file.stat().st_mtime_ns for file in folder.glob('*/weights.safetensors')}
    datasets = Drawn(), Drawn()
    again = ablations.bench_ablations(['bootstrapping'], VARIANT, FEW, datasets, 2, folder)
    assert list(again['arms']) == [ablations.BASE, 'all pixels']
    for name, rows in again['arms'].items():
        assert rows[:1] == found['arms'][name]
        assert len(rows) == 2
    assert {file: file.stat().st_mtime_ns for file in before} == before
    logs = {file.read_text() for file in folder.glob('*recipe_*/log.csv')}
    assert len(logs) == 2  # another seed is another training


def test_the_table_gives_the_mean_and_the_spread_of_the_differences(results, capsys):
    rows = {'pq_things': 1.0, 'pq_stuff': 1.0, 'miou': 1.0}
    arms = {
        ablations.BASE: [{'pq': 50.0, **rows}, {'pq': 60.0, **rows}],
        'other': [{'pq': 52.0, **rows}, {'pq': 64.0, **rows}],
    }
    ablations.print_results({**results[0], 'arms': arms})
    line = next(line for line in capsys.readouterr().out.splitlines() if 'other' in line)
    assert '58.0 ± 8.5' in line
    assert f'+3.0 ± {np.std([2, 4], ddof=1):.1f}' in line


def test_data_without_things_cost_no_training_only_the_score_that_they_have_not(
    tmp_path, monkeypatch, capsys
):
    evaluator, street = PanopticEvaluator(SCENE), Drawn()[0]
    stuff = np.where(street.panoptic < 5000, street.panoptic, 4000)
    segments = tuple(s for s in street.segments if s.id < 5000)
    evaluator.update(stuff, street._replace(panoptic=stuff, segments=segments), stuff // 1000, {})
    monkeypatch.setattr(ablations, 'evaluate', lambda *_, quiet: evaluator.compute())
    for _ in range(2):  # and again, from what was kept
        found = ablations.bench_ablations([], VARIANT, FEW, (Drawn(), Drawn()), 1, tmp_path)
        found = json.loads(json.dumps(found))
        (row,) = found['arms'][ablations.BASE]
        assert row == {'pq': 100, 'pq_things': None, 'pq_stuff': 100, 'miou': 100}
        ablations.print_results(found)
        line = next(s for s in capsys.readouterr().out.splitlines() if ablations.BASE in s)
        assert [cell.strip() for cell in line.split('│')[2:-1]] == [
            '100.0',
            '',
            '–',
            '100.0',
            '100.0',
        ]


def test_the_report_names_the_device_that_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, 'device_name', lambda device: f'that of {device}')
    monkeypatch.setattr(ablations, '_trained', lambda *_: {})
    data = Drawn(), Drawn()
    found = ablations.bench_ablations([], VARIANT, FEW, data, 1, tmp_path, device='auto')
    assert found['device'] == 'that of auto'


def test_an_unknown_ablation_is_named_before_anything_is_trained(tmp_path):
    asked = CliRunner().invoke(app, ['bench', 'ablations', 'depth', '--out', str(tmp_path)])
    assert "No ablation 'depth'; there are: heatmap_loss, branches" in str(asked.exception)
    assert not list(tmp_path.iterdir())
