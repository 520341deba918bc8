"""Targets, losses and learning rates are the published code's, so published recipes train here as
they did there.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from pdl_ros.datasets import Segment
from pdl_ros.labels import LabelSet
from pdl_ros.network.heads import HeadOutputs
from pdl_ros.network.settings import DecoderSettings
from pdl_ros.training.losses import bootstrapped_cross_entropy, panoptic_loss
from pdl_ros.training.settings import LossSettings, OptimizerSettings, TargetSettings
from pdl_ros.training.targets import make_targets

from .published import DATA, relative_error


@pytest.mark.parametrize('name', ['targets_cityscapes', 'targets_coco'])
def test_a_labelled_image_gives_the_published_targets(name: str) -> None:
    data = np.load(DATA / f'{name}.npz')
    meta = json.loads(str(data['meta']))
    params = meta['params']
    segments = [
        Segment(s['id'], s['category_id'], bool(s['iscrowd'])) for s in meta['segments_info']
    ]
    settings = TargetSettings(
        params['sigma'], params['small_instance_area'], params['small_instance_weight']
    )
    targets = make_targets(data['pan'], segments, LabelSet.load('cityscapes'), settings)
    np.testing.assert_array_equal(targets.semantic, data['d2_sem_seg'])
    np.testing.assert_array_equal(targets.semantic_weight, data['d2_sem_seg_weights'])
    np.testing.assert_array_equal(targets.center_weight, data['d2_center_weights'])
    np.testing.assert_array_equal(targets.offset_weight, data['d2_offset_weights'])
    np.testing.assert_allclose(targets.center_heatmap[0], data['d2_center'], atol=1e-6)
    np.testing.assert_allclose(targets.offset, data['d2_offset'], atol=1e-4)


@pytest.fixture
def losses() -> tuple[HeadOutputs, dict[str, torch.Tensor], dict, dict]:
    """Predictions that want gradients, the targets, the published values and gradients."""
    data = np.load(DATA / 'losses.npz')
    semantic, center, offset = (
        torch.from_numpy(data[name]).requires_grad_() for name in ('pred', 'cpred', 'opred')
    )
    targets = {
        'semantic': data['label'],
        'semantic_weight': data['sem_w'],
        'center_heatmap': data['ctgt'],
        'center_weight': data['cw'][:, None],
        'offset': data['otgt'],
        'offset_weight': data['ow'][:, None],
    }
    return (
        HeadOutputs(semantic, center, offset, stride=4),
        {name: torch.from_numpy(value) for name, value in targets.items()},
        json.loads(str(data['meta']))['results'],
        {name: data[f'grad_{name}'] for name in ('sem', 'center', 'offset')},
    )


def test_the_losses_and_their_gradients_are_the_published_ones(losses) -> None:
    predictions, targets, published, gradients = losses
    # The published head counts offsets in its own pixels; ours hands on input pixels.
    heads = predictions._replace(offset=predictions.offset * 4)
    found = panoptic_loss(heads, targets, LossSettings(), DecoderSettings(align_corners=False))
    for name, key in (('semantic', 'sem_seg'), ('center', 'center'), ('offset', 'offset')):
        assert float(found[name].detach()) == pytest.approx(
            published[f'd2_head_loss_{key}'], rel=1e-5
        )
    torch.stack(list(found.values())).sum().backward()
    for leaf, gradient in zip(predictions[:3], gradients.values(), strict=True):
        assert leaf.grad is not None
        assert relative_error(leaf.grad, gradient) < 1e-4


@pytest.mark.parametrize('top', [1.0, 0.2, 0.15])
@pytest.mark.parametrize('weighted', [True, False])
def test_every_share_of_hardest_pixels_gives_the_published_cross_entropy(
    losses, top: float, weighted: bool
) -> None:
    heads, targets, published, _ = losses
    labels = targets['semantic'].long()
    logits = torch.nn.functional.interpolate(
        heads.semantic.detach(), labels.shape[-2:], mode='bilinear', align_corners=False
    )
    weights = targets['semantic_weight'] if weighted else torch.ones_like(labels)
    found = bootstrapped_cross_entropy(logits, labels, weights, top)
    expected = published[f'd2_deeplabce_top{top}_{"w" if weighted else "now"}']
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_an_image_of_nothing_but_void_or_stuff_has_no_loss_to_divide_by(losses) -> None:
    heads, targets, published, _ = losses
    targets['semantic'] = torch.full_like(targets['semantic'], 255)
    for name in ('center_weight', 'offset_weight'):
        targets[name] = torch.zeros_like(targets[name])
    with torch.no_grad():
        found = panoptic_loss(heads, targets, LossSettings(), DecoderSettings(align_corners=False))
    assert float(found['semantic']) == published['d2_deeplabce_all_ignored_top0.2']
    assert float(found['center']) == published['d2_head_loss_center_zero_w']
    assert float(found['offset']) == 0


def test_the_learning_rate_follows_the_published_schedule() -> None:
    schedule = json.loads((DATA / 'lr_schedule.json').read_text())
    solver = schedule['solver']
    optimizer = OptimizerSettings(
        lr=solver['BASE_LR'],
        warmup_steps=solver['WARMUP_ITERS'],
        warmup_factor=solver['WARMUP_FACTOR'],
        power=solver['POLY_LR_POWER'],
    )
    for step, rate in schedule['lr'].items():
        factor = optimizer.factor(int(step), solver['MAX_ITER'])
        assert factor * solver['BASE_LR'] == pytest.approx(rate, rel=1e-6)
