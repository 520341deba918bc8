"""Pictures of a training: what the labels say beside what the network says."""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np
import torch

from pdl_ros.datasets import PanopticDataset, Sample
from pdl_ros.datasets.record import label_values
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import PANOPTIC_VOID
from pdl_ros.pipeline import Segmenter
from pdl_ros.visualization import contact_sheet, overlay, to_width

_WIDTH = 480  # pixels of a picture


class WorstPicture(NamedTuple):
    """A picture with its labels and its prediction side by side, as RGB, and the share of its
    labelled pixels that got a wrong class.
    """

    name: str
    wrong: float
    labels: np.ndarray
    prediction: np.ndarray


def worst_pictures(
    segmenter: Segmenter, dataset: PanopticDataset, count: int = 6
) -> list[WorstPicture]:
    """Segment a data set once more and return the pictures with most pixels of a wrong class."""
    worst: list[tuple[float, int, WorstPicture]] = []
    for index in range(len(dataset)):
        sample = dataset[index]
        result = segmenter(sample.image)
        ids = label_values(sample, dataset.label_set)
        known = ids != PANOPTIC_VOID
        predicted = np.asarray(result.semantic)
        differs = predicted != ids // dataset.label_set.label_divisor
        wrong = float(differs[known].mean()) if known.any() else 0.0
        if len(worst) < count or wrong > worst[0][0]:
            pictures = _overlays(sample.image, dataset.label_set, ids, result.panoptic)
            entry = (
                wrong,
                index,
                WorstPicture(sample.name, wrong, *(to_width(p, _WIDTH) for p in pictures)),
            )
            (heapq.heappush if len(worst) < count else heapq.heapreplace)(worst, entry)
    return [picture for _, _, picture in sorted(worst, reverse=True)]


def side_by_side(segmenter: Segmenter, sample: Sample) -> np.ndarray:
    """Segment a sample; return it beside its labels and its prediction, as one RGB picture."""
    labels = segmenter.label_set
    ids = label_values(sample, labels)
    drawn = _overlays(sample.image, labels, ids, segmenter(sample.image).panoptic)
    return contact_sheet([[sample.image, *drawn]], ['input', 'labels', 'prediction'], _WIDTH)


def _overlays(
    image: np.ndarray, label_set: LabelSet, *panoptic: np.ndarray | torch.Tensor
) -> list[np.ndarray]:
    return [overlay(image, np.asarray(p).astype(np.uint16), label_set) for p in panoptic]
