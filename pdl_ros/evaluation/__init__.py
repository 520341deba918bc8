"""Score predicted panoptic maps against labelled images."""

from pdl_ros.evaluation.metrics import ClassScores, PanopticEvaluator, Scores

__all__ = ['ClassScores', 'PanopticEvaluator', 'Scores']
