"""The evaluator: panoptic quality, mean IoU and mask AP of a set of images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from pdl_ros.datasets.groups import Groups
from pdl_ros.datasets.record import Sample
from pdl_ros.errors import PdlError, require
from pdl_ros.evaluation import cityscapes_ap, coco_ap
from pdl_ros.evaluation.arithmetic import exact, mean, none_for_nan, rounded
from pdl_ros.evaluation.overlaps import Overlaps, as_map, overlaps
from pdl_ros.evaluation.panoptic_quality import SegmentCounts, count_segments
from pdl_ros.evaluation.semantic_iou import PixelCounts, count_pixels
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import PANOPTIC_VOID, SEMANTIC_VOID

AP_RULES = ('cityscapes', 'coco', 'none')


class ClassScores(NamedTuple):
    """Scores of one class: in 0..1, NaN where the class never occurred; tp, fp, fn in segments.

    iiou, ap, ap50: of things; NaN for stuff.
    """

    name: str
    pq: float
    sq: float
    rq: float
    iou: float
    tp: int
    fp: int
    fn: int
    iiou: float = math.nan
    ap: float = math.nan
    ap50: float = math.nan


@dataclass(frozen=True)
class Scores:
    """Scores of a set of images, in 0..1; NaN where no class that counts occurred.

    pq, sq, rq: panoptic, segmentation and recognition quality, each the mean over the classes that
    occurred. pq_things, pq_stuff: the mean over the countable classes and over the others. miou,
    iiou: mean intersection over union of the semantic map, and with every instance weighing the
    same. ap, ap50: mean average precision of masks by `ap_rule`; ap_details: what else that rule
    reports. classes: in train-id order. confusion: pixels of the semantic map by labelled class,
    and in each row by predicted class, void last; of labels with groups the last row is what was
    predicted on a group that has not this class.
    """

    pq: float
    sq: float
    rq: float
    pq_things: float
    pq_stuff: float
    miou: float
    classes: tuple[ClassScores, ...]
    images: int
    iiou: float = math.nan
    ap_rule: str = 'none'
    ap: float = math.nan
    ap50: float = math.nan
    ap_details: dict[str, float] = field(default_factory=dict)
    confusion: tuple[tuple[int, ...], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, which has no NaN: a score without a value is None."""
        classes = [none_for_nan(c._asdict()) for c in self.classes]
        plain = {
            'classes': classes,
            'ap_details': none_for_nan(self.ap_details),
            'confusion': [list(row) for row in self.confusion],
        }
        return none_for_nan({**vars(self), **plain})


class ImageCounts(NamedTuple):
    """What one image adds to the scores, and the overlaps of its panoptic maps that it was counted
    from.
    """

    segments: SegmentCounts
    pixels: PixelCounts
    instances: Any
    panoptic: Overlaps


