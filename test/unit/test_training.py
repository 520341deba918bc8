"""A training learns, and one that was stopped goes on as if it had not been."""

from __future__ import annotations

import errno
import math
from dataclasses import replace

import pytest
import torch

from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelSet
from pdl_ros.network import checkpoints
from pdl_ros.network.variants import get_variant
from pdl_ros.training.settings import OptimizerSettings, RunSettings
from pdl_ros.training.trainer import Trainer

from .drawn import (
    RUN,
    SCENE,
    SETTINGS,
    VARIANT,
    Drawn,
    at_rate,
    log_of,
    train_elsewhere,
    trainer_in,
)


def assert_equal_weights(a: Trainer, b: Trainer) -> None:
    for one, other in ((a.network, b.network), (a.learner.average, b.learner.average)):
        expected = other.state_dict()
        for key, value in one.state_dict().items():
            assert torch.equal(value, expected[key]), key


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory) -> Trainer:
    """A training of four steps in one go."""
    trainer = trainer_in(tmp_path_factory.mktemp('uninterrupted'))
    trainer.run(quiet=True)
    return trainer


# --- learning -----------------------------------------------------------------------------------


def test_the_loss_falls_on_three_drawn_streets(tmp_path):
    trainer = trainer_in(tmp_path, steps=16)
    trainer.run(quiet=True)
    rows = log_of(tmp_path)
    for name in ('semantic', 'center'):
        first, last = (sum(row[name] for row in part) for part in (rows[:3], rows[-3:]))
        assert last < 0.7 * first, name


def test_every_image_is_seen_once_before_any_is_seen_twice(tmp_path):
    dataset = Drawn()
    trainer = trainer_in(tmp_path, dataset, steps=3)
    dataset.read.clear()  # what told the data apart
    trainer.run(quiet=True)
    assert [sorted(dataset.read[i : i + 3]) for i in (0, 3)] == [[0, 1, 2]] * 2


def test_the_learning_rate_warms_up_and_then_falls_to_zero():
    factors = [OptimizerSettings(warmup_steps=10).factor(step, 100) for step in range(101)]
    assert factors[0] == pytest.approx(1e-3)
    assert factors[5] == pytest.approx((1e-3 + 0.999 * 0.5) * 0.95**0.9)
    assert factors[10] == 0.9**0.9
    assert factors[100] == 0
    assert all(a > b for a, b in zip(factors[10:], factors[11:], strict=False))
    assert OptimizerSettings().factor(0, 100) == 1  # no warm-up


def test_a_process_that_prepares_crops_changes_nothing_but_the_time(tmp_path):
    """In processes of their own, as `pdl_ros train` is: the one for the crops is forked."""
    folders = [tmp_path / f'{workers}' for workers in (0, 1)]
    for workers, folder in enumerate(folders):
        done = train_elsewhere(folder, '--workers', workers)
        assert done.returncode == 0, done.stderr
    assert log_of(folders[1]) == log_of(folders[0])


def test_crops_divided_over_two_passes_are_one_step_of_both(tmp_path):
    # Without BatchNorm's own view of a pass the gradient is the mean of both, but for rounding.
    changes = {'freeze_norm': True, 'losses': replace(SETTINGS.losses, top_of='sample', center=0.0,
                                                      offset=0.0)}  # fmt: skip
    whole = trainer_in(tmp_path / 'whole', optimizer=at_rate(1e-3, name='adam'), **changes)
    halves = trainer_in(
        tmp_path / 'halves', optimizer=at_rate(1e-3, name='adam', accumulate=2), **changes
    )
    for trainer in (whole, halves):
        trainer.run(until=2, quiet=True)
    rows = [log_of(trainer.folder) for trainer in (whole, halves)]
    assert [r['semantic'] for r in rows[0]] == pytest.approx([r['semantic'] for r in rows[1]], 1e-4)


def test_a_gradient_is_cut_to_the_length_asked_for(tmp_path):
    trainer = trainer_in(tmp_path, optimizer=at_rate(1e-3, clip=0.01))
    trainer.run(until=1, quiet=True)
    gradients = [p.grad for p in trainer.network.parameters() if p.grad is not None]
    length = torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients]))
    assert float(length) == pytest.approx(0.01, rel=1e-3)


def test_what_a_recipe_freezes_stays_as_it_was(tmp_path):
    trainer = trainer_in(tmp_path, freeze=('backbone',))
    before = {key: value.clone() for key, value in trainer.network.state_dict().items()}
    trainer.run(until=2, quiet=True)
    for key, value in trainer.network.state_dict().items():
        same = torch.equal(value, before[key])
        assert same == key.startswith('backbone.') or key.endswith('num_batches_tracked'), key


