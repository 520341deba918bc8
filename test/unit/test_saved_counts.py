"""Scores of parts, kept as text and merged in any order, are those of all images at once."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from pdl_ros.errors import PdlError
from pdl_ros.evaluation.metrics import PanopticEvaluator
from pdl_ros.evaluation.saved_counts import load_counts, save_counts

from .labelled_scenes import LABELS, scenes


def evaluator(parts, rule: str) -> PanopticEvaluator:
    found = PanopticEvaluator(LABELS, rule)
    for scene in parts:
        found.update(scene.panoptic, scene.sample, scene.semantic, scene.scores)
    return found


def numbers(found: PanopticEvaluator) -> str:
    return json.dumps(found.compute().to_dict())  # every digit of every score


@pytest.mark.parametrize('rule', ['none', 'cityscapes', 'coco'])
def test_parts_saved_as_json_and_merged_have_the_scores_of_one_evaluation(rule):
    if rule == 'coco':
        pytest.importorskip('pycocotools')
    images = scenes(3, 24)
    whole = numbers(evaluator(images, rule))
    merged = PanopticEvaluator(LABELS, rule)
    for start, stop in ((0, 1), (1, 9), (9, 24)):
        text = json.dumps(save_counts(evaluator(images[start:stop], rule)))
        merged.merge(load_counts(json.loads(text), LABELS, rule, 'a.json'))
    assert numbers(merged) == whole


def test_no_digit_depends_on_the_order_in_which_parts_are_merged():
    images, rng = scenes(5, 30), np.random.default_rng(0)
    whole = numbers(evaluator(images, 'cityscapes'))
    for _ in range(4):
        order = rng.permutation(len(images))
        merged = PanopticEvaluator(LABELS, 'cityscapes')
        for part in np.array_split(order, 5):
            merged.merge(evaluator([images[i] for i in part], 'cityscapes'))
        assert numbers(merged) == whole


def _set(data, *path_and_value) -> None:
    *path, last, value = path_and_value
    for key in path:
        data = data[key]
    data[last] = value


INSTANCE = {'labelled': 1, 'scores': [0.5], 'outcomes': 'f' * 10}
DAMAGES = {
    'a number is missing': ('segments', 'tp', '1 2 3'),
    'a number is negative': ('segments', 'tp', '1 2 3 4 -5'),
    'a number is a word': ('segments', 'tp', '1 2 3 4 five'),
    'a fraction has no end': ('segments', 'iou_sum', '1e999999999 0 0 0 0'),
    'a fraction is none': ('segments', 'iou_sum', '1/0 0 0 0 0'),
    'a number is too large': ('segments', 'fn', f'1 2 3 4 {10**30}'),
    'images are no number': ('images', 'many'),
    'a part is missing': ('pixels', {}),
    'a class is missing': ('cityscapes', []),
    'a score is none': ('cityscapes', 2, {**INSTANCE, 'scores': [None]}),
    'an outcome is unknown': ('cityscapes', 2, {**INSTANCE, 'outcomes': '?' * 10}),
    'outcomes are missing': ('cityscapes', 2, {**INSTANCE, 'outcomes': ''}),
}


@pytest.mark.parametrize('damage', DAMAGES)
def test_counts_that_were_changed_are_refused_in_a_sentence(damage):
    data = copy.deepcopy(save_counts(evaluator(scenes(1), 'cityscapes')))
    _set(data, *DAMAGES[damage])
    with pytest.raises(PdlError, match=r"^a\.json holds no counts of label set 'scenes'"):
        load_counts(data, LABELS, 'cityscapes', 'a.json')
