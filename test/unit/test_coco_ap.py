"""COCO's AP is that of pycocotools, which sees all images at once and reads them from a file."""

from __future__ import annotations

import json
import math
import pickle
import sys

import numpy as np
import pytest

from pdl_ros.errors import PdlError
from pdl_ros.evaluation import PanopticEvaluator

from .labelled_scenes import DIVISOR, LABELS, THINGS, Scene, scenes


def evaluator_of(images: list[Scene], rule: str = 'coco') -> PanopticEvaluator:
    evaluator = PanopticEvaluator(LABELS, rule)
    for image in images:
        evaluator.update(image.panoptic, image.sample, image.semantic, image.scores)
    return evaluator


def encoded(mask: np.ndarray) -> dict:
    from pycocotools import mask as masks

    code = masks.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {'size': code['size'], 'counts': code['counts'].decode()}


def pycocotools_on_files(images: list[Scene], folder):
    """Write both files, read them as anyone would, and return COCOeval after its three steps."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    labelled, predicted = [], []
    for number, (sample, panoptic, _, scores) in enumerate(images, start=1):
        for s in sample.segments:
            if s.class_id in THINGS:
                mask = sample.panoptic == s.id
                labelled.append({
                    'id': len(labelled) + 1, 'image_id': number, 'category_id': s.class_id,
                    'iscrowd': int(s.is_crowd), 'area': int(mask.sum()), 'bbox': [0, 0, 1, 1],
                    'segmentation': encoded(mask),
                })  # fmt: skip
        for value, score in scores.items():
            predicted.append({'image_id': number, 'category_id': value // DIVISOR, 'score': score,
                              'segmentation': encoded(panoptic == value)})  # fmt: skip
    numbers = range(1, len(images) + 1)
    content = {'images': [{'id': i, 'height': 40, 'width': 56} for i in numbers],
               'categories': [{'id': c, 'name': str(c)} for c in THINGS],
               'annotations': labelled}  # fmt: skip
    (folder / 'truth.json').write_text(json.dumps(content))
    (folder / 'found.json').write_text(json.dumps(predicted))
    truth = COCO(str(folder / 'truth.json'))
    evaluation = COCOeval(truth, truth.loadRes(str(folder / 'found.json')), 'segm')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


@pytest.mark.parametrize('seed', range(3))
def test_ap_is_that_of_pycocotools_on_the_same_files(seed, tmp_path):
    images = scenes(seed)
    expected, scores = pycocotools_on_files(images, tmp_path), evaluator_of(images).compute()
    found = [scores.ap, scores.ap50, *scores.ap_details.values()]
    assert [*scores.ap_details] == ['ap75', 'ap_small', 'ap_medium', 'ap_large']
    stats = [math.nan if s == -1 else s for s in expected.stats[:6]]
    assert found == pytest.approx(stats, abs=1e-12, nan_ok=True)
    assert 0.05 < scores.ap < 0.95
    for k, class_id in enumerate(THINGS):
        precision = expected.eval['precision'][:, :, k, 0, -1]
        value = precision.mean() if (precision > -1).any() else math.nan
        assert scores.classes[class_id].ap == pytest.approx(value, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize('rule', ['coco', 'cityscapes', 'none'])
def test_counts_of_several_processes_merge_to_the_same_scores(rule):
    images = scenes(3)
    whole = evaluator_of(images, rule).compute().to_dict()
    parts = [
        pickle.loads(pickle.dumps(evaluator_of(part, rule))) for part in (images[:2], images[2:])
    ]
    parts[0].merge(parts[1])
    merged = parts[0].compute().to_dict()
    assert merged.pop('ap_details') == pytest.approx(whole.pop('ap_details'), abs=1e-12)
    assert merged.pop('classes') == [pytest.approx(c, abs=1e-12) for c in whole.pop('classes')]
    assert merged == pytest.approx(whole, abs=1e-12)
    with pytest.raises(PdlError, match='cannot be merged'):
        parts[0].merge(PanopticEvaluator(LABELS, 'coco' if rule == 'none' else 'none'))


def test_labels_with_24_bit_ids_have_masks_of_few_bytes():
    image = scenes(0)[0]
    sample, large = image.sample, 16_000_000
    sample = sample._replace(
        panoptic=sample.panoptic + large,
        segments=tuple(s._replace(id=s.id + large) for s in sample.segments),
    )
    assert evaluator_of([image._replace(sample=sample)]).compute().ap == pytest.approx(
        evaluator_of([image]).compute().ap
    )


def test_without_pycocotools_a_sentence_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, 'pycocotools', None)
    with pytest.raises(PdlError, match=r"pip install 'pdl_ros\[evaluate\]'"):
        PanopticEvaluator(LABELS, 'coco')