def test_bf16_trains_weights_that_stay_fp32_and_lie_near_those_of_fp32(uninterrupted, tmp_path):
    trainer = trainer_in(tmp_path, precision='bf16')
    trainer.run(quiet=True)
    assert {p.dtype for p in trainer.network.parameters()} == {torch.float32}
    for row, exact in zip(log_of(tmp_path), log_of(uninterrupted.folder), strict=True):
        assert row['semantic'] != exact['semantic']
        assert row['semantic'] == pytest.approx(exact['semantic'], rel=0.1)


# --- stopping and going on ----------------------------------------------------------------------


def test_a_training_that_was_stopped_ends_with_the_weights_of_one_that_was_not(
    uninterrupted, tmp_path
):
    trainer_in(tmp_path).run(until=2, quiet=True)
    torch.rand(7)  # whatever else a program draws in between
    resumed = trainer_in(tmp_path)
    assert resumed.step == 2
    resumed.run(quiet=True)
    assert resumed.step == 4
    assert_equal_weights(resumed, uninterrupted)
    assert log_of(tmp_path) == log_of(uninterrupted.folder)


def test_the_log_has_one_row_a_step_also_after_steps_lost_in_a_crash(tmp_path):
    trainer = trainer_in(tmp_path, run=replace(RUN, save_steps=2))
    saved = trainer.save_state
    trainer.save_state = lambda: saved() if trainer.step == 2 else None
    trainer.run(until=3, quiet=True)  # logged, but only step 2 is saved
    resumed = trainer_in(tmp_path)
    assert resumed.step == 2
    resumed.run(quiet=True)
    rows = log_of(tmp_path)
    assert [row['step'] for row in rows] == [1, 2, 3, 4]
    assert list(rows[0]) == ['step', 'lr', 'semantic', 'center', 'offset']
    assert all(math.isfinite(value) for row in rows for value in row.values())


@pytest.mark.parametrize(
    ('crash', 'seen'),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(errno.ENOSPC, 'No space left on device'), PdlError),
    ],
    ids=['interrupted', 'full disk'],
)
def test_a_crash_while_the_state_is_written_loses_no_training(tmp_path, monkeypatch, crash, seen):
    trainer = trainer_in(tmp_path)
    trainer.run(until=1, quiet=True)

    def die_half_way(state, file):
        file.write(b'half a state')
        raise crash

    monkeypatch.setattr(torch, 'save', die_half_way)
    with pytest.raises(seen):
        trainer.run(until=2, quiet=True)
    monkeypatch.undo()
    assert not list(tmp_path.glob('*.part'))
    with (tmp_path / 'log.csv').open('ab') as log:
        log.write(b'2,0.1' + bytes(512))  # a power failure
    resumed = trainer_in(tmp_path)
    assert resumed.step == 1
    resumed.run(until=2, quiet=True)
    assert trainer_in(tmp_path).step == 2


def test_running_to_a_step_that_is_reached_already_changes_nothing(uninterrupted, tmp_path):
    trainer = trainer_in(tmp_path)
    trainer.run(until=2, quiet=True)
    before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    for until in (2, 1, 0):
        trainer.run(until=until, quiet=True)
        assert trainer.step == 2
    for key, value in trainer.network.state_dict().items():
        assert torch.equal(value, before[key])


# --- what is saved --------------------------------------------------------------------------------


def test_the_averaged_weights_are_saved_and_load_as_a_checkpoint(uninterrupted, tmp_path):
    path = uninterrupted.save_weights({'note': 'drawn'}, tmp_path / 'w.safetensors')
    network, variant = checkpoints.load(path, 'scene_tiny')
    checkpoint = checkpoints.read(path)
    header, tensors = checkpoint.header, checkpoint.tensors
    assert variant == get_variant('scene_tiny')
    assert header['note'] == 'drawn'
    assert header['training'] == {'steps': 4, 'batch_size': 2, 'crop': [64, 96]}
    assert not [key for key in tensors if key.startswith(('module.', 'n_averaged'))]
    average, last = uninterrupted.averaged_network.state_dict(), uninterrupted.network.state_dict()
    loaded = network.state_dict()
    key = 'semantic_head.predictor.weight'
    assert torch.equal(loaded[key], average[key].half().float())
    assert not torch.allclose(loaded[key], last[key], rtol=1e-2)


def test_the_average_is_the_exponential_one_of_the_steps(tmp_path):
    trainer, weights = trainer_in(tmp_path, ema_decay=0.75), []
    update = trainer.learner.average.update_parameters

    def spy(network):
        weights.append(network.semantic_head.predictor.bias.detach().clone())
        update(network)

    trainer.learner.average.update_parameters = spy
    trainer.run(until=3, quiet=True)
    expected = weights[0]
    for value in weights[1:]:
        expected = 0.75 * expected + 0.25 * value
    torch.testing.assert_close(trainer.averaged_network.semantic_head.predictor.bias, expected)


