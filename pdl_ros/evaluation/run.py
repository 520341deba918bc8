"""Score a segmenter on a labelled data set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from pdl_ros.datasets import PanopticDataset, Sample, groups_of
from pdl_ros.errors import PdlError
from pdl_ros.evaluation.metrics import ImageCounts, PanopticEvaluator, Scores
from pdl_ros.evaluation.stream import stream
from pdl_ros.fusion import PanopticResult, SegmentTable
from pdl_ros.pipeline import Segmenter


class Writer(Protocol):
    """Who writes every result to files."""

    def write(self, sample: Sample, result: PanopticResult) -> Any:
        """Write one image, in any thread; return what `keep` takes."""
        ...

    def keep(self, record: Any) -> None:
        """Take what `write` returned, image after image."""
        ...


def evaluate(
    segmenter: Segmenter,
    dataset: PanopticDataset,
    quiet: bool = False,
    ap_rule: str = 'cityscapes',
    writer: Writer | None = None,
) -> Scores:
    """Segment every image, as a robot would, and return the scores. `ap_rule` as in
    `PanopticEvaluator`.
    """
    require_same_labels(segmenter, dataset)
    evaluator = PanopticEvaluator(segmenter.label_set, ap_rule, groups_of(dataset))
    return score_all(evaluator, dataset, lambda s: segmenter(s.image), quiet, writer)


def score_all(
    evaluator: PanopticEvaluator,
    dataset: PanopticDataset,
    segment: Callable[[Sample], PanopticResult],
    quiet: bool = False,
    writer: Writer | None = None,
) -> Scores:
    """Count what `segment` says of every image, in the classes of the data; return the scores."""

    def score(sample: Sample, result: PanopticResult) -> tuple[ImageCounts, Any]:
        counts = count_result(evaluator, sample, result)
        return counts, writer.write(sample, result) if writer else None

    for counts, record in stream(dataset, segment, score, quiet):
        evaluator.add(counts)
        if writer:
            writer.keep(record)
    return evaluator.compute()


def count_result(
    evaluator: PanopticEvaluator, sample: Sample, result: PanopticResult
) -> ImageCounts:
    """Count a result; nothing is added to the evaluator."""
    scores = scores_of(result.segments)
    return evaluator.count(result.panoptic, sample, result.semantic, scores)


def scores_of(segments: SegmentTable) -> dict[int, float]:
    """Return the score of every thing by its value in the panoptic map."""
    things = segments.is_thing
    ids, scores = segments.id[things].tolist(), segments.score[things].tolist()
    return dict(zip(ids, scores, strict=True))


def require_same_labels(segmenter: Segmenter, dataset: PanopticDataset) -> None:
    """Raise PdlError unless the weights and the data have one label set."""
    if dataset.label_set != segmenter.label_set:
        raise PdlError(
            f'The weights know label set {segmenter.label_set.name!r}, the data has '
            f'{dataset.label_set.name!r}; they must be the same to be compared.'
        )
