"""The official tools give our scores on our files: panopticapi and cityscapesscripts.

Run by hand, as neither is among the packages of the tests (one is not on PyPI, the other wants
more than twenty others): with both on PYTHONPATH,
``make test ARGS=test/parity/official_tools.py``.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pdl_ros.datasets import Sample, Segment
from pdl_ros.datasets.record import segments_of
from pdl_ros.evaluation import PanopticEvaluator
from pdl_ros.evaluation.official_ids import class_ids
from pdl_ros.evaluation.submission import CityscapesWriter, id_colors
from pdl_ros.labels import LabelSet

from ..unit.labelled_scenes import VOID, Scene, scenes

CITYSCAPES = LabelSet.load('cityscapes')
IDS = class_ids(CITYSCAPES)
CLOSE = {'abs': 1e-9, 'nan_ok': True}


@pytest.fixture(params=range(4))
def drawn(request) -> list[Scene]:
    images = scenes(request.param, 8, things=(13, 11, 18), name='town_{0:06d}_000000')
    return [image._replace(sample=grouped(image.sample)) for image in images]


def grouped(sample: Sample) -> Sample:
    """Make the crowds of a class one segment, with the number 0, as Cityscapes has them."""
    panoptic = sample.panoptic.copy()
    for s in sample.segments:
        if s.is_crowd:
            panoptic[panoptic == s.id] = s.class_id * CITYSCAPES.label_divisor
    return sample._replace(panoptic=panoptic, segments=segments_of(panoptic, CITYSCAPES))


def ours(images: list[Scene]):
    evaluator = PanopticEvaluator(CITYSCAPES, 'cityscapes')
    for image in images:
        evaluator.update(image.panoptic, image.sample, image.semantic, image.scores)
    return evaluator.compute()


def write_results(images: list[Scene], folder: Path) -> None:
    writer = CityscapesWriter(folder, CITYSCAPES)
    for image in images:
        writer.keep(writer.write(image.sample, image.result()))
    writer.close()


def write_truth(images: list[Scene], folder: Path) -> None:
    """Write gtFine's PNGs and its panoptic JSON."""
    categories = [{'id': i, 'name': c.name, 'isthing': int(c.is_thing)}
                  for i, c in zip(IDS, CITYSCAPES.classes, strict=True)]  # fmt: skip
    annotations = []
    (folder / 'panoptic').mkdir(parents=True)
    for sample, *_ in images:
        instances = np.zeros(sample.panoptic.shape, np.uint16)
        labels, ids = instances.astype(np.uint8), instances.astype(np.int64)
        segments = []
        for s in sample.segments:
            mask, official = sample.panoptic == s.id, IDS[s.class_id]
            is_instance = CITYSCAPES.classes[s.class_id].is_thing and not s.is_crowd
            labels[mask], ids[mask] = official, s.id + 1
            instances[mask] = official * 1000 + s.id % 1000 if is_instance else official
            segments.append({'id': s.id + 1, 'category_id': official, 'iscrowd': int(s.is_crowd),
                             'area': int(mask.sum())})  # fmt: skip
        for end, image in (('instanceIds', instances), ('labelIds', labels)):
            cv2.imwrite(str(folder / f'{sample.name}_gtFine_{end}.png'), image)
        file = f'{sample.name}.png'
        cv2.imwrite(str(folder / 'panoptic' / file), id_colors(ids)[..., ::-1])
        annotations.append({'image_id': sample.name, 'file_name': file,
                            'segments_info': segments})  # fmt: skip
    names = [{'id': a['image_id'], 'file_name': a['file_name']} for a in annotations]
    content = {'categories': categories, 'images': names, 'annotations': annotations}
    (folder / 'panoptic.json').write_text(json.dumps(content))


@pytest.fixture
def files(drawn, tmp_path, monkeypatch) -> Path:
    write_results(drawn, tmp_path / 'found')
    write_truth(drawn, tmp_path / 'truth')
    monkeypatch.chdir(tmp_path)  # cityscapesscripts leave a file in the working directory
    return tmp_path


def cityscapesscripts(script: str) -> Any:
    return importlib.import_module(f'cityscapesscripts.evaluation.{script}')


