"""Mask AP by the rules of COCO, counted by pycocotools itself.

Its evaluator wants all images at once. Here it sees one at a time, and what it found is kept for
`accumulate`: a few numbers for each instance. For that its private `_gts`, `_dts` and `_paramsEval`
are set, as its own `evaluate` does; tried with pycocotools 2.0.7 to 2.0.11.
"""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pdl_ros.datasets.record import Sample
from pdl_ros.errors import require_package
from pdl_ros.evaluation.overlaps import Overlaps
from pdl_ros.imaging.masks import coco_masks

_KEPT = ('dtMatches', 'dtIgnore', 'dtScores', 'gtIgnore')
_FOUND_AT = {'ap50': 0.5, 'ap75': 0.75}
_AREAS = ('all', 'small', 'medium', 'large')
_AS_CROWD, _AS_INSTANCE = ({'iscrowd': flag, 'ignore': flag} for flag in (1, 0))

Judged = dict[int, list[dict[str, Any]]]
"""What pycocotools found in one image: by class, one record for each range of areas."""


class CocoScores(NamedTuple):
    """AP and AP50 of every class, (C,), NaN where nothing was labelled; means: `ap`, `ap50`,
    `ap75`, `ap_small`, `ap_medium`, `ap_large`.
    """

    ap: np.ndarray
    ap50: np.ndarray
    means: dict[str, float]


class CocoAP:
    """Collect instances image by image: their scores and matches; no image is kept."""

    def __init__(self, num_classes: int) -> None:
        require_package('pycocotools', 'evaluate')
        self._classes: list[list[list[dict[str, Any]]]] = [[] for _ in range(num_classes)]

    def add(self, image: Judged) -> None:
        """Add what `count_instances` gave for an image."""
        for class_id, records in image.items():
            self._classes[class_id].append(records)

    def merge(self, other: CocoAP) -> None:
        """Add all that another collected."""
        for own, others in zip(self._classes, other._classes, strict=True):
            own += others

    def compute(self) -> CocoScores:
        """Have pycocotools sort all instances by score, and average its precisions."""
        from pycocotools.cocoeval import COCOeval

        evaluator = COCOeval(iouType='segm')
        images = max(map(len, self._classes), default=0)
        evaluator.params.imgIds = list(range(images))  # as many as any class has
        evaluator.params.catIds = list(range(len(self._classes)))
        evaluator._paramsEval = evaluator.params
        evaluator.evalImgs = [
            found[image][area] if image < len(found) else None
            for found in self._classes
            for area in range(len(_AREAS))
            for image in range(images)
        ]
        with contextlib.redirect_stdout(io.StringIO()):  # it prints how long that took
            evaluator.accumulate()
        precision = evaluator.eval['precision'][..., -1]  # (T, R, C, A), with 100 instances kept
        thresholds = evaluator.params.iouThrs
        at = {name: precision[np.isclose(thresholds, t)] for name, t in _FOUND_AT.items()}
        means = {'ap': _mean(precision[..., 0])}
        means |= {name: _mean(values[..., 0]) for name, values in at.items()}
        means |= {f'ap_{a}': _mean(precision[..., i]) for i, a in enumerate(_AREAS) if i}
        classes = range(len(self._classes))
        ap, ap50 = (
            np.array([_mean(values[:, :, c, 0]) for c in classes])
            for values in (precision, at['ap50'])
        )
        return CocoScores(ap, ap50, means)


def count_instances(
    sample: Sample,
    prediction: np.ndarray,
    overlaps: Overlaps,
    scores: np.ndarray,
    thing_ids: tuple[int, ...],
    void_of: Callable[[Sample, int], np.ndarray] | None = None,
) -> Judged:
    """Have pycocotools match the instances of an image. prediction: (H, W), the map that `overlaps`
    was made of; scores: (P,), not read for stuff. void_of: returns the pixels of the sample, (H, W)
    bool, that are to be like a crowd of a class; None: there are none, as published.
    """
    from pycocotools.cocoeval import COCOeval

    truth, area = overlaps.truth_classes, overlaps.truth_areas
    rows = np.flatnonzero(np.isin(truth, thing_ids) & (area > 0))
    columns = np.flatnonzero(np.isin(overlaps.classes, thing_ids))
    size = sample.panoptic.shape
    labelled, predicted = defaultdict(list), defaultdict(list)
    masks = _masks(sample.panoptic, [overlaps.segments[row].id for row in rows])
    for row, counts in zip(rows, masks, strict=True):
        crowd = _AS_CROWD if overlaps.segments[row].is_crowd else _AS_INSTANCE
        labelled[0, int(truth[row])].append(_record(row, size, counts, area[row]) | crowd)
    area = overlaps.predicted_areas
    masks = _masks(prediction, overlaps.values[columns].tolist())
    for column, counts in zip(columns, masks, strict=True):
        predicted[0, int(overlaps.classes[column])].append(
            _record(column, size, counts, area[column]) | {'score': float(scores[column])}
        )
    if void_of is not None:
        for key in sorted(predicted):
            void = void_of(sample, key[1])
            if void.any():
                labelled[key].append(_crowd(len(overlaps.segments), void))
    evaluator = COCOeval(iouType='segm')
    evaluator._gts, evaluator._dts = labelled, predicted
    most, ranges = evaluator.params.maxDets[-1], evaluator.params.areaRng
    judged: Judged = {}
    for key in sorted({*labelled, *predicted}):
        evaluator.ious = {key: evaluator.computeIoU(*key)}
        records = [evaluator.evaluateImg(*key, between, most) for between in ranges]
        judged[key[1]] = [_kept(record) for record in records]
    return judged


def _masks(labels: np.ndarray, ids: list[int]) -> list[bytes]:
    """Return the run lengths of ids of a map, renumbered: COCO's reach 2**24."""
    if not ids:
        return []
    ascending = np.sort(ids)
    nearest = np.searchsorted(ascending, labels).clip(max=len(ids) - 1)
    numbers = np.where(ascending[nearest] == labels, nearest + 1, 0)
    return coco_masks(numbers, np.searchsorted(ascending, ids) + 1)


def _record(index: int, size: tuple[int, ...], counts: bytes, area: int) -> dict[str, Any]:
    # Ids count from 1: to pycocotools a partner with the id 0 is none.
    mask = {'size': list(size), 'counts': counts}
    return {'id': int(index) + 1, 'segmentation': mask, 'area': int(area)}


def _crowd(index: int, mask: np.ndarray) -> dict[str, Any]:
    (counts,) = coco_masks(mask.astype(np.int64), np.array([1]))
    return _record(index, mask.shape, counts, int(mask.sum())) | _AS_CROWD


def _kept(record: dict[str, Any]) -> dict[str, Any]:
    kept = {name: np.asarray(record[name]) for name in _KEPT}
    for name in ('dtMatches', 'dtIgnore', 'gtIgnore'):
        kept[name] = kept[name].astype(bool)
    return kept


def _mean(precision: np.ndarray) -> float:
    """Average what has a value; -1 stands for what has none."""
    values = precision[precision > -1]
    return float(values.mean()) if values.size else float('nan')
