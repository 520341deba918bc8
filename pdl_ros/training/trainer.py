"""The training loop: reproducible, resumable, one log line a step in CSV."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from pdl_ros.datasets import PanopticDataset
from pdl_ros.engines import pick_device
from pdl_ros.errors import PdlError
from pdl_ros.network import checkpoints
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import Variant
from pdl_ros.runtime.files import atomic_write, require_writable_folder
from pdl_ros.training.crops import Crops
from pdl_ros.training.log import CsvLog
from pdl_ros.training.losses import panoptic_loss
from pdl_ros.training.settings import TrainSettings, poly_factor


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
        require_writable_folder(self.folder)
        where = pick_device(device)
        devices = [where.index or 0] if where.type == 'cuda' else 1
        self.fabric = Fabric(accelerator=where.type, devices=devices)
        network = PanopticDeepLab(variant)
        if backbone_weights is not None:
            checkpoints.load_backbone(network.backbone, backbone_weights)
        # The layout that CPU and GPU convolutions are written for.
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
        end = self.settings.steps if until is None else min(until, self.settings.steps)
        end = max(end, self.step)
        columns = (
            TextColumn('{task.description}'),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with (
            Progress(*columns, disable=quiet) as progress,
            CsvLog(self.folder / 'log.csv', self.step) as log,
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
            'label_set': self.variant.label_set.to_dict(),
        }
        with atomic_write(self.folder / 'state.pt') as file:
            torch.save(state, file)

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
        # Dropout draws from the step's own seed: a resumed run repeats an uninterrupted one.
        torch.manual_seed(self.settings.seed * 1_000_003 + self.step)
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
        crops = Crops(self.dataset, self.variant, self.settings, start, end)
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
        try:
            state = torch.load(path, map_location=self.fabric.device, weights_only=True)
            name, label_set, self.step = state['variant'], state['label_set'], state['step']
        except Exception as error:
            raise PdlError(
                f'{path} is not a training state ({type(error).__name__}); remove it to start anew.'
            ) from None
        if name != self.variant.name:
            raise PdlError(
                f'{path} is a training of {name!r}, not of {self.variant.name!r}; '
                'choose another folder.'
            )
        if label_set != self.variant.label_set.to_dict():
            raise PdlError(
                f'{path} is a training on other classes than label set '
                f'{self.variant.label_set.name!r} has now; choose another folder.'
            )
        self.network.load_state_dict(state['network'])
        self.average.load_state_dict(state['average'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.schedule.load_state_dict(state['schedule'])
