"""What a training run is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from pdl_ros.errors import require


@dataclass(frozen=True)
class AugmentationSettings:
    """crop: (height, width) of what the network sees. scales: range of the random scale factor.

    color: strength of random brightness, contrast and saturation, 0 (the paper's choice) to 1.
    """

    crop: tuple[int, int]
    scales: tuple[float, float] = (0.5, 2.0)
    flip: bool = True
    color: float = 0.0

    def __post_init__(self) -> None:
        require(min(self.crop) >= 32, f'crop is {self.crop}; it must be at least 32x32.')
        require(
            0 < self.scales[0] <= self.scales[1],
            f'scales is {self.scales}; both must be positive and in ascending order.',
        )
        require(0 <= self.color <= 1, f'color is {self.color}; it must be from 0 to 1.')


@dataclass(frozen=True)
class LossSettings:
    """The paper's weights, and the share of hardest pixels that the bootstrapped cross entropy
    keeps.
    """

    semantic: float = 1.0
    center: float = 200.0
    offset: float = 0.01
    top_fraction: float = 0.2

    def __post_init__(self) -> None:
        require(
            0 < self.top_fraction <= 1,
            f'top_fraction is {self.top_fraction}; it must be above 0 and at most 1.',
        )


@dataclass(frozen=True)
class TargetSettings:
    """sigma: of the centre Gaussian, in pixels. Instances below `small_area` pixels weigh
    `small_weight` in the semantic loss (DeeperLab's rule: 64×64, weight 3).

    ignore_crowd_in_semantic: crowds are void in the semantic loss too, as deeplab2 has it.
    ignore_stuff_in_offset: the offset loss is on things only; else stuff is taught an offset of 0.
    Both as published code names them; the defaults are detectron2's.
    """

    sigma: float = 8.0
    small_area: int = 4096
    small_weight: int = 3
    ignore_crowd_in_semantic: bool = False
    ignore_stuff_in_offset: bool = True

    def __post_init__(self) -> None:
        require(0 < self.sigma < 1000, f'sigma is {self.sigma}; it must be positive, below 1000.')
        require(self.small_area >= 0, f'small_area is {self.small_area}; it must not be negative.')
        require(
            1 <= self.small_weight <= 255, f'small_weight is {self.small_weight}; 1 to 255 fit.'
        )


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
