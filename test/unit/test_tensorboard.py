"""TensorBoard shows the curves of one training, however often it was stopped, and its pictures."""

from __future__ import annotations

import io
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pdl_ros import errors
from pdl_ros.cli import main
from pdl_ros.cli.train import _scorer
from pdl_ros.errors import PdlError
from pdl_ros.training.tensorboard import TensorBoard

from .drawn import RUN, Drawn, log_of, trainer_in

REASON = 'needs pdl_ros[tensorboard]'


def events_of(folder):
    """Return what TensorBoard's own reader finds: {tag: {step: value}}, and pictures likewise."""
    accumulator = pytest.importorskip(
        'tensorboard.backend.event_processing.event_accumulator', reason=REASON
    )
    found = accumulator.EventAccumulator(str(folder), {'scalars': 0, 'images': 0})
    found.Reload()
    tags = found.Tags()
    scalars = {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in tags['scalars']}
    images = {tag: found.Images(tag) for tag in tags['images']}
    return scalars, images


def test_a_training_that_crashed_and_was_resumed_has_one_curve_and_its_pictures(tmp_path):
    pytest.importorskip('tensorboard', reason=REASON)
    board = TensorBoard(tmp_path / 'tensorboard')
    examine = _scorer(Drawn(), 'cpu', [], board)
    run = replace(RUN, evaluate_steps=2)

    def crash(count):
        if count == 3 + 2 * 3 + 1:  # in the fourth step; the state is that of the second
            raise InterruptedError

    data = Drawn()
    data.at_read = crash
    with pytest.raises(InterruptedError):
        trainer_in(tmp_path, data, run=run, validate=examine, board=board).run(quiet=True)
    before, _ = events_of(tmp_path / 'tensorboard')
    assert [step for step, _ in before['loss/semantic']] == [1, 2, 3]
    resumed = trainer_in(tmp_path, run=run, validate=examine, board=board)
    assert resumed.step == 2
    resumed.run(quiet=True)

    scalars, images = events_of(tmp_path / 'tensorboard')
    steps, scored = log_of(tmp_path), log_of(tmp_path, 'validation.csv')
    for rows, tag, name in (
        *((steps, f'loss/{name}', name) for name in ('semantic', 'center', 'offset')),
        (steps, 'learning_rate', 'lr'),
        (scored, 'validation/pq', 'pq'),
        (scored, 'validation/miou', 'miou'),
    ):
        assert [step for step, _ in scalars[tag]] == [row['step'] for row in rows]
        values = [row[name] for row in rows]
        assert [value for _, value in scalars[tag]] == pytest.approx(values, rel=1e-4)
    assert not [tag for tag in scalars if tag.endswith('step')]

    assert sorted(images) == [f'pictures/street{i}' for i in range(3)]
    for index in range(3):
        shown = images[f'pictures/street{index}']
        assert [event.step for event in shown] == [2, 4]
        picture = np.asarray(Image.open(io.BytesIO(shown[-1].encoded_image_string)))
        assert picture.shape == (336 + 30 + 12, 3 * 486 + 6, 3)
        car = Drawn()[index].image[40, 12 + 8 * index]
        assert (picture[36 + 40 * 336 // 70, 6 + (12 + 8 * index) * 480 // 100 + 2] == car).all()


def test_what_is_no_folder_is_said_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr(errors, 'find_spec', lambda name: name)
    (tmp_path / 'tensorboard').touch()
    with pytest.raises(PdlError, match='tensorboard cannot be a folder'):
        TensorBoard(tmp_path / 'tensorboard')


def test_without_the_package_a_user_is_told_its_extra_before_anything_is_made(
    tmp_path, monkeypatch, capsys
):
    pytest.importorskip('lightning_fabric')
    found = errors.find_spec
    monkeypatch.setattr(
        errors, 'find_spec', lambda name: None if name == 'tensorboard' else found(name)
    )
    out = tmp_path / 'run'
    command = ['pdl_ros', 'train', 'scene_tiny', '--data', 'scene', '--out', str(out)]
    monkeypatch.setattr(sys, 'argv', [*command, '--tensorboard'])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert [line for line in capsys.readouterr().err.splitlines() if line] == [
        'pdl_ros: This needs the package tensorboard; install it with: '
        "pip install 'pdl_ros[tensorboard]'."
    ]
    assert not out.exists()
