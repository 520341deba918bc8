"""Two processes learn what one learns from the same crops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from .drawn import log_of, train_elsewhere, trainer_in


def state_of(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder / 'state.pt', weights_only=True)
    return state


def test_two_processes_give_the_result_of_one_at_the_same_batch(tmp_path):
    # Of a batch of two crops each process has one. In fp64, because fresh BatchNorms over few
    # pixels make of rounding to fp32 a hundredth of a gradient.
    done = train_elsewhere(tmp_path / 'two', '--devices', 2, '--until', 1, '--precision', 'fp64')
    assert done.returncode == 0, done.stderr
    trainer_in(tmp_path / 'one', precision='fp64').run(until=1, quiet=True)
    assert log_of(tmp_path / 'two')[0] == pytest.approx(log_of(tmp_path / 'one')[0], rel=1e-5)
    two, one = (state_of(tmp_path / name) for name in ('two', 'one'))
    pairs = [  # BatchNorm saw both crops
        (key, two['network'][key], value)
        for key, value in one['network'].items()
        if 'running_' in key
    ]
    pairs += [  # the hardest pixels, and those that a mean is over, are those of both crops
        (f'gradient {number}', two['optimizer']['state'][number]['exp_avg'], moments['exp_avg'])
        for number, moments in one['optimizer']['state'].items()
    ]
    errors = {key: float((a - b).norm() / (b.norm() + 1e-6)) for key, a, b in pairs}
    assert max(errors.values()) < 1e-3, max(errors.items(), key=lambda item: item[1])
    assert max(float(b.norm()) for key, _, b in pairs if key.startswith('gradient')) > 0.1
