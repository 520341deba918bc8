"""Cityscapes' AP and iIoU are what its scripts count, by a slow and plain definition; decisions.md
tells how that was compared with the scripts themselves.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from pdl_ros.errors import PdlError
from pdl_ros.evaluation import PanopticEvaluator

from .labelled_scenes import DIVISOR, LABELS, THINGS, VOID, Scene, scenes


def score(images: list[Scene]):
    evaluator = PanopticEvaluator(LABELS, 'cityscapes')
    for image in images:
        evaluator.update(image.panoptic, image.sample, image.semantic, image.scores)
    return evaluator.compute()


def plain_ap(images: list[Scene], class_id: int, threshold: float) -> float:
    """Average precision at one threshold: pixel by pixel, prediction by prediction."""
    judged, labelled, predicted = [], 0, 0
    for sample, panoptic, _, scores in images:
        segments = [s for s in sample.segments if s.class_id == class_id]
        masks = {s.id: sample.panoptic == s.id for s in segments}
        void = ~np.isin(sample.panoptic, [s.id for s in sample.segments])
        counted = {s.id for s in segments if not s.is_crowd and masks[s.id].sum() >= 100}
        labelled += len(counted)
        for value in scores:
            if value // DIVISOR != class_id:
                continue
            predicted += 1
            mask = panoptic == value
            partner = [
                i for i, m in masks.items() if (mask & m).sum() / (mask | m).sum() > threshold
            ]
            ignored = (mask & void).sum()
            for s in segments:
                ignored += (mask & masks[s.id]).sum() * s.is_crowd
                ignored += (mask & masks[s.id]).sum() * (masks[s.id].sum() < 100)
            if set(partner) & counted:
                judged.append((scores[value], True))
            elif not partner and ignored / mask.sum() <= threshold:
                judged.append((scores[value], False))
    if not labelled:
        return math.nan
    if not predicted:
        return 0.0
    points = []
    for least in sorted({s for s, _ in judged}):
        kept = [right for s, right in judged if s >= least]
        points.append((sum(kept) / len(kept), sum(kept) / labelled))
    points.append((1.0, 0.0))
    recalls = [points[0][1], *(r for _, r in points), 0.0]
    return sum(p * (recalls[i] - recalls[i + 2]) / 2 for i, (p, _) in enumerate(points))


@pytest.mark.parametrize('seed', range(4))
def test_ap_is_that_of_the_plain_definition(seed):
    images, thresholds = scenes(seed), np.arange(0.5, 1.0, 0.05)
    scores = score(images)
    by_class = [[plain_ap(images, c, t) for t in thresholds] for c in THINGS]
    for class_id, expected in zip(THINGS, by_class, strict=True):
        found = scores.classes[class_id]
        assert found.ap == pytest.approx(np.mean(expected), abs=1e-9, nan_ok=True)
        assert found.ap50 == pytest.approx(expected[0], abs=1e-9, nan_ok=True)
    assert scores.ap == pytest.approx(np.nanmean(by_class), abs=1e-9)
    assert scores.ap50 == pytest.approx(np.nanmean(by_class, 0)[0], abs=1e-9)
    assert math.isnan(scores.classes[0].ap)


@pytest.mark.parametrize('seed', range(2))
def test_iiou_weighs_every_instance_the_same(seed):
    images = scenes(seed)
    scores = score(images)
    for class_id in THINGS:
        areas, right, wrong, false = [], [], [], 0
        for sample, _, semantic, _ in images:
            labels = np.full(semantic.shape, 255)
            for s in sample.segments:
                mask = sample.panoptic == s.id
                labels[mask] = s.class_id
                if s.class_id == class_id and not s.is_crowd:
                    areas.append(mask.sum())
                    right.append((semantic[mask] == class_id).mean())
                    wrong.append((semantic[mask] != class_id).mean())
            false += ((semantic == class_id) & (labels != class_id) & (labels != 255)).sum()
        if not areas:
            continue
        tp, fn = np.mean(areas) * sum(right), np.mean(areas) * sum(wrong)
        assert scores.classes[class_id].iiou == pytest.approx(tp / (tp + fn + false), abs=1e-9)
    assert math.isnan(scores.classes[0].iiou)


def test_a_perfect_prediction_has_an_ap_of_one_and_crowds_ask_for_nothing():
    images = []
    for image in scenes(0):
        scores = {s.id: 0.5 for s in image.sample.segments if s.class_id in THINGS}
        panoptic = image.sample.panoptic
        semantic = np.where(panoptic == VOID, 255, panoptic // DIVISOR)
        images.append(Scene(image.sample, panoptic, semantic, scores))
    scores = score(images)
    assert (scores.ap, scores.ap50, scores.iiou) == (1, 1, 1)


def test_things_without_a_score_are_refused_in_a_sentence():
    image = scenes(0)[0]
    evaluator = PanopticEvaluator(LABELS, 'cityscapes')
    with pytest.raises(PdlError, match=r'000000 holds the thing .* no score'):
        evaluator.update(image.panoptic, image.sample)
    with pytest.raises(PdlError, match='not a number'):
        evaluator.update(image.panoptic, image.sample, scores=dict.fromkeys(image.scores, math.nan))


def test_a_prediction_of_nothing_has_an_ap_of_zero():
    image = scenes(0)[0]
    empty = np.full(image.panoptic.shape, VOID)
    scores = score([image._replace(panoptic=empty, semantic=empty * 0 + 255, scores={})])
    assert scores.ap == 0
