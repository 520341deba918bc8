"""Panoptic quality and mean IoU, exactly as the published evaluations count them.

PQ: Kirillov et al., "Panoptic Segmentation" (CVPR 2019), section 4, with the void and crowd rules
of panopticapi. Mean IoU: as in cityscapesScripts. Areas are whole pixels, so that no threshold
depends on rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from pdl_ros.datasets.record import Sample, Segment
from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import PANOPTIC_VOID, SEMANTIC_VOID


class ClassScores(NamedTuple):
    """Scores of one class: in 0..1, NaN where the class never occurred; tp, fp, fn in segments."""

    name: str
    pq: float
    sq: float
    rq: float
    iou: float
    tp: int
    fp: int
    fn: int


@dataclass(frozen=True)
class Scores:
    """Scores of a set of images, in 0..1; NaN where no class that counts occurred.

    pq, sq, rq: panoptic, segmentation and recognition quality, each the mean over the classes that
    occurred. pq_things, pq_stuff: the mean over the countable classes and over the others. miou:
    mean intersection over union of the semantic map. classes: in train-id order.
    """

    pq: float
    sq: float
    rq: float
    pq_things: float
    pq_stuff: float
    miou: float
    classes: tuple[ClassScores, ...]
    images: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, which has no NaN: a score without a value is None."""
        data = {**vars(self), 'classes': [_none_for_nan(c._asdict()) for c in self.classes]}
        return _none_for_nan(data)


