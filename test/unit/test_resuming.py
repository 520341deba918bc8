"""Whatever ends a training, running it again goes on exactly there, or says why it cannot."""

from __future__ import annotations

import copy
import logging
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pdl_ros.errors import PdlError
from pdl_ros.training.recipes import load_recipe
from pdl_ros.training.settings import TrainSettings
from pdl_ros.training.state import differences

from .drawn import RUN, SETTINGS, Drawn, at_rate, log_of, train_elsewhere, trainer_in


@pytest.fixture(autouse=True)
def one_thread():
    """Sums of several threads may be rounded otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='module')
def whole(tmp_path_factory) -> Path:
    """The folder of a training of four steps in one go."""
    folder = tmp_path_factory.mktemp('whole')
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    trainer_in(folder).run(quiet=True)
    torch.set_num_threads(threads)
    return folder


def test_a_training_killed_in_the_midst_of_a_step_ends_with_the_losses_of_one_that_was_not(
    whole, tmp_path, caplog
):
    # Three reads tell the data apart, two are a step: within the fourth, two steps after a state.
    killed = train_elsewhere(tmp_path, '--die-at-read', 3 + 2 * 3 + 1)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(log_of(tmp_path)) == 3
    with caplog.at_level(logging.INFO, 'pdl_ros'):
        resumed = trainer_in(tmp_path)
    assert f'Going on after step 2 of 4: {tmp_path / "state.pt"}.' in caplog.messages
    resumed.run(quiet=True)
    assert (tmp_path / 'log.csv').read_bytes() == (whole / 'log.csv').read_bytes()
    assert (tmp_path / 'weights.safetensors').read_bytes() == (
        whole / 'weights.safetensors'
    ).read_bytes()


def test_a_training_killed_in_its_first_step_says_that_it_goes_on_from_none(tmp_path, caplog):
    data = Drawn()
    trainer = trainer_in(tmp_path, data)
    data.at_read = lambda count: (_ for _ in ()).throw(InterruptedError)
    with pytest.raises(InterruptedError):
        trainer.run(quiet=True)
    with caplog.at_level(logging.INFO, 'pdl_ros'):
        trainer_in(tmp_path)
    assert any('after step 0 of 4' in said for said in caplog.messages)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_obeyed_after_the_step_and_its_state(whole, tmp_path, number, caplog):
    class TerminatedError(Exception):
        pass

    def terminate(*_):
        raise TerminatedError

    data = Drawn()
    data.at_read = lambda count: os.kill(os.getpid(), number) if count == 3 + 2 + 1 else None
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: terminate}
    # A process that runs tests may have others: an interrupt would end it.
    before = {n: signal.signal(n, handler) for n, handler in handlers.items()}
    try:
        trainer = trainer_in(tmp_path, data)
        ends = KeyboardInterrupt if number == signal.SIGINT else TerminatedError
        with caplog.at_level(logging.INFO, 'pdl_ros'), pytest.raises(ends):
            trainer.run(quiet=True)
        assert {n: signal.getsignal(n) for n in handlers} == handlers
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
    assert caplog.messages[-1] == 'Stopped at step 2; the same command goes on from there.'
    resumed = trainer_in(tmp_path)
    assert resumed.step == 2
    resumed.run(quiet=True)
    assert log_of(tmp_path) == log_of(whole)


def test_a_state_is_written_by_time_where_steps_are_slow(tmp_path):
    trainer = trainer_in(tmp_path, run=replace(RUN, save_steps=1000, save_seconds=1e-6))
    saved, save = [], trainer.save_state
    trainer.save_state = lambda: (saved.append(trainer.step), save())
    trainer.run(until=3, quiet=True)
    assert saved == [0, 1, 2, 3]


def test_more_steps_are_a_longer_training_and_said_in_the_log_and_the_recipe(
    whole, tmp_path, caplog
):
    for name in ('state.pt', 'recipe.yaml'):
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    with caplog.at_level(logging.INFO, 'pdl_ros'):
        longer = trainer_in(tmp_path, steps=6)
    assert any('after step 4 of 6 (it was to have 4)' in said for said in caplog.messages)
    longer.run(quiet=True)
    assert longer.step == 6
    assert load_recipe(tmp_path / 'recipe.yaml') == replace(SETTINGS, steps=6)


@pytest.mark.parametrize(
    ('changes', 'says'),
    [
        ({'steps': 3}, r'steps 4 \(now 3\)'),
        ({'batch_size': 3}, r'batch_size 2 \(now 3\)'),
        ({'optimizer': at_rate(1e-4)}, r'optimizer\.lr 0\.003 \(now 0\.0001\)'),
        ({'dataset': Drawn(cars=1)}, r'data of 3 images \(\w{8}\) \(now data of 3 images'),
    ],
    ids=['fewer steps', 'batch size', 'learning rate', 'data'],
)
def test_another_training_in_the_folder_of_one_is_refused_by_what_differs(
    whole, tmp_path, changes, says
):
    state = (whole / 'state.pt').read_bytes()
    (tmp_path / 'state.pt').write_bytes(state)
    with pytest.raises(PdlError, match=says) as refused:
        trainer_in(tmp_path, **changes)
    assert str(tmp_path / 'state.pt') in str(refused.value)
    assert '\n' not in str(refused.value)
    assert [p.name for p in tmp_path.iterdir()] == ['state.pt']


def test_a_state_of_an_older_version_is_refused_with_a_way_out(tmp_path):
    torch.save({'step': 3, 'variant': 'scene_tiny'}, tmp_path / 'state.pt')
    with pytest.raises(PdlError, match=r'not a training state of this version.*remove it'):
        trainer_in(tmp_path)


def test_a_training_begun_before_recipes_had_railings_goes_on(whole):
    then = torch.load(whole / 'state.pt', weights_only=True)['identity']
    now = copy.deepcopy(then)
    for name in ('railing', 'railing_class'):
        del then['recipe']['augmentation'][name]
    assert differences(then, now) == []
    now['recipe']['augmentation']['railing'] = 0.5
    assert differences(then, now) == ['augmentation.railing 0.0 (now 0.5)']


def test_a_training_goes_on_at_the_size_of_its_variant_only_unless_too_old_to_say(whole):
    now = torch.load(whole / 'state.pt', weights_only=True)['identity']
    then = {**now, 'input': [80, 160]}
    high, wide = now['input']
    assert differences(then, now) == [f'input edges 80 to 160 (now {high} to {wide})']
    del then['input']
    assert differences(then, now) == []


def test_the_recipe_in_the_folder_is_the_whole_one(whole):
    found = load_recipe(whole / 'recipe.yaml')
    assert isinstance(found, TrainSettings)
    assert found == SETTINGS
