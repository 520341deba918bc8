"""A training learns, and one that was stopped goes on as if it had not been."""

from __future__ import annotations

import csv
import errno
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pdl_ros.datasets import Sample
from pdl_ros.datasets.record import segments_of
from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelSet
from pdl_ros.network import checkpoints
from pdl_ros.network.variants import get_variant
from pdl_ros.training.recipes import RECIPES, imagenet_weights, recipe
from pdl_ros.training.settings import AugmentationSettings, LossSettings, TargetSettings
from pdl_ros.training.trainer import Trainer, TrainSettings, poly_factor

VARIANT = get_variant('scene_tiny')
SCENE = VARIANT.label_set
SETTINGS = TrainSettings(
    AugmentationSettings((64, 96), (0.9, 1.2)),
    steps=4,
    batch_size=2,
    learning_rate=3e-3,
    warmup_steps=1,
    ema_decay=0.5,
    targets=TargetSettings(sigma=4.0),
)


class Drawn:
    """Three drawn streets: sky over road, with a red and a blue car."""

    def __init__(self, label_set: LabelSet = SCENE) -> None:
        self.label_set = label_set
        self.read: list[int] = []

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Sample:
        self.read.append(index)
        panoptic = np.zeros((70, 100), np.int32)
        panoptic[35:] = 4000
        panoptic[30:50, 10 + 8 * index : 35 + 8 * index] = 5001
        panoptic[25:45, 60:90] = 5002
        palette = {0: (90, 160, 230), 4000: (80, 80, 80), 5001: (220, 20, 20), 5002: (20, 20, 220)}
        image = np.zeros((70, 100, 3), np.uint8)
        for value, color in palette.items():
            image[panoptic == value] = color
        return Sample(f'street{index}', image, panoptic, segments_of(panoptic, SCENE))


def trainer_in(folder: Path, dataset=None, variant=VARIANT, device='cpu', **changes) -> Trainer:
    return Trainer(variant, dataset or Drawn(), replace(SETTINGS, **changes), folder, device=device)


def log_of(folder: Path) -> list[dict[str, float]]:
    with (folder / 'log.csv').open(newline='') as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def assert_equal_weights(a: Trainer, b: Trainer) -> None:
    for one, other in ((a.network, b.network), (a.average, b.average)):
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
    trainer = trainer_in(tmp_path, steps=16, checkpoint_every=99)
    trainer.run(quiet=True)
    rows = log_of(tmp_path)
    for name in ('semantic', 'center'):
        first, last = (sum(row[name] for row in part) for part in (rows[:3], rows[-3:]))
        assert last < 0.7 * first, name


def test_every_image_is_seen_once_before_any_is_seen_twice(tmp_path):
    dataset = Drawn()
    trainer_in(tmp_path, dataset, steps=3).run(quiet=True)
    assert [sorted(dataset.read[i : i + 3]) for i in (0, 3)] == [[0, 1, 2]] * 2


def test_the_learning_rate_warms_up_and_then_falls_to_zero():
    factors = [poly_factor(step, 100, 10) for step in range(101)]
    assert factors[0] == pytest.approx(1e-3)
    assert factors[5] == pytest.approx((1e-3 + 0.999 * 0.5) * 0.95**0.9)
    assert factors[10] == 0.9**0.9
    assert factors[100] == 0
    assert all(a > b for a, b in zip(factors[10:], factors[11:], strict=False))
    assert poly_factor(0, 100, 0) == 1  # no warm-up
    assert poly_factor(101, 100, 0) == 0  # one schedule step past the end


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
    trainer = trainer_in(tmp_path, checkpoint_every=2)
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
    assert variant == VARIANT
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
    update = trainer.average.update_parameters

    def spy(network):
        weights.append(network.semantic_head.predictor.bias.detach().clone())
        update(network)

    trainer.average.update_parameters = spy
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
    assert_refused("training of 'scene_tiny', not of 'other'",
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


def test_a_training_that_diverges_stops_with_the_step_and_a_way_out(tmp_path):
    trainer = trainer_in(tmp_path, learning_rate=1e30, warmup_steps=0)
    assert_refused('not finite at step [123]; lower the learning rate', trainer.run)
    assert all(math.isfinite(row['semantic']) for row in log_of(tmp_path))


@pytest.mark.parametrize('device', ['gpu9', 'cuda:99', 'tpu of mine'])
def test_an_unknown_device_is_refused(tmp_path, device):
    assert_refused('evice', lambda: trainer_in(tmp_path, device=device))


@pytest.mark.parametrize(
    'wrong',
    [
        {'steps': 0},
        {'batch_size': 0},
        {'learning_rate': -1.0},
        {'ema_decay': 1.5},
        {'checkpoint_every': 0},
        {'workers': -1},
    ],
    ids=str,
)
def test_a_wrong_train_setting_is_refused_where_it_is_made_by_its_name(wrong):
    assert_refused(next(iter(wrong)), lambda: replace(SETTINGS, **wrong))


@pytest.mark.parametrize('share', [0.0, -0.5])
def test_a_share_of_hardest_pixels_that_is_none_is_refused(share):
    assert_refused('top_fraction', lambda: LossSettings(top_fraction=share))


def test_variants_without_a_recipe_get_one_and_missing_imagenet_weights_are_named():
    assert recipe(VARIANT) == RECIPES['scene_tiny']
    assert recipe(get_variant('cityscapes_resnet50')).steps > 0
    assert_refused('No package carries ImageNet weights of resnet50',
                   lambda: imagenet_weights('resnet50'))  # fmt: skip
