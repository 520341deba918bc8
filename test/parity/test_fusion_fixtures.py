"""The fusion answers the published code's inputs with the published code's outputs, pixel for
pixel.

The fixtures were made by running the published implementations (see the README of `data`).
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from pdl_ros.fusion import FusionSettings, PanopticResult, fuse
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import PANOPTIC_VOID
from pdl_ros.network.heads import HeadOutputs
from pdl_ros.network.layers import resize

from .published import DATA

CITYSCAPES = LabelSet.load('cityscapes')
REALISTIC = ('post_256x512_n20_s1_stuff_area128', 'post_512x1024_n40_s2_stuff_area512')


def heads_of(data: np.lib.npyio.NpzFile) -> HeadOutputs:
    logits = torch.from_numpy(data['sem_lr_int8']).float() / 8
    center, offset = (torch.from_numpy(data[key]).float() for key in ('center_lr', 'offset_lr'))
    return HeadOutputs(logits[None], center[None, None], offset[None], stride=4)


def assert_equals_detectron2(
    result: PanopticResult, data: np.lib.npyio.NpzFile, prefix: str = ''
) -> None:
    expected = torch.from_numpy(
        np.where(data[f'{prefix}d2_panoptic'] < 0, PANOPTIC_VOID, data[f'{prefix}d2_panoptic'])
    )
    assert torch.equal(result.panoptic, expected.int())


def assert_instances_equal(result: PanopticResult, data: np.lib.npyio.NpzFile) -> None:
    table = result.segments
    things = torch.nonzero(table.is_thing)[:, 0]
    order = things[table.id[things].argsort()]  # detectron2 lists instances by panoptic id
    assert table.class_id[order].tolist() == data['d2_ins_classes'].tolist()
    assert table.box[order].float().tolist() == data['d2_ins_boxes'].tolist()
    assert table.area[order].tolist() == data['d2_ins_areas'].tolist()
    np.testing.assert_allclose(table.score[order].numpy(), data['d2_ins_scores'], atol=1e-5)


@pytest.mark.parametrize('name', REALISTIC)
def test_street_heads_give_the_published_panoptic_map_and_instances(name: str) -> None:
    data = np.load(DATA / f'{name}.npz')
    meta = json.loads(str(data['meta']))
    settings = FusionSettings(stuff_area=meta['params']['stuff_area'], objectness='mask_centroid')
    result = fuse(heads_of(data), CITYSCAPES, settings, (meta['h'], meta['w']))
    assert torch.equal(result.semantic, torch.from_numpy(data['sem_argmax']))
    assert_equals_detectron2(result, data)
    assert_instances_equal(result, data)


def test_every_edge_case_gives_the_published_panoptic_map() -> None:
    data = np.load(DATA / 'post_edge_cases.npz')
    cases = json.loads(str(data['meta']))['cases']
    assert len(cases) >= 10
    for name, case in cases.items():
        params = case['params']
        inputs = case.get('inputs', name)  # some cases differ in their parameters only
        semantic = torch.from_numpy(data[f'{inputs}__sem']).long()
        logits = (
            torch.nn.functional.one_hot(semantic, CITYSCAPES.num_classes).permute(2, 0, 1).float()
        )
        heads = HeadOutputs(
            logits[None],
            torch.from_numpy(data[f'{inputs}__center'])[None],
            torch.from_numpy(data[f'{inputs}__offset'])[None],
            stride=1,
        )
        settings = FusionSettings(
            params['threshold'], params['nms_kernel'], params['top_k'], params['stuff_area']
        )
        result = fuse(heads, CITYSCAPES, settings, tuple(semantic.shape))
        try:
            assert_equals_detectron2(result, data, f'{name}__')
        except AssertionError as error:
            raise AssertionError(f'edge case {name}') from error


def test_detectron2s_unscaled_offsets_can_be_reproduced_for_comparison() -> None:
    data = np.load(DATA / 'post_resized_256x512_to_512x1024.npz')
    heads = heads_of(data)
    # detectron2 resizes twice: to the network input, then to the asked size.
    full = HeadOutputs(*(resize(h, (256, 512), False) for h in heads[:3]), stride=1)
    settings = FusionSettings(stuff_area=128, objectness='mask_centroid', rescale=False)
    result = fuse(full, CITYSCAPES, settings, (512, 1024))
    assert_equals_detectron2(result, data)
    assert_instances_equal(result, data)
