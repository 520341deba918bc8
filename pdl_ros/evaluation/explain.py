"""Why the scores are what they are: what each head costs, and what became of every thing."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from pdl_ros.datasets import PanopticDataset, Sample, groups_of
from pdl_ros.evaluation.arithmetic import mean, none_for_nan
from pdl_ros.evaluation.causes import CAUSES, SIZES, Fate, fates
from pdl_ros.evaluation.metrics import ImageCounts, PanopticEvaluator, Scores
from pdl_ros.evaluation.run import count_result, require_same_labels
from pdl_ros.evaluation.stream import stream
from pdl_ros.evaluation.truth_heads import HEADS, TruthClasses, TruthHeads
from pdl_ros.fusion import PanopticResult, fuse
from pdl_ros.pipeline import Segmenter

WORST = 10
PREDICTED = 'as predicted'
NO_LIMIT = 'all, stuff of any area'
TRUE_PARTS = tuple(
    parts for count in range(1, len(HEADS) + 1) for parts in itertools.combinations(HEADS, count)
)


class Frame(NamedTuple):
    """What is told of one image. pq: mean over the classes in it. causes: things by cause."""

    name: str
    pq: float
    causes: dict[str, int]


@dataclass
class Explanation:
    """Scores with the truth in the place of heads, by what was true; things by cause, size and
    class; the images with the lowest PQ, worst first.
    """

    truth: dict[str, Scores]
    things: np.ndarray
    class_names: tuple[str, ...]
    worst: list[Frame] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        start = self.truth[PREDICTED].pq
        truth = {
            name: {'pq': s.pq, 'pq_things': s.pq_things, 'pq_stuff': s.pq_stuff}
            | {'gain': s.pq - start}
            for name, s in self.truth.items()
        }
        return {
            'truth_in_place_of': {name: none_for_nan(row) for name, row in truth.items()},
            'things': {c: self._sorted(self.things[i]) for i, c in enumerate(CAUSES)},
            'worst_images': [none_for_nan(frame._asdict()) for frame in self.worst],
        }

    def _sorted(self, things: np.ndarray) -> dict[str, Any]:
        by_size = dict(zip(SIZES, things.sum(1).tolist(), strict=True))
        by_class = dict(zip(self.class_names, things.sum(0).tolist(), strict=True))
        labelled = dict(zip(self.class_names, self.things.sum((0, 1)).tolist(), strict=True))
        return {
            'total': int(things.sum()),
            'by_size': by_size,
            'by_class': {name: count for name, count in by_class.items() if labelled[name]},
        }


class _Segmented(NamedTuple):
    predicted: PanopticResult
    others: dict[str, PanopticResult]


class _Scored(NamedTuple):
    name: str
    predicted: ImageCounts
    others: dict[str, ImageCounts]
    fates: list[Fate]


def explain(
    segmenter: Segmenter,
    dataset: PanopticDataset,
    quiet: bool = False,
    ap_rule: str = 'cityscapes',
) -> tuple[Scores, Explanation]:
    """Do what `run.evaluate` does, and eight more fusions an image, with the truth in the place of
    some heads.
    """
    require_same_labels(segmenter, dataset)
    classes = TruthClasses.same(segmenter.label_set, groups_of(dataset))
    evaluator = PanopticEvaluator(classes.label_set, ap_rule, classes.groups)
    return explain_with(evaluator, segmenter, dataset, classes, lambda result: result, quiet)


def explain_with(
    evaluator: PanopticEvaluator,
    segmenter: Segmenter,
    dataset: PanopticDataset,
    classes: TruthClasses,
    translate: Callable[[PanopticResult], PanopticResult],
    quiet: bool = False,
) -> tuple[Scores, Explanation]:
    """Explain with an empty evaluator of the classes of the data; `translate` brings results into
    these.
    """
    label_set, groups = classes.label_set, classes.groups
    names = (*map(_name, TRUE_PARTS), NO_LIMIT)
    others = {name: PanopticEvaluator(label_set, groups=groups) for name in names}
    things = np.zeros((len(CAUSES), len(SIZES), label_set.num_classes), int)
    worst = _Worst()

    def segment(sample: Sample) -> _Segmented:
        predicted, others = _segment(segmenter, sample, classes)
        return _Segmented(translate(predicted), {n: translate(r) for n, r in others.items()})

    def score(sample: Sample, results: _Segmented) -> _Scored:
        counts = count_result(evaluator, sample, results.predicted)
        more = {n: others[n].count(r.panoptic, sample) for n, r in results.others.items()}
        found = fates(sample, results.predicted, label_set, groups)
        return _Scored(sample.name, counts, more, found)

    for scored in stream(dataset, segment, score, quiet):
        evaluator.add(scored.predicted)
        for name, counts in scored.others.items():
            others[name].add(counts)
        for fate in scored.fates:
            things[fate.cause, fate.size, fate.class_id] += 1
        worst.add(scored)
    scores = evaluator.compute()
    truth = {PREDICTED: scores, **{n: e.compute() for n, e in others.items()}}
    class_names = tuple(c.name for c in label_set.classes)
    return scores, Explanation(truth, things, class_names, worst.frames())


def _segment(segmenter: Segmenter, sample: Sample, classes: TruthClasses) -> _Segmented:
    heads, valid = segmenter.heads(sample.image)
    label_set, settings = segmenter.label_set, segmenter.fusion
    predicted = fuse(heads, label_set, settings, sample.image.shape[:2], valid).cpu()
    truth = TruthHeads(heads, valid, sample, label_set, settings, classes)
    others = {_name(parts): truth.fuse(parts) for parts in TRUE_PARTS}
    return _Segmented(predicted, {**others, NO_LIMIT: truth.fuse_all_true()})


def _name(parts: tuple[str, ...]) -> str:
    return ' + '.join(parts)


class _Worst:
    """Keep the images with the lowest PQ; of equals the earlier."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Frame]] = []
        self._seen = 0

    def add(self, scored: _Scored) -> None:
        pq = mean(scored.predicted.segments.qualities()[0])
        if math.isnan(pq):
            return
        causes = Counter(CAUSES[fate.cause] for fate in scored.fates)
        frame = Frame(scored.name, pq, {c: causes[c] for c in CAUSES if causes[c]})
        self._seen += 1
        entry = (-pq, -self._seen, frame)
        if len(self._heap) < WORST:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    def frames(self) -> list[Frame]:
        return [frame for _, _, frame in sorted(self._heap, key=lambda e: e[:2], reverse=True)]
