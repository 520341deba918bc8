"""Parameter files and thresholds mean what they say; test_docs.py has the documentation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pycocotools import mask as coco_mask

from pdl_ros.fusion import FusionSettings
from pdl_ros.fusion.smoothing import Smoother
from pdl_ros.msg import PanopticInstance
from pdl_ros.node.parameters import TABLE, NodeSettings
from pdl_ros.pipeline import Segmenter

from .harness import running
from .test_topics import message_of, pixels_of

ROOT = Path(__file__).resolve().parents[2]
DEFAULTS = NodeSettings(**{row.name: row.default for row in TABLE})


@pytest.mark.parametrize('path', sorted(ROOT.glob('config/*.yaml')), ids=lambda p: p.name)
def test_shipped_parameter_files_name_only_parameters_that_exist(path: Path) -> None:
    parameters = yaml.safe_load(path.read_text())['/**']['ros__parameters']
    assert set(parameters) <= {row.name for row in TABLE}
    assert parameters['variant'] == path.stem


def test_negative_thresholds_leave_the_variants_own_in_force() -> None:
    own = FusionSettings(center_threshold=0.3, nms_kernel=9, top_k=50, stuff_area=77)
    assert DEFAULTS.fusion(own) == own
    changed = NodeSettings(**{**vars(DEFAULTS), 'top_k': 7, 'center_threshold': 0.0})
    assert changed.fusion(own) == FusionSettings(0.0, 9, 7, 77)


def test_a_street_s_things_are_as_void_as_its_variant_or_its_user_says() -> None:
    for own in (FusionSettings(without_center='components'), FusionSettings()):
        assert DEFAULTS.fusion(own) == own
        for choice in ('void', 'components'):
            changed = NodeSettings(**{**vars(DEFAULTS), 'without_center': choice})
            assert changed.fusion(own) == replace(own, without_center=choice)
        for area in (0, 300):
            changed = NodeSettings(**{**vars(DEFAULTS), 'outvoted_area': area})
            assert changed.fusion(own) == replace(own, outvoted_area=area)
        for score in (0.0, 0.3):
            changed = NodeSettings(**{**vars(DEFAULTS), 'score_threshold': score})
            assert changed.fusion(own) == replace(own, score_threshold=score)
        changed = NodeSettings(**{**vars(DEFAULTS), 'doubtful_area': 7})
        assert changed.fusion(own) == replace(own, doubtful_area=7)


def test_thresholds_and_the_form_of_masks_are_those_of_the_parameters_at_any_time(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray
) -> None:
    # Published rule: with as many peaks as top_k, the last one is dropped, so 1 keeps none.
    blind = {**parameters, 'top_k': 1, 'stuff_area': 10_000_000, 'mask_encoding': 'bitmap'}
    blind['without_center'] = 'void'
    with running(blind, tmp_path / 'log.txt', domain) as node:
        node.listen('instances', 'instance/image', 'panoptic/image')
        outputs = node.send(message_of(rgb, 'rgb8', node.header()))
        assert not outputs['instances'].instances
        assert (pixels_of(outputs['panoptic/image']) == 65535).all()

        changes = {'stuff_area': -1, 'without_center': 'variant'}
        assert node.set_parameters(**changes) == ['', '']
        outputs = node.send(message_of(rgb, 'rgb8', node.header()))
        assert {i.objectness for i in outputs['instances'].instances} == {0.0}, 'top_k is still 1'

        assert node.set_parameters(top_k=-1) == ['']
        outputs = node.send(message_of(rgb, 'rgb8', node.header()))
        assert outputs['instances'].instances
        for instance in outputs['instances'].instances:
            assert_is_the_bitmap(instance, pixels_of(outputs['instance/image']))

        scores = sorted(instance.score for instance in outputs['instances'].instances)
        assert scores[0] < scores[-1]
        assert node.set_parameters(score_threshold=scores[-1] - 1e-4) == ['']
        outputs = node.send(message_of(rgb, 'rgb8', node.header()))
        (best,) = {instance.score for instance in outputs['instances'].instances}
        assert best == scores[-1]
        shown = {instance.panoptic_id for instance in outputs['instances'].instances}
        assert set(np.unique(pixels_of(outputs['panoptic/image']))) >= {*shown, 65535}
        assert pixels_of(outputs['instance/image']).max() == len(shown)

        assert node.set_parameters(score_threshold=-1.0, mask_encoding='none') == ['', '']
        outputs = node.send(message_of(rgb, 'rgb8', node.header()))
        assert outputs['instances'].instances
        for instance in outputs['instances'].instances:
            assert (instance.mask_encoding, len(instance.mask_data)) == ('', 0)


def test_smoothing_remembers_a_camera_s_frames_while_it_is_switched_on_and_forgets_them(
    parameters: dict[str, Any],
    tmp_path: Path,
    domain: int,
    rgb: np.ndarray,
    segmenter: Segmenter,
) -> None:
    noise = np.random.default_rng(0).integers(-9, 10, rgb.shape)
    noisy = np.clip(rgb.astype(int) + noise, 0, 255).astype(np.uint8)
    smoother = Smoother()
    smoothed = [segmenter.timed(f, smoother=smoother)[0].semantic.numpy() for f in (rgb, noisy)]
    plain = segmenter(noisy).semantic.numpy()
    assert (smoothed[1] != plain).any(), 'noise that changes nothing would show nothing'
    with running({**parameters, 'smoothing': True}, tmp_path / 'log.txt', domain) as node:
        node.listen('semantic/image')

        def send(frame: np.ndarray) -> np.ndarray:
            outputs = node.send(message_of(frame, 'rgb8', node.header()))
            return pixels_of(outputs['semantic/image'])

        for frame, expected in zip((rgb, noisy), smoothed, strict=True):
            np.testing.assert_array_equal(send(frame), expected)
        assert node.set_parameters(smoothing=False) == ['']
        np.testing.assert_array_equal(send(noisy), plain)
        assert node.set_parameters(smoothing=True) == ['']
        np.testing.assert_array_equal(send(rgb), smoothed[0])


def assert_is_the_bitmap(instance: PanopticInstance, instance_map: np.ndarray) -> None:
    box = instance.box
    ys = slice(box.y_offset, box.y_offset + box.height)
    xs = slice(box.x_offset, box.x_offset + box.width)
    bitmap = np.frombuffer(instance.mask_data, np.uint8).reshape(box.height, box.width)
    np.testing.assert_array_equal(bitmap, instance_map[ys, xs] == instance.id)
    rle = coco_mask.encode(np.asfortranarray(bitmap))
    assert coco_mask.area(rle) == instance.area
