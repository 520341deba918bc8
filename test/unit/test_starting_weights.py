"""A training starts from any checkpoint; what knows other classes is left out, by name."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch

from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelSet
from pdl_ros.network import checkpoints
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import get_variant
from pdl_ros.network.weight_files import find_weights
from pdl_ros.training.imagenet import imagenet_weights
from pdl_ros.training.start import begin, start_from

from ..parity.published import write_checkpoint

SCENE = get_variant('scene_tiny')
PREDICTOR = ['semantic_head.predictor.weight', 'semantic_head.predictor.bias']


def same(network: PanopticDeepLab, tensors: dict[str, torch.Tensor]) -> dict[str, bool]:
    return {
        key: torch.equal(value, tensors[key].float())
        for key, value in network.state_dict().items()
        if not key.endswith('num_batches_tracked') and key in tensors
    }


def test_shipped_weights_of_the_same_classes_are_taken_whole():
    network = PanopticDeepLab(SCENE)
    path = find_weights('scene_tiny')
    assert start_from(network, SCENE, path) == []
    assert all(same(network, checkpoints.read(path).tensors).values())
    assert network.training
    assert all(p.requires_grad and not p.is_meta for p in network.parameters())


@pytest.mark.parametrize('count', [3, 7], ids=['other number', 'same number'])
def test_the_layer_of_other_classes_is_left_out_and_said_so(count, caplog):
    classes = [replace(c, name=f'my {c.name}') for c in SCENE.label_set.classes][:count]
    assert len(classes) == count
    mine = replace(SCENE, label_set=LabelSet('mine', tuple(classes)))
    network = PanopticDeepLab(mine)
    fresh = {key: value.clone() for key, value in network.state_dict().items()}
    with caplog.at_level(logging.INFO, 'pdl_ros'):
        begin(network, mine, None, 'scene_tiny')
    assert all(key in caplog.messages[-1] for key in PREDICTOR)
    taken = same(network, checkpoints.read(find_weights('scene_tiny')).tensors)
    assert not taken.pop(PREDICTOR[0])
    taken.pop(PREDICTOR[1])
    assert all(taken.values())
    assert torch.equal(network.state_dict()[PREDICTOR[0]], fresh[PREDICTOR[0]])


def test_a_published_checkpoint_is_a_start_for_ones_own_classes(tmp_path):
    published = get_variant('cityscapes_mobilenet_v2_os32')
    file = write_checkpoint('bowenc_mbnv2_os32', tmp_path)
    network = PanopticDeepLab(published)
    assert start_from(network, published, file) == []
    mine = replace(published, label_set=SCENE.label_set)
    assert start_from(PanopticDeepLab(mine), mine, file) == PREDICTOR


def test_weights_of_another_network_or_of_an_encoder_are_refused_with_a_way_out():
    other = get_variant('camvid_efficientnet_lite0')
    network = PanopticDeepLab(SCENE)
    with pytest.raises(PdlError, match='does not fit this network'):
        start_from(network, SCENE, find_weights(other.name))
    with pytest.raises(PdlError, match='--backbone-weights instead of --start'):
        start_from(network, SCENE, imagenet_weights(SCENE.backbone))
