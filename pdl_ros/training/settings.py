"""What a training is made of: its recipe, and how it runs on a machine."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from pdl_ros.errors import require
from pdl_ros.labels import LabelSet

PRECISIONS = ('fp32', 'bf16', 'fp16', 'fp64')
"""What the forward pass computes in; weights and losses are fp32 but for fp64, which is there to
tell rounding from faults."""
OPTIMIZERS = ('adam', 'adamw')


@dataclass(frozen=True)
class AugmentationSettings:
    """crop: (height, width) of what the network sees. scales: range of the random scale factor, of
    a picture that has the size at which inference would give it to the network
    (`preprocessing.network_size`). scale_choices: factors to choose from instead of a range.

    color: strength of random brightness, contrast and saturation, 0 (the paper's choice) to 1.
    paste: probability that things of another picture are put into a crop (`paste_things`).
    paste_rare: names of things, such as rider, of which more are pasted than chance would bring.
    camera: probability that a crop looks as another camera would have taken it (`other_camera`).
    railing: probability that a railing, of the class `railing_class`, is drawn in front of a crop
    (`draw_railing`).
    """

    crop: tuple[int, int]
    scales: tuple[float, float] = (0.5, 2.0)
    scale_choices: tuple[float, ...] = ()
    flip: bool = True
    color: float = 0.0
    paste: float = 0.0
    paste_rare: tuple[str, ...] = ()
    camera: float = 0.0
    railing: float = 0.0
    railing_class: str = 'fence'

    def __post_init__(self) -> None:
        require(min(self.crop) >= 32, f'crop is {self.crop}; it must be at least 32x32.')
        require(
            0 < self.scales[0] <= self.scales[1] < math.inf,
            f'scales is {self.scales}; both must be positive and in ascending order.',
        )
        require(
            all(0 < scale < math.inf for scale in self.scale_choices),
            f'scale_choices is {self.scale_choices}; all must be positive.',
        )
        for name in ('color', 'paste', 'camera', 'railing'):
            value = getattr(self, name)
            require(0 <= value <= 1, f'{name} is {value}; it must be from 0 to 1.')


def railing_class(settings: AugmentationSettings, label_set: LabelSet) -> int:
    """Return the train id of a railing. Raises PdlError where the label set has no such stuff."""
    stuff = {c.name: i for i, c in enumerate(label_set.classes) if not c.is_thing}
    name = settings.railing_class
    require(
        name in stuff, f'railing_class is {name!r}; the classes of stuff are {", ".join(stuff)}.'
    )
    return stuff[name]


def require_known(
    key: str, names: Iterable[str], known: Iterable[str], what: str = 'classes'
) -> None:
    """Raise PdlError where one of the names that a recipe gives is not among the known `what`."""
    known = tuple(known)
    for name in names:
        require(name in known, f'{key} names {name!r}; the {what} are {", ".join(known)}.')


@dataclass(frozen=True)
class LossSettings:
    """The paper's weights, and the share of hardest pixels that the bootstrapped cross entropy
    keeps: of the batch, over all devices, as the PyTorch releases do, or of each sample, as
    deeplab2 does (`top_of`).
    """

    semantic: float = 1.0
    center: float = 200.0
    offset: float = 0.01
    top_fraction: float = 0.2
    top_of: str = 'batch'

    def __post_init__(self) -> None:
        for name in ('semantic', 'center', 'offset'):
            _require_least(self, name, 0)
        require(
            0 < self.top_fraction <= 1,
            f'top_fraction is {self.top_fraction}; it must be above 0 and at most 1.',
        )
        _require_choice('top_of', self.top_of, ('batch', 'sample'))


@dataclass(frozen=True)
class TargetSettings:
    """sigma: of the centre Gaussian, in pixels. Instances below `small_area` pixels weigh
    `small_weight` in the semantic loss (DeeperLab's rule: 64×64, weight 3).

    rare_classes: names of classes, such as pole, each pixel of which weighs `rare_weight` in the
    semantic loss; they are too few and too thin to be learnt from a small share of hard pixels.

    ignore_crowd_in_center: crowds have no centre. Published code draws one where all of a crowd has
    its mass centre, which may be on the road between two groups, where it is learnt.
    ignore_crowd_in_semantic: crowds are void in the semantic loss too, as deeplab2 has it.
    ignore_stuff_in_offset: the offset loss is on things only; else stuff is taught an offset of 0.
    The last two as published code names them; the defaults are detectron2's.
    """

    sigma: float = 8.0
    small_area: int = 4096
    small_weight: int = 3
    rare_classes: tuple[str, ...] = ()
    rare_weight: int = 3
    ignore_crowd_in_center: bool = False
    ignore_crowd_in_semantic: bool = False
    ignore_stuff_in_offset: bool = True

    def __post_init__(self) -> None:
        require(0 < self.sigma < 1000, f'sigma is {self.sigma}; it must be positive, below 1000.')
        require(self.small_area >= 0, f'small_area is {self.small_area}; it must not be negative.')
        for name in ('small_weight', 'rare_weight'):
            value = getattr(self, name)
            require(1 <= value <= 255, f'{name} is {value}; 1 to 255 fit.')


@dataclass(frozen=True)
class OptimizerSettings:
    """name: one of `OPTIMIZERS`. lr: the highest learning rate. It rises over `warmup_steps` from
    `warmup_factor` of it, and falls by (1 - step/steps)^power to 0.

    clip: the longest that the gradient of all weights together may be, 0 = as it comes. accumulate:
    passes that a step's crops are divided over, where they do not fit into memory at once;
    BatchNorm and bootstrapping then see those of one pass.
    """

    name: str = 'adam'
    lr: float = 1e-3
    weight_decay: float = 0.0
    warmup_steps: int = 0
    warmup_factor: float = 1e-3
    power: float = 0.9
    clip: float = 0.0
    accumulate: int = 1

    def __post_init__(self) -> None:
        _require_choice('name', self.name, OPTIMIZERS)
        require(0 < self.lr < math.inf, f'lr is {self.lr}; it must be positive.')
        for name in ('weight_decay', 'warmup_steps', 'power', 'clip'):
            _require_least(self, name, 0)
        _require_least(self, 'accumulate', 1)
        require(
            0 < self.warmup_factor <= 1,
            f'warmup_factor is {self.warmup_factor}; it must be above 0 and at most 1.',
        )

    def factor(self, step: int, steps: int) -> float:
        """Return the learning rate of a step as a share of `lr` (paper, section 4.1)."""
        warmup, low = self.warmup_steps, self.warmup_factor
        warm = 1.0 if step >= warmup else low + (1 - low) * step / warmup
        return float(warm * (1 - min(step, steps) / steps) ** self.power)


@dataclass(frozen=True)
class TrainSettings:
    """A recipe: all that the weights at the end depend on, beside the data and the start.

    steps: optimiser steps in all. batch_size: crops of a step, on all devices together. ema_decay:
    of the running average of the weights, which is what is saved and scored; 0 = no averaging.
    freeze: parts of the network that stay as they are, such as backbone. freeze_norm: BatchNorm
    keeps its statistics and factors everywhere. precision: one of `PRECISIONS`.
    """

    augmentation: AugmentationSettings
    steps: int
    batch_size: int = 8
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    losses: LossSettings = field(default_factory=LossSettings)
    targets: TargetSettings = field(default_factory=TargetSettings)
    ema_decay: float = 0.99
    freeze: tuple[str, ...] = ()
    freeze_norm: bool = False
    precision: str = 'fp32'
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in {'steps': 1, 'batch_size': 1, 'seed': 0}.items():
            _require_least(self, name, least)
        require(
            0 <= self.ema_decay < 1,
            f'ema_decay is {self.ema_decay}; it must be at least 0 and less than 1.',
        )
        _require_choice('precision', self.precision, PRECISIONS)


@dataclass(frozen=True)
class RunSettings:
    """How a training runs; nothing of it changes the weights, but for rounding.

    device: auto, cpu, cuda or cuda:N. devices: processes a machine, one a GPU or a part of the CPU;
    nodes: machines. workers: processes a device that prepare crops, None: as many as there are
    cores to spare. save_steps, save_seconds: the state is written after so many steps or seconds,
    whatever comes first. evaluate_steps: validate after so many steps, 0 = at the end only.
    patience: stop after so many validations without a better PQ, 0 = never.
    """

    device: str = 'auto'
    devices: int = 1
    nodes: int = 1
    workers: int | None = None
    save_steps: int = 100
    save_seconds: float = 120.0
    evaluate_steps: int = 0
    patience: int = 0

    def __post_init__(self) -> None:
        least = {'devices': 1, 'nodes': 1, 'save_steps': 1, 'evaluate_steps': 0, 'patience': 0}
        for name, value in least.items():
            _require_least(self, name, value)
        require(self.save_seconds > 0, f'save_seconds is {self.save_seconds}; it must be positive.')
        if self.workers is not None:
            _require_least(self, 'workers', 0)
        require(
            self.patience == 0 or self.evaluate_steps > 0,
            'patience counts validations; say with evaluate_steps after how many steps there is '
            'one.',
        )


def _require_least(settings: object, name: str, least: float) -> None:
    value = getattr(settings, name)
    bound = 'must not be negative' if least == 0 else f'must be at least {least}'
    require(least <= value < math.inf, f'{name} is {value}; it {bound}.')


def _require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    require(value in choices, f'{name} is {value!r}; it can be {" or ".join(choices)}.')
