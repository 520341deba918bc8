"""What an evaluator has counted as text, so that scores of several machines can be merged later.

Counts are kept, not averages. Every array is one string of numbers with spaces between them: a file
of them stays readable and small. Sums of IoUs are fractions, and so exact.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from pdl_ros.errors import PdlError
from pdl_ros.evaluation.arithmetic import LARGEST_COUNT, checked_count
from pdl_ros.evaluation.cityscapes_ap import THRESHOLDS, CityscapesAP, Instances, join
from pdl_ros.evaluation.coco_ap import CocoAP
from pdl_ros.evaluation.metrics import PanopticEvaluator
from pdl_ros.labels import LabelSet

_OUTCOMES = {-1: 'i', 0: 'x', 1: 'f'}  # ignored, false, found: one letter a threshold
_LETTERS = {letter: value for value, letter in _OUTCOMES.items()}
_FLAGS = ('dtMatches', 'dtIgnore', 'gtIgnore')
_NUMBER = re.compile(r'\d{1,99}(/\d{1,99})?', re.ASCII)  # a Fraction reads 1e999999999, too


def save_counts(evaluator: PanopticEvaluator) -> dict[str, Any]:
    """Return plain data for JSON, which `load_counts` reads."""
    data = {
        'images': evaluator._images,
        'segments': {n: _text(a) for n, a in evaluator._segments._asdict().items()},
        'pixels': {n: _text(a) for n, a in evaluator._pixels._asdict().items()},
    }
    kept = evaluator._instances
    if isinstance(kept, CityscapesAP):
        data['cityscapes'] = [_save_instances(images) for images in kept._classes]
    elif isinstance(kept, CocoAP):
        data['coco'] = [[[_save_record(r) for r in ranges] for ranges in c] for c in kept._classes]
    return data


def load_counts(data: Any, label_set: LabelSet, ap_rule: str, where: str) -> PanopticEvaluator:
    """Return the evaluator that had counted this.

    Raises PdlError, which names the file `where`, for anything that `save_counts` does not write.
    """
    evaluator = PanopticEvaluator(label_set, ap_rule)
    try:
        evaluator._images = checked_count(data['images'])
        for name in ('segments', 'pixels'):
            for field, total in getattr(evaluator, f'_{name}')._asdict().items():
                total[:] = _array(data[name][field], total)
        kept = evaluator._instances
        if isinstance(kept, CityscapesAP):
            classes = _classes(data['cityscapes'], label_set)
            kept._classes = [[_load_instances(c)] for c in classes]
        elif isinstance(kept, CocoAP):
            kept._classes = [
                [[_load_record(r) for r in _four(ranges)] for ranges in c]
                for c in _classes(data['coco'], label_set)
            ]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, ZeroDivisionError):
        raise PdlError(
            f'{where} holds no counts of label set {label_set.name!r} that can be merged; was it '
            'written by `pdl_ros bag score --json`, and not changed?'
        ) from None
    return evaluator


def _text(values: np.ndarray) -> str:
    return ' '.join(map(str, values.ravel().tolist()))


def _array(text: str, like: np.ndarray) -> np.ndarray:
    """Return numbers, none of them negative, in the shape and the type of an array."""
    read = Fraction if like.dtype == object else int
    words = text.split(' ')
    if not all(_NUMBER.fullmatch(word) for word in words):
        raise ValueError
    numbers = [read(word) for word in words]
    if len(numbers) != like.size or not all(0 <= number < LARGEST_COUNT for number in numbers):
        raise ValueError
    return np.array(numbers, like.dtype).reshape(like.shape)


def _classes(data: Any, label_set: LabelSet) -> Sequence[Any]:
    if not isinstance(data, list) or len(data) != label_set.num_classes:
        raise ValueError
    return data


def _save_instances(images: list[Instances]) -> dict[str, Any]:
    """Return the instances of a class: AP sorts them all, so which image each was in is nothing."""
    if not images:
        return {'labelled': 0, 'scores': [], 'outcomes': ''}
    together = join(images)
    return {
        'labelled': together.labelled,
        'scores': together.scores.tolist(),
        'outcomes': ' '.join(
            ''.join(_OUTCOMES[o] for o in row) for row in together.outcomes.tolist()
        ),
    }


def _load_instances(data: Mapping[str, Any]) -> Instances:
    scores = np.array(data['scores'], float)
    rows = [[_LETTERS[letter] for letter in word] for word in data['outcomes'].split()]
    outcomes = np.array(rows, np.int8).reshape(-1, len(THRESHOLDS))
    if scores.shape != (len(outcomes),) or not np.isfinite(scores).all():
        raise ValueError
    return Instances(scores, outcomes, checked_count(data['labelled']))


def _save_record(record: Mapping[str, np.ndarray]) -> dict[str, Any]:
    flags = {n: ''.join('01'[int(f)] for f in record[n].ravel()) for n in _FLAGS}
    return {'scores': record['dtScores'].tolist(), **flags}


def _load_record(data: Mapping[str, Any]) -> dict[str, np.ndarray]:
    scores = np.array(data['scores'], float)
    flags = {n: np.array([('0', '1').index(f) for f in data[n]], bool) for n in _FLAGS}
    if scores.ndim != 1 or not np.isfinite(scores).all():
        raise ValueError
    for name in ('dtMatches', 'dtIgnore'):
        flags[name] = flags[name].reshape(len(THRESHOLDS), len(scores))
    return {'dtScores': scores, **flags}


def _four(ranges: Any) -> Any:
    if len(ranges) != 4:
        raise ValueError
    return ranges
