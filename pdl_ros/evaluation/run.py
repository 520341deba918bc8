"""Score a segmenter on a labelled data set."""

from __future__ import annotations

from rich.progress import track

from pdl_ros.datasets import PanopticDataset
from pdl_ros.errors import PdlError
from pdl_ros.evaluation.metrics import PanopticEvaluator, Scores
from pdl_ros.pipeline import Segmenter


def evaluate(segmenter: Segmenter, dataset: PanopticDataset, quiet: bool = False) -> Scores:
    """Segment every image at single scale, as a robot would, and return the scores."""
    if dataset.label_set != segmenter.label_set:
        raise PdlError(
            f'The weights know label set {segmenter.label_set.name!r}, the data has '
            f'{dataset.label_set.name!r}; they must be the same to be compared.'
        )
    evaluator = PanopticEvaluator(segmenter.label_set)
    for index in track(range(len(dataset)), 'scoring', disable=quiet):
        sample = dataset[index]
        result = segmenter(sample.image)
        evaluator.update(result.panoptic, sample, result.semantic)
    return evaluator.compute()
