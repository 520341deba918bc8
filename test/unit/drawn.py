"""Three drawn streets and a recipe of four steps, for tests of the training; as a script, such a
training in a process of its own.
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pdl_ros.datasets import Sample
from pdl_ros.datasets.record import segments_of
from pdl_ros.labels import LabelSet
from pdl_ros.network.variants import get_variant
from pdl_ros.training.settings import (
    AugmentationSettings,
    OptimizerSettings,
    RunSettings,
    TargetSettings,
    TrainSettings,
)
from pdl_ros.training.trainer import Trainer

# The drawn pictures are at the network's scale.
VARIANT = replace(get_variant('scene_tiny'), short_edge=70, long_edge=100)
SCENE = VARIANT.label_set
SETTINGS = TrainSettings(
    AugmentationSettings((64, 96), (0.9, 1.2)),
    steps=4,
    batch_size=2,
    optimizer=OptimizerSettings('adamw', 3e-3, warmup_steps=1),
    ema_decay=0.5,
    targets=TargetSettings(sigma=4.0),
)
RUN = RunSettings(device='cpu', workers=0)


class Drawn:
    """Three drawn streets: sky over road, with a red and a blue car.

    `read` are the indices that were asked for; `at_read` is called with their number.
    """

    def __init__(self, label_set: LabelSet = SCENE, cars: int = 2) -> None:
        self.label_set, self.cars = label_set, cars
        self.read: list[int] = []
        self.at_read = lambda count: None

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Sample:
        self.read.append(index)
        self.at_read(len(self.read))
        panoptic = np.zeros((70, 100), np.int32)
        panoptic[35:] = 4000
        panoptic[30:50, 10 + 8 * index : 35 + 8 * index] = 5001
        if self.cars == 2:
            panoptic[25:45, 60:90] = 5002
        palette = {0: (90, 160, 230), 4000: (80, 80, 80), 5001: (220, 20, 20), 5002: (20, 20, 220)}
        image = np.zeros((70, 100, 3), np.uint8)
        for value, color in palette.items():
            image[panoptic == value] = color
        return Sample(f'street{index}', image, panoptic, segments_of(panoptic, SCENE))


def trainer_in(folder: Path, dataset=None, variant=VARIANT, run=RUN, start=None, validate=None,
               board=None, **changes) -> Trainer:  # fmt: skip
    settings = replace(SETTINGS, **changes)
    return Trainer(variant, dataset or Drawn(), settings, folder, run=run, start=start,
                   validate=validate, board=board)  # fmt: skip


def at_rate(lr: float, **changes) -> OptimizerSettings:
    return replace(SETTINGS.optimizer, lr=lr, **changes)


def log_of(folder: Path, name: str = 'log.csv') -> list[dict[str, float]]:
    with (folder / name).open(newline='') as file:
        return [{k: float(v or 'nan') for k, v in row.items()} for row in csv.DictReader(file)]


def train_elsewhere(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Train in a process of its own, with one thread for PyTorch."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    environment['PYTHONPATH'] = os.pathsep.join([str(root), environment.get('PYTHONPATH', '')])
    command = [sys.executable, __file__, str(folder), *map(str, arguments)]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=200, check=False
    )


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('folder', type=Path)
    parser.add_argument('--die-at-read', type=int)
    parser.add_argument('--devices', type=int, default=1)
    parser.add_argument('--workers', type=int, default=RUN.workers)
    parser.add_argument('--until', type=int)
    parser.add_argument('--precision', default='fp32')
    asked = parser.parse_args()
    torch.set_num_threads(1)
    dataset = Drawn()
    dataset.at_read = lambda count: (
        os.kill(os.getpid(), signal.SIGKILL) if count == asked.die_at_read else None
    )
    run = replace(RUN, devices=asked.devices, workers=asked.workers, save_steps=2)
    trainer_in(asked.folder, dataset, run=run, precision=asked.precision).run(
        asked.until, quiet=True
    )


if __name__ == '__main__':
    _main()
