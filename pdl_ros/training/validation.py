"""When a training is scored, what came of it, and when it has learned all it will."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pdl_ros.training.settings import RunSettings

Validate = Callable[[Path], Mapping[str, Any]]
"""Scores a file of weights: at least `pq` and `miou`, in 0..1, None or NaN where there is none."""


class Validation:
    """The scores of a training so far."""

    def __init__(self, validate: Validate | None, steps: int, run: RunSettings) -> None:
        self._validate, self._steps, self._run = validate, steps, run
        self.step, self.best_step, self.best_pq, self.without_better = 0, 0, -1.0, 0
        self.scores: dict[str, float | None] = {}

    def due(self, step: int) -> bool:
        """Tell whether the weights after so many steps are to be scored and are not yet."""
        if self._validate is None or step == self.step:
            return False
        every = self._run.evaluate_steps
        return step == self._steps or (every > 0 and step % every == 0)

    @property
    def exhausted(self) -> bool:
        """Whether nothing got better for as long as patience lasts."""
        return 0 < self._run.patience <= self.without_better

    def score(self, step: int, weights: Path) -> bool:
        """Score the weights after `step` steps; return whether they are the best so far."""
        assert self._validate is not None
        scores = self._validate(weights)
        self.scores = {
            name: _rounded(value)
            for name, value in scores.items()
            if value is None or isinstance(value, float)
        }
        self.step, pq = step, scores['pq']
        better = pq is not None and pq > self.best_pq
        if better:
            self.best_step, self.best_pq, self.without_better = step, pq, 0
        else:
            self.without_better += 1
        return better

    def describe(self) -> str:
        """Return the last scores in words."""
        best = ''
        if self.best_step != self.step and self.best_step:
            best = f' (the best PQ is {100 * self.best_pq:.1f}, of step {self.best_step})'
        pq, miou = (
            'none' if value is None else f'{100 * value:.1f}'
            for value in (self.scores['pq'], self.scores['miou'])
        )
        return f'validation after step {self.step}: PQ {pq}, mIoU {miou}{best}'

    def header(self, step: int) -> dict[str, Any]:
        """Return what the header of the weights after so many steps says of their scores."""
        return {'scores': self.scores} if step == self.step and self.scores else {}

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs to know of it."""
        names = ('step', 'best_step', 'best_pq', 'without_better', 'scores')
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        vars(self).update(state)
        # States that are older than this rule have NaN in them.
        self.scores = {name: _rounded(value) for name, value in self.scores.items()}


def _rounded(value: float | None) -> float | None:
    """Return a score as it is kept: None for NaN, which no reader of JSON has to take."""
    return None if value is None or math.isnan(value) else round(value, 4)
