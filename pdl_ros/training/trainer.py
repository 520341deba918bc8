"""The training loop: reproducible, resumable, one log line a step in CSV."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from pdl_ros.datasets import PanopticDataset
from pdl_ros.errors import PdlError
from pdl_ros.network import checkpoints
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import Variant
from pdl_ros.training.augmentation import AugmentationSettings, augment
from pdl_ros.training.losses import LossSettings, panoptic_loss
from pdl_ros.training.targets import TargetSettings, make_targets


@dataclass(frozen=True)
class TrainSettings:
    """What a training run is made of. steps: optimiser steps in all; the learning rate follows the
    poly rule to 0.
    """

    augmentation: AugmentationSettings
    steps: int
    batch_size: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warmup_steps: int = 100
    ema_decay: float = 0.99
    """Decay of the weights' running average, which is what is saved and scored; 0 = no
    averaging.
    """
    seed: int = 0
    checkpoint_every: int = 100
    workers: int = 0
    losses: LossSettings = field(default_factory=LossSettings)
    targets: TargetSettings = field(default_factory=TargetSettings)


def poly_factor(
    step: int, steps: int, warmup: int, power: float = 0.9, warmup_factor: float = 1e-3
) -> float:
    """Learning-rate factor: (1 - step/steps)^power, after a linear warm-up (paper, section 4.1)."""
    warm = 1.0 if step >= warmup else warmup_factor + (1 - warmup_factor) * step / warmup
    return warm * (1 - min(step, steps) / steps) ** power


class Trainer:
    """Train one variant on one data set; state lives in `folder` and a second run goes on where it
    stopped.

    ``folder/state.pt`` is the resumable state, ``folder/log.csv`` the losses of each step,
    ``folder/weights.safetensors`` the averaged weights to use.
    """

    def __init__(
        self,
        variant: Variant,
        dataset: PanopticDataset,
        settings: TrainSettings,
        folder: str | Path,
        backbone_weights: str | Path | None = None,
        device: str = 'auto',
    ) -> None:
        if dataset.label_set != variant.label_set:
            raise PdlError(
                f'Variant {variant.name!r} has label set {variant.label_set.name!r}, the data '
                f'{dataset.label_set.name!r}; they must be the same.'
            )
        torch.manual_seed(settings.seed)
        self.variant, self.settings, self.folder = variant, settings, Path(folder)
        self.dataset = dataset
        self.folder.mkdir(parents=True, exist_ok=True)
        self.fabric = Fabric(accelerator=device, devices=1)
        network = PanopticDeepLab(variant)
        if backbone_weights is not None:
            checkpoints.load_backbone(network.backbone, backbone_weights)
        # Channels-last is what CPU and GPU convolutions are fastest in (measured 1.6 times on
        # AVX-512).
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = AveragedModel(
            network, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay), use_buffers=True
        )
        self.optimizer = torch.optim.AdamW(
            network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: poly_factor(step, settings.steps, settings.warmup_steps)
        )
        self.network, self.optimizer = self.fabric.setup(network, self.optimizer)
        self.average.to(self.fabric.device)
        self.step = 0
        self._resume()

    @property
    def averaged_network(self) -> nn.Module:
        """The network with the averaged weights."""
        return self.average.module

    def run(self, until: int | None = None, quiet: bool = False) -> None:
        """Train to step `until` (default: the end), writing checkpoints on the way."""
        end = min(until or self.settings.steps, self.settings.steps)
        columns = (
            TextColumn('{task.description}'),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with (
            Progress(*columns, disable=quiet) as progress,
            _CsvLog(self.folder / 'log.csv', self.step) as log,
        ):
            task = progress.add_task('training', total=self.settings.steps, completed=self.step)
            self.network.train()
            for batch in self._batches(self.step, end):
                losses = self._train_step(batch)
                self.step += 1
                log.write({'step': self.step, 'lr': self.schedule.get_last_lr()[0], **losses})
                progress.update(
                    task, completed=self.step, description=f'loss {sum(losses.values()):.2f}'
                )
                if self.step % self.settings.checkpoint_every == 0:
                    self.save_state()
        self.save_state()

    def save_state(self) -> None:
        """Write the resumable state; a crash while writing leaves the last good one."""
        state = {
            'step': self.step,
            'network': self.network.state_dict(),
            'average': self.average.state_dict(),
            'optimizer': self.optimizer.state_dict(),
            'schedule': self.schedule.state_dict(),
            'variant': self.variant.name,
        }
        temporary = self.folder / 'state.pt.tmp'
        torch.save(state, temporary)
        os.replace(temporary, self.folder / 'state.pt')

    def save_weights(self, info: dict[str, Any], path: str | Path | None = None) -> Path:
        """Write the averaged weights as a checkpoint for use; `info` goes into its header."""
        path = Path(path or self.folder / 'weights.safetensors')
        header = {
            'training': {
                'steps': self.step,
                'batch_size': self.settings.batch_size,
                'crop': self.settings.augmentation.crop,
            },
            **info,
        }
        checkpoints.save(self.averaged_network, self.variant, path, json.loads(json.dumps(header)))
        return path

    def _train_step(self, batch: dict[str, Tensor]) -> dict[str, float]:
        heads = self.network(batch['image'].contiguous(memory_format=torch.channels_last))
        losses = panoptic_loss(
            heads, batch, self.settings.losses, self.variant.decoder.align_corners
        )
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            raise PdlError(
                f'The loss is not finite at step {self.step}; lower the learning rate '
                f'({self.settings.learning_rate}) or look for damaged images.'
            )
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(total)
        self.optimizer.step()
        self.schedule.step()
        self.average.update_parameters(self.network.module)
        return {name: float(value.detach()) for name, value in losses.items()}

    def _batches(self, start: int, end: int) -> Iterator[dict[str, Tensor]]:
        crops = _Crops(self.dataset, self.variant, self.settings, start, end)
        loader = DataLoader(
            crops,
            self.settings.batch_size,
            num_workers=self.settings.workers,
            pin_memory=self.fabric.device.type == 'cuda',
        )
        for batch in loader:
            yield self.fabric.to_device(batch)

    def _resume(self) -> None:
        path = self.folder / 'state.pt'
        if not path.is_file():
            return
        state = torch.load(path, map_location=self.fabric.device, weights_only=True)
        if state['variant'] != self.variant.name:
            raise PdlError(
                f'{path} is a training of {state["variant"]!r}, not of {self.variant.name!r}; '
                'choose another folder.'
            )
        self.step = state['step']
        self.network.load_state_dict(state['network'])
        self.average.load_state_dict(state['average'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.schedule.load_state_dict(state['schedule'])


class _Crops(Dataset[dict[str, Tensor]]):
    """The crops of steps `start`..`end`, each a function of the seed and its index alone, so a
    resumed run sees exactly what an uninterrupted one would have."""

    def __init__(
        self,
        dataset: PanopticDataset,
        variant: Variant,
        settings: TrainSettings,
        start: int,
        end: int,
    ) -> None:
        self.dataset, self.variant, self.settings = dataset, variant, settings
        self.first, self.count = start * settings.batch_size, (end - start) * settings.batch_size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        index += self.first
        seed = self.settings.seed
        epoch, position = divmod(index, len(self.dataset))
        order = np.random.default_rng((seed, epoch)).permutation(len(self.dataset))
        sample = augment(
            self.dataset[int(order[position])],
            self.settings.augmentation,
            self.variant.mean,
            np.random.default_rng((seed, 1, index)),
        )
        targets = make_targets(
            sample.panoptic, sample.segments, self.dataset.label_set, self.settings.targets
        )
        image = (sample.image.astype(np.float32) - np.float32(self.variant.mean)) / np.float32(
            self.variant.std
        )
        return {
            'image': torch.from_numpy(image.transpose(2, 0, 1)),
            **{name: torch.from_numpy(value) for name, value in targets._asdict().items()},
        }


class _CsvLog:
    """Append rows to a CSV file; rows of steps after `step` (lost with a crash) are cut off
    first.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path, self.step = path, step

    def __enter__(self) -> _CsvLog:
        rows = list(csv.DictReader(self.path.open(newline=''))) if self.path.is_file() else []
        self.file = self.path.open('w', newline='')
        self.writer: csv.DictWriter[str] | None = None
        for row in rows:
            if int(row['step']) <= self.step:
                self.write(row)
        return self

    def write(self, row: dict[str, Any]) -> None:
        if self.writer is None:
            self.writer = csv.DictWriter(self.file, list(row))
            self.writer.writeheader()
        self.writer.writerow({k: f'{v:.6g}' if isinstance(v, float) else v for k, v in row.items()})
        self.file.flush()

    def __exit__(self, *_: object) -> None:
        self.file.close()
