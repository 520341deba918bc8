"""What a training run is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from pdl_ros.errors import require
from pdl_ros.training.augmentation import AugmentationSettings
from pdl_ros.training.losses import LossSettings
from pdl_ros.training.targets import TargetSettings


@dataclass(frozen=True)
class TrainSettings:
    """steps: optimiser steps in all, over which the learning rate falls to 0. ema_decay: of the
    running average of the weights, which is what is saved and scored; 0 = no averaging. workers:
    processes that prepare crops, 0 = none.
    """

    augmentation: AugmentationSettings
    steps: int
    batch_size: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warmup_steps: int = 100
    ema_decay: float = 0.99
    seed: int = 0
    checkpoint_every: int = 100
    workers: int = 0
    losses: LossSettings = field(default_factory=LossSettings)
    targets: TargetSettings = field(default_factory=TargetSettings)

    def __post_init__(self) -> None:
        for name, least in {
            'steps': 1,
            'batch_size': 1,
            'warmup_steps': 0,
            'seed': 0,
            'checkpoint_every': 1,
            'workers': 0,
        }.items():
            value = getattr(self, name)
            require(value >= least, f'{name} is {value}; it must be at least {least}.')
        require(
            self.learning_rate > 0 and math.isfinite(self.learning_rate),
            f'learning_rate is {self.learning_rate}; it must be positive.',
        )
        require(
            self.weight_decay >= 0 and math.isfinite(self.weight_decay),
            f'weight_decay is {self.weight_decay}; it must not be negative.',
        )
        require(
            0 <= self.ema_decay < 1,
            f'ema_decay is {self.ema_decay}; it must be at least 0 and less than 1.',
        )


def poly_factor(
    step: int, steps: int, warmup: int, power: float = 0.9, warmup_factor: float = 1e-3
) -> float:
    """Learning-rate factor: (1 - step/steps)^power, after a linear warm-up (paper, section 4.1)."""
    warm = 1.0 if step >= warmup else warmup_factor + (1 - warmup_factor) * step / warmup
    return warm * (1 - min(step, steps) / steps) ** power
