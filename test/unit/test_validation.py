"""A training is scored on its way, keeps its best weights, and ends when nothing gets better."""

from __future__ import annotations

import json
import math
import os
import signal
from dataclasses import replace

import pytest

from pdl_ros.cli.train import _scorer
from pdl_ros.network import checkpoints
from pdl_ros.training.tensorboard import TensorBoard

from .drawn import RUN, SCENE, Drawn, log_of, trainer_in


class Examiner:
    """Give the scores of a list, one after the other, and remember which weights they were for."""

    def __init__(self, *pqs: float | None) -> None:
        self.pqs, self.steps = list(pqs), []

    def __call__(self, weights):
        self.steps.append(checkpoints.read(weights).header['training']['steps'])
        pq = self.pqs.pop(0)
        return {'pq': pq, 'miou': 0.5, 'classes': [{'name': 'car'}], 'images': 3}


EVERY = replace(RUN, evaluate_steps=1)


def test_the_best_weights_and_the_last_are_kept_with_their_scores(tmp_path):
    examiner = Examiner(0.3, None, 0.2)
    trainer_in(tmp_path, run=EVERY, validate=examiner, steps=3).run(quiet=True)
    assert examiner.steps == [1, 2, 3]
    best, last = (
        checkpoints.read(tmp_path / f'{name}.safetensors').header for name in ('best', 'weights')
    )
    assert (best['training']['steps'], best['scores']) == (1, {'pq': 0.3, 'miou': 0.5})
    assert (last['training']['steps'], last['scores']) == (3, {'pq': 0.2, 'miou': 0.5})
    rows = log_of(tmp_path, 'validation.csv')
    assert [row['step'] for row in rows] == [1, 2, 3]
    assert [row['pq'] for row in rows] == pytest.approx([0.3, math.nan, 0.2], nan_ok=True)


def test_a_score_without_a_value_is_none_in_all_files_also_of_a_run_that_had_nan(tmp_path):
    def validate(weights):
        return {'pq': math.nan, 'miou': 0.5, 'ap': math.nan}

    trainer = trainer_in(tmp_path, run=EVERY, validate=validate, steps=2)
    trainer.run(1, quiet=True)
    (row,) = (tmp_path / 'validation.csv').read_text().splitlines()[1:]
    assert row == '1,,0.5,'
    known = {'pq': None, 'miou': 0.5, 'ap': None}
    assert checkpoints.read(tmp_path / 'weights.safetensors').header['scores'] == known
    before = {**trainer.validation.state_dict(), 'scores': validate(None)}
    trainer.validation.load_state_dict(before)
    assert trainer.validation.header(1) == {'scores': known}


def test_without_steps_between_it_is_scored_once_at_the_end(tmp_path):
    examiner = Examiner(0.1)
    trainer_in(tmp_path, validate=examiner).run(quiet=True)
    assert examiner.steps == [4]
    trainer_in(tmp_path, validate=examiner).run(quiet=True)  # nothing is left to do
    assert examiner.steps == [4]
    assert not (tmp_path / 'best.safetensors').exists()


def test_a_training_that_gets_no_better_ends_and_stays_ended(tmp_path):
    examiner = Examiner(0.3, 0.3)
    run = replace(EVERY, patience=1)
    trainer_in(tmp_path, run=run, validate=examiner).run(quiet=True)
    assert examiner.steps == [1, 2]
    again = trainer_in(tmp_path, run=run, validate=examiner)
    again.run(quiet=True)
    assert again.step == 2


def test_a_validation_that_was_interrupted_is_made_when_the_training_goes_on(tmp_path):
    def interrupted(weights):
        os.kill(os.getpid(), signal.SIGINT)
        return examiner(weights)

    examiner = Examiner(0.1, 0.2, 0.3, 0.4)
    trainer = trainer_in(tmp_path, run=replace(EVERY, evaluate_steps=2), validate=interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(quiet=True)
    assert examiner.steps == []
    resumed = trainer_in(tmp_path, run=replace(EVERY, evaluate_steps=2), validate=examiner)
    assert resumed.step == 2
    resumed.run(quiet=True)
    assert examiner.steps == [2, 4]
    assert [row['step'] for row in log_of(tmp_path, 'validation.csv')] == [2, 4]


def test_a_training_killed_after_a_validation_has_left_its_scores_class_by_class(tmp_path):
    data, board = Drawn(), TensorBoard(None)
    run = replace(RUN, evaluate_steps=2)

    def killed(count):
        if count == 3 + 2 * 2 + 1:  # in the step after the validation
            raise InterruptedError

    data.at_read = killed
    trainer = trainer_in(tmp_path, data, run=run, validate=_scorer(Drawn(), 'cpu', [], board))
    with pytest.raises(InterruptedError):
        trainer.run(quiet=True)
    scores = json.loads((tmp_path / 'scores.json').read_text())
    (row,) = log_of(tmp_path, 'validation.csv')
    assert (scores['step'], scores['images']) == (2, 3) and row['step'] == 2
    assert scores['miou'] == pytest.approx(row['miou'], abs=1e-4)
    assert [c['name'] for c in scores['classes']] == [c.name for c in SCENE.classes]
