"""The network's heads with the labels in the place of some: what each head costs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pdl_ros.datasets import Sample
from pdl_ros.datasets.groups import Groups
from pdl_ros.fusion import FusionSettings, PanopticResult, fuse
from pdl_ros.fusion.sampling import sample as sample_head
from pdl_ros.fusion.sampling import sampling_axes
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import SEMANTIC_VOID
from pdl_ros.network.heads import HeadOutputs
from pdl_ros.training.settings import TargetSettings
from pdl_ros.training.targets import make_targets

HEADS = ('semantics', 'centres', 'offsets')
_TARGETS = TargetSettings(ignore_crowd_in_center=True)
_SURE = 20.0  # a logit beside zeros
_WIDTH = 10.0  # between logits of classes that are all right


class TruthClasses(NamedTuple):
    """The classes of labels, and what a network calls them.

    label_set, groups: of the data. right: (K + G, N) bool, for each class of the data and then each
    group whether a class of the network is right; a row of none is truth that it cannot say.
    """

    label_set: LabelSet
    groups: Groups
    right: np.ndarray

    @classmethod
    def same(cls, label_set: LabelSet, groups: Groups = ()) -> TruthClasses:
        """Return those of data in the classes of the network."""
        one = np.eye(label_set.num_classes, dtype=bool)
        several = [one[list(group)].any(0) for group in groups]
        return cls(label_set, groups, np.stack([*one, *several]))


class TruthHeads:
    """The heads of one frame, predicted and true, at the size of the frame or of the network's
    input, whichever is larger: labels lose nothing there.

    Where the labels say nothing, on void and for centres and offsets of crowds, truth is what was
    predicted. So it is among classes that the labels leave open.
    """

    @torch.inference_mode()
    def __init__(
        self,
        heads: HeadOutputs,
        valid: tuple[int, int],
        sample: Sample,
        label_set: LabelSet,
        settings: FusionSettings,
        classes: TruthClasses | None = None,
    ) -> None:
        """Take what `Segmenter.heads` returned for the sample's image. label_set: the network's;
        classes: those of the sample, None where they are the same.
        """
        self._size, self._label_set = sample.panoptic.shape, label_set
        larger = max(self._size[0], valid[0]), max(self._size[1], valid[1])
        axes = sampling_axes(heads, larger, valid, settings.align_corners)
        scales = axes[0].scale, axes[1].scale
        semantic, centers, offset = (sample_head(h.float(), axes) for h in heads[:3])
        if settings.rescale:
            offset = offset * offset.new_tensor(scales).view(1, 2, 1, 1)
        self.settings = settings.scaled(*scales)
        self._predicted = dict(zip(HEADS, (semantic, centers, offset), strict=True))
        truth = classes or TruthClasses.same(label_set)
        self._true = self._truth(_nearest(sample.panoptic, larger), sample, truth)

    def fuse(self, true: Collection[str], settings: FusionSettings | None = None) -> PanopticResult:
        """Fuse, with the truth in the place of the named `HEADS`; the result is on the host."""
        semantic, centers, offset = (
            (self._true if name in true else self._predicted)[name] for name in HEADS
        )
        heads = HeadOutputs(semantic, centers, offset, stride=1)
        return fuse(heads, self._label_set, settings or self.settings, self._size).cpu()

    def fuse_all_true(self) -> PanopticResult:
        """Fuse the truth alone, and keep stuff of any area: what is missing to 100 then is in the
        labels.
        """
        return self.fuse(HEADS, replace(self.settings, stuff_area=0, score_threshold=0.0))

    def _truth(
        self, panoptic: np.ndarray, sample: Sample, truth: TruthClasses
    ) -> dict[str, Tensor]:
        targets = make_targets(panoptic, sample.segments, truth.label_set, _TARGETS, truth.groups)
        semantic, centers, offset = (self._predicted[name] for name in HEADS)
        device = semantic.device
        table = np.zeros((SEMANTIC_VOID + 1, truth.right.shape[1]), bool)
        table[: len(truth.right)] = truth.right
        right = torch.from_numpy(table[targets.semantic]).to(device).permute(2, 0, 1)
        best = semantic[0].where(right, -torch.inf).amax(0)
        sure = torch.where(right, _SURE + (semantic[0] - best).clamp(min=-_WIDTH), 0.0)
        labelled = right.any(0)
        heat, of_labels = (
            torch.from_numpy(a).to(device) for a in (targets.center_heatmap, targets.center_weight)
        )
        true_offset, of_things = (
            torch.from_numpy(a).to(device) for a in (targets.offset, targets.offset_weight)
        )
        # A mass centre may lie beside its instance, on void: the larger of both keeps it.
        beside = torch.maximum(centers[0], heat)
        true = (
            torch.where(labelled, sure, semantic[0]),
            torch.where(of_labels > 0, heat, beside),
            torch.where(of_things > 0, true_offset, offset[0]),
        )
        return {name: head[None] for name, head in zip(HEADS, true, strict=True)}


def _nearest(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return (H, W) labels at a larger size."""
    rows, columns = (np.arange(n) * old // n for n, old in zip(size, labels.shape, strict=True))
    return labels[rows[:, None], columns]