@pytest.mark.parametrize('tool', ['panopticapi', 'cityscapesscripts'])
def test_panoptic_quality(drawn, files, tool):
    truth, found = (str(files / side / 'panoptic') for side in ('truth', 'found'))
    if tool == 'panopticapi':
        from panopticapi.evaluation import pq_compute

        result = pq_compute(f'{truth}.json', f'{found}.json', truth, found)
    else:
        panoptic = cityscapesscripts('evalPanopticSemanticLabeling')

        result = panoptic.evaluatePanoptic(
            f'{truth}.json', truth, f'{found}.json', found, str(files / 'pq.json')
        )
    scores = ours(drawn)
    assert result['All']['pq'] == pytest.approx(scores.pq, **CLOSE)
    assert result['All']['sq'] == pytest.approx(scores.sq, **CLOSE)
    assert result['All']['rq'] == pytest.approx(scores.rq, **CLOSE)
    assert result['Things']['pq'] == pytest.approx(scores.pq_things, **CLOSE)
    assert result['Stuff']['pq'] == pytest.approx(scores.pq_stuff, **CLOSE)
    for official, c in zip(IDS, scores.classes, strict=True):
        by_class = {str(k): v for k, v in result['per_class'].items()}
        assert by_class[str(official)]['pq'] == pytest.approx(np.nan_to_num(c.pq), **CLOSE)


def test_odd_labels_count_as_in_panopticapi(drawn, tmp_path):
    from panopticapi.evaluation import pq_compute

    first, second = drawn[0].sample, drawn[2].sample
    absent = Segment(999_999, 13), Segment(999_998, 13, True)
    twice = second.segments[0]._replace(class_id=11), second.segments[-1]._replace(is_crowd=True)
    drawn[0] = drawn[0]._replace(sample=first._replace(segments=(*first.segments, *absent)))
    drawn[2] = drawn[2]._replace(sample=second._replace(segments=(*second.segments, *twice)))
    write_results(drawn, tmp_path / 'found')
    write_truth(drawn, tmp_path / 'truth')
    truth, found = (str(tmp_path / side / 'panoptic') for side in ('truth', 'found'))
    result = pq_compute(f'{truth}.json', f'{found}.json', truth, found)
    for official, c in zip(IDS, ours(drawn).classes, strict=True):
        assert result['per_class'][official]['pq'] == pytest.approx(np.nan_to_num(c.pq), **CLOSE)
        assert result['per_class'][official]['rq'] == pytest.approx(np.nan_to_num(c.rq), **CLOSE)


def test_average_precision(drawn, files):
    instances = cityscapesscripts('evalInstanceLevelSemanticLabeling')

    names = [image.sample.name for image in drawn]
    args = instances.args
    args.predictionPath = str(files / 'found')
    args.gtInstancesFile = str(files / 'gtInstances.json')
    args.exportFile = str(files / 'ap.json')
    args.quiet = True
    result = instances.evaluateImgLists(
        [str(files / 'found' / 'instances' / f'{n}.txt') for n in names],
        [str(files / 'truth' / f'{n}_gtFine_instanceIds.png') for n in names],
        args,
    )['averages']
    scores = ours(drawn)
    assert result['allAp'] == pytest.approx(scores.ap, **CLOSE)
    assert result['allAp50%'] == pytest.approx(scores.ap50, **CLOSE)
    for c in scores.classes:
        if c.name in result['classes']:
            assert result['classes'][c.name]['ap'] == pytest.approx(c.ap, **CLOSE)
            assert result['classes'][c.name]['ap50%'] == pytest.approx(c.ap50, **CLOSE)


def test_mean_iou(drawn, files):
    pixels = cityscapesscripts('evalPixelLevelSemanticLabeling')

    names = [image.sample.name for image in drawn]
    args = pixels.args
    args.exportFile = str(files / 'iou.json')
    args.quiet = True
    result = pixels.evaluateImgLists(
        [str(files / 'found' / 'semantic' / f'{n}.png') for n in names],
        [str(files / 'truth' / f'{n}_gtFine_labelIds.png') for n in names],
        args,
    )
    scores = ours(drawn)
    assert result['averageScoreClasses'] == pytest.approx(scores.miou, **CLOSE)
    assert result['averageScoreInstClasses'] == pytest.approx(scores.iiou, **CLOSE)
    for c in scores.classes:
        assert result['classScores'][c.name] == pytest.approx(c.iou, **CLOSE)
        assert result['classInstScores'][c.name] == pytest.approx(c.iiou, **CLOSE)


def test_the_scenes_hold_what_is_hard(drawn):
    assert any(s.is_crowd for image in drawn for s in image.sample.segments)
    assert any(not image.sample.segments for image in drawn)
    assert any((image.sample.panoptic == VOID).any() for image in drawn)