class PanopticEvaluator:
    """Count image by image, then compute the scores of all of them.

    A segment is one value of a panoptic map; it is found (TP) when it overlaps a labelled segment
    of its class with an IoU above 0.5. The state is a few numbers a class, and with `ap_rule`
    `cityscapes` or `coco` a few for each instance (AP sorts all by their scores): no image is kept.
    Evaluators of several processes can be pickled and merged; in whatever order, the scores are the
    same to the last digit.

    groups: as `groups_of` returns them. A pixel of a group is void for the classes in it, and wrong
    for any other. spares_void: also AP by COCO's rules, which know no void, spares what is
    predicted there, as if it were a crowd.
    """

    def __init__(
        self,
        label_set: LabelSet,
        ap_rule: str = 'none',
        groups: Groups = (),
        spares_void: bool = False,
    ) -> None:
        require(ap_rule in AP_RULES, f'The rule for AP is {ap_rule!r}; give one of {AP_RULES}.')
        self.label_set, self.ap_rule = label_set, ap_rule
        self.groups, self.spares_void = groups, spares_void
        classes = label_set.num_classes
        self._segments = SegmentCounts(*map(_empty, SegmentCounts.none(classes)))
        self._pixels = PixelCounts(*map(_empty, PixelCounts.none(classes, groups)))
        self._instances: cityscapes_ap.CityscapesAP | coco_ap.CocoAP | None = None
        if ap_rule != 'none':
            rule = cityscapes_ap.CityscapesAP if ap_rule == 'cityscapes' else coco_ap.CocoAP
            self._instances = rule(classes)
        self._images = 0

    @property
    def images(self) -> int:
        """Images added so far."""
        return self._images

    def update(
        self,
        prediction: np.ndarray | torch.Tensor,
        sample: Sample,
        semantic: np.ndarray | torch.Tensor | None = None,
        scores: Mapping[int, float] | None = None,
    ) -> None:
        """Add one image.

        prediction: (H, W) integers, ``class_id * label_divisor + instance_id``, 65535 = void.
        semantic: (H, W) train ids, 255 = void: the network's own semantic map. Mean IoU is taken
        from it, as published results do; without it, from the classes of `prediction`. Either way
        predicted void counts as a wrong class: only pixels without a label are ignored. scores: how
        sure the prediction is of each thing, by its value in `prediction`; for AP. An image that
        raises an error has added nothing.
        """
        self.add(self.count(prediction, sample, semantic, scores))

    def count(
        self,
        prediction: np.ndarray | torch.Tensor,
        sample: Sample,
        semantic: np.ndarray | torch.Tensor | None = None,
        scores: Mapping[int, float] | None = None,
    ) -> ImageCounts:
        """Return what `update` adds, and add nothing: many threads may count beside each other."""
        labels, groups = self.label_set, self.groups
        divisor = labels.label_divisor
        panoptic = overlaps(sample, prediction, labels, PANOPTIC_VOID, divisor, groups)
        pixels = panoptic
        if semantic is not None:
            pixels = overlaps(sample, semantic, labels, SEMANTIC_VOID, 1, groups)
        return ImageCounts(
            count_segments(panoptic, labels.num_classes),
            count_pixels(pixels, labels, groups),
            self._count_instances(prediction, sample, panoptic, scores),
            panoptic,
        )

    def add(self, image: ImageCounts) -> None:
        """Add what `count` returned for an image."""
        self._add(image.segments, image.pixels)
        if self._instances is not None:
            self._instances.add(image.instances)
        self._images += 1

    def merge(self, other: PanopticEvaluator) -> None:
        """Add all images of another evaluator, which are not among its own."""
        if self._rules() != other._rules():
            raise PdlError('Evaluators of different label sets or AP rules cannot be merged.')
        self._add(other._segments, other._pixels)
        if self._instances is not None:
            self._instances.merge(other._instances)  # type: ignore[arg-type]
        self._images += other._images

    def compute(self) -> Scores:
        """Return the scores of the images added so far."""
        if not self._images:
            raise PdlError('No image was scored; give at least one labelled image.')
        segments = SegmentCounts(*map(rounded, self._segments))
        pixels = PixelCounts(*map(rounded, self._pixels))
        pq, sq, rq = segments.qualities()
        iou, iiou = pixels.iou(), pixels.instance_iou(self.label_set)
        precision = self._average_precision()
        columns = (pq, sq, rq, iou, *segments[1:], iiou, precision.ap, precision.ap50)
        table = tuple(
            ClassScores(c.name, *(value.item() for value in row))
            for c, row in zip(self.label_set.classes, zip(*columns, strict=True), strict=True)
        )
        return Scores(
            **means(table, self.label_set),
            classes=table,
            images=self._images,
            ap_rule=self.ap_rule,
            ap=precision.means['ap'],
            ap50=precision.means['ap50'],
            ap_details={k: v for k, v in precision.means.items() if k not in ('ap', 'ap50')},
            confusion=tuple(map(tuple, self._pixels.confusion.tolist())),
        )

    def _count_instances(
        self,
        prediction: np.ndarray | torch.Tensor,
        sample: Sample,
        panoptic: Overlaps,
        scores: Mapping[int, float] | None,
    ) -> Any:
        if self.ap_rule == 'none':
            return None
        things, of_value = self.label_set.thing_ids, scores or {}
        is_thing = np.isin(panoptic.classes, things)
        missing = [v for v in panoptic.values[is_thing].tolist() if v not in of_value]
        if missing:
            raise PdlError(
                f'The prediction of {sample.name} holds the thing {missing[0]}, which has no '
                'score; AP needs one for each thing.'
            )
        column = np.array([of_value.get(v, math.nan) for v in panoptic.values.tolist()], float)
        if np.isnan(column[is_thing]).any():
            raise PdlError(f'The prediction of {sample.name} has a score that is not a number.')
        if self.ap_rule == 'cityscapes':
            return cityscapes_ap.count_instances(panoptic, column, things)
        return coco_ap.count_instances(
            sample,
            as_map(prediction, sample),
            panoptic,
            column,
            things,
            self._void_of if self.spares_void else None,
        )

    def _void_of(self, sample: Sample, class_id: int) -> np.ndarray:
        """Return the (H, W) mask of the pixels whose labels do not say whether they are a class."""
        count = self.label_set.num_classes
        settled = [
            s.id
            for s in sample.segments
            if s.class_id < count or class_id not in self.groups[s.class_id - count]
        ]
        return ~np.isin(sample.panoptic, settled)

    def _average_precision(self) -> coco_ap.CocoScores:
        if isinstance(self._instances, coco_ap.CocoAP):
            return self._instances.compute()
        if self._instances is None:
            nothing = np.full(self.label_set.num_classes, math.nan)
            return coco_ap.CocoScores(nothing, nothing, {'ap': math.nan, 'ap50': math.nan})
        table = self._instances.compute()
        ap, ap50 = table.mean(1), table[:, 0]
        return coco_ap.CocoScores(ap, ap50, {'ap': mean(ap), 'ap50': mean(ap50)})

    def _rules(self) -> tuple[Any, ...]:
        return self.label_set, self.ap_rule, self.groups, self.spares_void

    def _add(self, segments: SegmentCounts, pixels: PixelCounts) -> None:
        for totals, counts in ((self._segments, segments), (self._pixels, pixels)):
            for total, count in zip(totals, counts, strict=True):
                total += exact(count) if count.dtype == float else count


def means(classes: Sequence[ClassScores], label_set: LabelSet) -> dict[str, float]:
    """Return the means over classes that `Scores` has, but those of AP."""
    pq, sq, rq, iou, iiou = (
        np.array([getattr(c, name) for c in classes]) for name in ('pq', 'sq', 'rq', 'iou', 'iiou')
    )
    is_thing = np.array([c.is_thing for c in label_set.classes])
    return {
        'pq': mean(pq),
        'sq': mean(sq),
        'rq': mean(rq),
        'pq_things': mean(pq[is_thing]),
        'pq_stuff': mean(pq[~is_thing]),
        'miou': mean(iou),
        'iiou': mean(iiou),
    }


def _empty(counts: np.ndarray) -> np.ndarray:
    """Return a place for sums of such counts: of floats, for exact ones."""
    return exact(counts) if counts.dtype == float else counts