def test_without_averaging_the_last_weights_are_saved(tmp_path):
    trainer = trainer_in(tmp_path, ema_decay=0.0)
    trainer.run(until=2, quiet=True)
    last = trainer.network.state_dict()
    for key, value in trainer.averaged_network.state_dict().items():
        assert torch.equal(value, last[key]), key


# --- what a user can get wrong ------------------------------------------------------------------


def assert_refused(says: str, call) -> None:
    with pytest.raises(PdlError, match=says) as error:
        call()
    assert '\n' not in str(error.value)


def test_data_of_another_label_set_is_refused_before_anything_is_written(tmp_path):
    data = Drawn(LabelSet.load('camvid'))
    folder = tmp_path / 'run'
    assert_refused("label set 'scene', the data 'camvid'", lambda: trainer_in(folder, data))
    assert not folder.exists()


def test_a_folder_of_another_variant_is_refused_and_left_alone(uninterrupted, tmp_path):
    other = replace(VARIANT, name='other')
    state = (uninterrupted.folder / 'state.pt').read_bytes()
    (tmp_path / 'state.pt').write_bytes(state)
    assert_refused(r'variant scene_tiny \(now other\)',
                   lambda: trainer_in(tmp_path, variant=other))  # fmt: skip
    assert (tmp_path / 'state.pt').read_bytes() == state


def test_a_folder_of_the_same_variant_with_other_classes_is_refused(uninterrupted, tmp_path):
    (tmp_path / 'state.pt').write_bytes((uninterrupted.folder / 'state.pt').read_bytes())
    fewer = replace(SCENE, name='mine', classes=SCENE.classes[:6])
    own = replace(VARIANT, label_set=fewer)
    assert_refused(r'state\.pt', lambda: trainer_in(tmp_path, Drawn(fewer), own))


@pytest.mark.parametrize('content', [b'', b'no state at all'])
def test_a_damaged_state_is_refused_by_name(tmp_path, content):
    (tmp_path / 'state.pt').write_bytes(content)
    assert_refused(r'state\.pt', lambda: trainer_in(tmp_path))


def test_fp16_without_a_gpu_and_crops_that_cannot_be_divided_are_refused(tmp_path):
    assert_refused('fp16 needs a GPU', lambda: trainer_in(tmp_path, precision='fp16'))
    optimizer = at_rate(1e-3, accumulate=3)
    assert_refused('multiple of 3', lambda: trainer_in(tmp_path, optimizer=optimizer))
    assert_refused("freeze names 'encoder'", lambda: trainer_in(tmp_path, freeze=('encoder',)))
    assert not list(tmp_path.iterdir())


def test_a_training_that_diverges_stops_with_the_step_and_a_way_out(tmp_path):
    trainer = trainer_in(tmp_path, optimizer=at_rate(1e30, warmup_steps=0))
    assert_refused('not finite at step [123]; lower the learning rate', trainer.run)
    assert all(math.isfinite(row['semantic']) for row in log_of(tmp_path))


@pytest.mark.parametrize('device', ['gpu9', 'cuda:99', 'tpu of mine'])
def test_an_unknown_device_is_refused(tmp_path, device):
    assert_refused('evice', lambda: trainer_in(tmp_path, run=RunSettings(device=device)))


@pytest.mark.parametrize(
    ('kind', 'wrong'),
    [
        (SETTINGS, {'steps': 0}),
        (SETTINGS, {'batch_size': 0}),
        (SETTINGS, {'ema_decay': 1.5}),
        (SETTINGS, {'precision': 'fp8'}),
        (SETTINGS.optimizer, {'name': 'magic'}),
        (SETTINGS.optimizer, {'lr': -1.0}),
        (SETTINGS.optimizer, {'lr': math.inf}),
        (SETTINGS.optimizer, {'weight_decay': math.nan}),
        (SETTINGS.optimizer, {'accumulate': 0}),
        (SETTINGS.losses, {'center': -1.0}),
        (SETTINGS.losses, {'top_fraction': 0.0}),
        (SETTINGS.losses, {'top_of': 'world'}),
        (SETTINGS.augmentation, {'scale_choices': (1.0, 0.0)}),
        (RUN, {'save_steps': 0}),
        (RUN, {'save_seconds': 0.0}),
        (RUN, {'workers': -1}),
        (RUN, {'devices': 0}),
        (RUN, {'patience': 3}),
    ],
    ids=str,
)
def test_a_wrong_setting_is_refused_where_it_is_made_by_its_name(kind, wrong):
    assert_refused(next(iter(wrong)), lambda: replace(kind, **wrong))