class PanopticEvaluator:
    """Count image by image, then compute the scores of all of them.

    A segment is one value of a panoptic map; it is found (TP) when it overlaps a labelled segment
    of its class with an IoU above 0.5. The state is a few numbers a class: no image is kept.
    """

    def __init__(self, label_set: LabelSet) -> None:
        self.label_set = label_set
        classes = label_set.num_classes
        self._counts = _Counts(*(np.zeros(classes, dtype) for dtype in (float, int, int, int)))
        # Labelled class x predicted class; the last column is predicted void. In pixels.
        self._confusion = np.zeros((classes, classes + 1), np.int64)
        self._images = 0

    def update(
        self,
        prediction: np.ndarray | torch.Tensor,
        sample: Sample,
        semantic: np.ndarray | torch.Tensor | None = None,
    ) -> None:
        """Add one image.

        prediction: (H, W) integers, ``class_id * label_divisor + instance_id``, 65535 = void.
        semantic: (H, W) train ids, 255 = void: the network's own semantic map. Mean IoU is taken
        from it, as published results do; without it, from the classes of `prediction`. Either way
        predicted void counts as a wrong class: only pixels without a label are ignored.
        """
        panoptic = _overlaps(sample, prediction, PANOPTIC_VOID)
        classes = self._known(panoptic.values // self.label_set.label_divisor, sample.name)
        if semantic is None:
            confusion = self._confuse(panoptic, classes)
        else:
            pixels = _overlaps(sample, semantic, SEMANTIC_VOID)
            confusion = self._confuse(pixels, self._known(pixels.values, sample.name))
        # Added at the end, so that an image which raised an error has added nothing.
        counts = _count_segments(panoptic, classes, self.label_set.num_classes)
        for total, count in zip(self._counts, counts, strict=True):
            total += count
        self._confusion += confusion
        self._images += 1

    def compute(self) -> Scores:
        """Return the scores of the images added so far."""
        if not self._images:
            raise PdlError('No image was scored; give at least one labelled image.')
        iou_sum, tp, fp, fn = self._counts
        occurrences = tp + (fp + fn) / 2
        pq, rq = _divide(iou_sum, occurrences), _divide(tp, occurrences)
        iou = _class_iou(self._confusion)
        # A class that occurred but was never found has no pair to average over: published as 0.
        sq = np.where((tp == 0) & (occurrences > 0), 0.0, _divide(iou_sum, tp))
        is_thing = np.array([c.is_thing for c in self.label_set.classes])
        rows = zip(pq, sq, rq, iou, tp, fp, fn, strict=True)
        table = tuple(
            ClassScores(c.name, *(value.item() for value in row))
            for c, row in zip(self.label_set.classes, rows, strict=True)
        )
        return Scores(
            _mean(pq),
            _mean(sq),
            _mean(rq),
            _mean(pq[is_thing]),
            _mean(pq[~is_thing]),
            _mean(iou),
            table,
            self._images,
        )

    def _known(self, classes: np.ndarray, name: str) -> np.ndarray:
        if classes.size and classes.max() >= self.label_set.num_classes:
            raise PdlError(
                f'The prediction of {name} holds class {classes.max()}, but label set '
                f'{self.label_set.name!r} ends at {self.label_set.num_classes - 1}.'
            )
        return classes

    def _confuse(self, overlaps: _Overlaps, classes: np.ndarray) -> np.ndarray:
        """Sum pixels by (labelled class, predicted class), crowds too; void labels are left out."""
        confusion = np.zeros_like(self._confusion)
        rows = np.array([s.class_id for s in overlaps.segments], int)
        columns = np.append(classes, self.label_set.num_classes)
        np.add.at(confusion, (rows[:, None], columns), overlaps.areas[1:])
        return confusion


class _Counts(NamedTuple):
    """Per class: the summed IoU of the matched pairs; segments found, made up and missed."""

    iou_sum: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray


class _Overlaps(NamedTuple):
    """How labels and prediction of one image overlap.

    segments: the T labelled segments. values: (P,) predicted values without void, ascending. areas:
    (1 + T, P + 1) int64 pixels that a labelled and a predicted segment share; the first row is void
    labels, the last column predicted void.
    """

    segments: list[Segment]
    values: np.ndarray
    areas: np.ndarray


def _overlaps(sample: Sample, prediction: np.ndarray | torch.Tensor, void: int) -> _Overlaps:
    predicted = _checked(sample, prediction)
    # One sort of both maps, joined to one number, finds all pairs and their areas.
    joint = sample.panoptic.astype(np.int64) << 32 | predicted
    pairs, areas = np.unique(joint, return_counts=True)
    truth_ids, predicted_ids = pairs >> 32, pairs & 0xFFFFFFFF

    # A segment of which nothing is left (cropped or scaled away) cannot be missed.
    present = set(truth_ids.tolist())
    segments = [s for s in sample.segments if s.id in present]
    row_of = {s.id: row for row, s in enumerate(segments, start=1)}
    rows = np.array([row_of.get(i, 0) for i in truth_ids.tolist()], int)
    values = np.setdiff1d(predicted_ids, [void])
    columns = np.where(predicted_ids == void, len(values), np.searchsorted(values, predicted_ids))
    table = np.zeros((1 + len(segments), len(values) + 1), np.int64)
    np.add.at(table, (rows, columns), areas)
    return _Overlaps(segments, values, table)


def _checked(sample: Sample, prediction: np.ndarray | torch.Tensor) -> np.ndarray:
    """Return a predicted map as (H, W) int64 of the size of the sample, without negative ids."""
    if isinstance(prediction, torch.Tensor):
        prediction = prediction.numpy(force=True)
    if prediction.shape != sample.panoptic.shape:
        raise PdlError(
            f'The prediction of {sample.name} has the shape {prediction.shape}, but its '
            f'labels have {sample.panoptic.shape}; predict at the size of the image.'
        )
    if prediction.size and prediction.min() < 0:
        raise PdlError(
            f'The prediction of {sample.name} holds the negative id {prediction.min()}; '
            f'void is {PANOPTIC_VOID} in panoptic and {SEMANTIC_VOID} in semantic maps.'
        )
    return prediction.astype(np.int64, casting='same_kind')


def _count_segments(overlaps: _Overlaps, classes: np.ndarray, num_classes: int) -> _Counts:
    """Match segments and count them by class; `classes` are those of the P predicted values."""
    truth_class = np.array([s.class_id for s in overlaps.segments], int)
    is_crowd = np.array([s.is_crowd for s in overlaps.segments], bool)
    truth_area, area = overlaps.areas[1:].sum(1), overlaps.areas[:, :-1].sum(0)
    shared, on_void = overlaps.areas[1:, :-1], overlaps.areas[0, :-1]

    # Predicting on unlabelled pixels is no fault; predicting void on labelled ones is.
    union = truth_area[:, None] + area - shared - on_void
    comparable = (truth_class[:, None] == classes) & ~is_crowd[:, None]
    matched = comparable & (2 * shared > union)  # IoU > 0.5: at most one partner for each segment
    rows, columns = np.nonzero(matched)

    # Where a class has several crowd regions the last one hides the others, as in panopticapi.
    crowd_row = {s.class_id: row for row, s in enumerate(overlaps.segments) if s.is_crowd}
    excused = on_void.copy()
    for class_id, row in crowd_row.items():
        excused += np.where(classes == class_id, shared[row], 0)
    false = ~matched.any(0) & ~(2 * excused > area)
    missed = ~matched.any(1) & ~is_crowd

    def by_class(ids: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(ids, weights, minlength=num_classes)

    found, iou = truth_class[rows], shared[rows, columns] / union[rows, columns]
    return _Counts(
        by_class(found, iou),
        by_class(found),
        by_class(classes[false]),
        by_class(truth_class[missed]),
    )


def _class_iou(confusion: np.ndarray) -> np.ndarray:
    """Return the (C,) IoU of each class of a (C, C + 1) confusion table; NaN without a pixel."""
    correct = np.diagonal(confusion)
    return _divide(correct, confusion.sum(1) + confusion[:, :-1].sum(0) - correct)


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide, with NaN instead of a warning where the denominator is 0."""
    return numerator / np.where(denominator == 0, np.nan, denominator)


def _mean(values: np.ndarray) -> float:
    """Average what has a value; NaN when nothing has."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else math.nan


def _none_for_nan(data: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in data.items()}
