"""Score a network on every set of a mixture, each in the classes that the set tells apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pdl_ros.datasets import PanopticDataset, groups_of
from pdl_ros.datasets.groups import Groups
from pdl_ros.datasets.mixture import MixedSet, Mixture
from pdl_ros.datasets.some import EvenlySpread
from pdl_ros.evaluation.arithmetic import mean, none_for_nan
from pdl_ros.evaluation.explain import Explanation, explain_with
from pdl_ros.evaluation.metrics import Scores, means
from pdl_ros.evaluation.run import score_all
from pdl_ros.evaluation.sets.classes import set_classes
from pdl_ros.evaluation.sets.evaluator import SetEvaluator
from pdl_ros.evaluation.sets.predicted import SetResults
from pdl_ros.evaluation.sets.truth import SetTruth
from pdl_ros.evaluation.truth_heads import TruthClasses
from pdl_ros.labels import LabelSet
from pdl_ros.pipeline import Segmenter

MEANS = ('pq', 'sq', 'rq', 'pq_things', 'pq_stuff', 'miou', 'ap', 'ap50')


@dataclass(frozen=True)
class JudgedSet:
    """A set of a mixture as a network is judged on it: its truth, and what brings results of the
    network into the same classes.
    """

    name: str
    truth: PanopticDataset
    results: SetResults


@dataclass(frozen=True)
class SetScores:
    """What came of one set. whole_things: PQ of each class of things where their IoU takes all of a
    prediction, also what lies on unknown ground; NaN where there is nothing to find.
    """

    name: str
    scores: Scores
    whole_things: dict[str, float]
    explanation: Explanation | None = None


def judged_sets(
    label_set: LabelSet,
    groups: Groups,
    sets: Sequence[MixedSet],
    of_network: Groups,
    most: int = 0,
) -> list[JudgedSet]:
    """Return sets of a mixture, of that label set and those groups, to judge a network on.

    of_network: what each class of the network is in the mixture (`read_network_classes`). most:
    images of each set, spread evenly over it; 0 for all.
    """
    judged = []
    every = range(label_set.num_classes + len(groups))
    for part in sets:
        labelled = every if part.labelled is None else part.labelled
        classes = set_classes(label_set, groups, labelled, part.name)
        truth = SetTruth(part.dataset, classes)
        images = EvenlySpread(truth, most) if most else truth
        judged.append(JudgedSet(part.name, images, SetResults(of_network, classes)))
    return judged


def score_set(
    segmenter: Segmenter, judged: JudgedSet, ap_rule: str = 'cityscapes', quiet: bool = False
) -> SetScores:
    """Segment every image of a set, and return the scores."""
    evaluator = SetEvaluator(judged.truth, ap_rule)
    scores = score_all(
        evaluator,
        judged.truth,
        lambda sample: judged.results(segmenter(sample.image)),
        quiet,
    )
    counted = with_counted_things(scores, judged.truth.label_set)
    return SetScores(judged.name, counted, evaluator.whole_qualities())


def score_mixture(segmenter: Segmenter, mixture: Mixture) -> list[SetScores]:
    """Score a network of a mixture's own classes on each of its sets, without mask AP, as trainings
    do between their steps.
    """
    own = tuple((i,) for i in range(mixture.label_set.num_classes))
    sets = judged_sets(mixture.label_set, mixture.groups, mixture.sets, own)
    return [score_set(segmenter, judged, 'none', quiet=True) for judged in sets]


def explain_set(
    segmenter: Segmenter, judged: JudgedSet, ap_rule: str = 'cityscapes', quiet: bool = False
) -> SetScores:
    """Do what `score_set` does, and say why the scores are what they are."""
    truth = judged.truth
    classes = TruthClasses(truth.label_set, groups_of(truth), judged.results.right(truth))
    evaluator = SetEvaluator(truth, ap_rule)
    scores, told = explain_with(evaluator, segmenter, truth, classes, judged.results, quiet)
    told.truth = {n: with_counted_things(s, truth.label_set) for n, s in told.truth.items()}
    counted = with_counted_things(scores, truth.label_set)
    return SetScores(judged.name, counted, evaluator.whole_qualities(), told)


def with_counted_things(scores: Scores, label_set: LabelSet) -> Scores:
    """Return the scores without PQ, SQ, RQ and iIoU of classes of which the labels show crowds
    only: nobody told things apart, so there is nothing to find, and any mistake would make it 0.
    """
    classes = []
    for place, c in enumerate(scores.classes):
        if c.tp + c.fn == 0 and any(scores.confusion[place]):
            c = c._replace(pq=math.nan, sq=math.nan, rq=math.nan, iiou=math.nan)
        classes.append(c)
    changed: dict[str, Any] = means(classes, label_set)
    return replace(scores, classes=tuple(classes), **changed)


def means_of(part: SetScores) -> dict[str, float]:
    """Return the scores of a set that are compared with those of others, by name: `MEANS`, and the
    mean of its `whole_things`.
    """
    whole = mean(np.array([*part.whole_things.values()], float))
    return {**{name: getattr(part.scores, name) for name in MEANS}, 'pq_whole_things': whole}


def summary(sets: Sequence[SetScores]) -> dict[str, float]:
    """Return the mean over sets of each of `means_of`; NaN where no set has it."""
    rows = [means_of(part) for part in sets]
    return {name: mean(np.array([row[name] for row in rows])) for name in rows[0]}


def to_dict(sets: Sequence[SetScores]) -> dict[str, Any]:
    """Return plain data for JSON: the scores of each set by its name, and their mean."""
    return {'sets': {s.name: _plain(s) for s in sets}, 'mean': none_for_nan(summary(sets))}


def _plain(part: SetScores) -> Mapping[str, Any]:
    told = {} if part.explanation is None else {'explanation': part.explanation.to_dict()}
    return {**part.scores.to_dict(), 'whole_things': none_for_nan(part.whole_things), **told}
