"""What learns: the network with its optimiser and its running average, one step at a time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pdl_ros.datasets.groups import Groups
from pdl_ros.errors import PdlError, require
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import Variant
from pdl_ros.runtime.memory import keep_freed_memory
from pdl_ros.training.distributed import summed, synchronise_batch_norm, world_size
from pdl_ros.training.losses import panoptic_loss
from pdl_ros.training.precision import keep_depthwise_wide
from pdl_ros.training.settings import TrainSettings

_OPTIMIZERS = {'adam': torch.optim.Adam, 'adamw': torch.optim.AdamW}


class Learner:
    """A network in training on the device of a Fabric, as a recipe wants it."""

    def __init__(
        self,
        fabric: Fabric,
        network: PanopticDeepLab,
        variant: Variant,
        settings: TrainSettings,
        groups: Groups = (),
    ) -> None:
        self.fabric, self.variant, self.settings = fabric, variant, settings
        self.groups = groups
        # The layout that CPU and GPU convolutions are written for.
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        synchronised = synchronise_batch_norm(network, fabric.device.type)
        synchronised.train()
        _freeze(synchronised, settings)
        if fabric.device.type == 'cpu':
            keep_freed_memory()
            if settings.precision == 'bf16':
                keep_depthwise_wide(synchronised)
        wanted = settings.optimizer
        optimizer = _OPTIMIZERS[wanted.name](
            [p for p in synchronised.parameters() if p.requires_grad],
            wanted.lr,
            weight_decay=wanted.weight_decay,
        )
        self.network, self.optimizer = fabric.setup(synchronised, optimizer)
        self.average = AveragedModel(
            self.network.module,
            multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay),
            use_buffers=True,
        )

    def rate(self, step: int) -> float:
        """Return the learning rate of the step after `step` ones."""
        optimizer = self.settings.optimizer
        return optimizer.lr * optimizer.factor(step, self.settings.steps)

    def train_step(self, step: int, batches: Sequence[dict[str, Tensor]]) -> dict[str, float]:
        """Learn from this process's crops of one step, a batch a pass; return the losses of the
        crops of all processes.
        """
        losses = self.backward(step, batches)
        self.update(step)
        return losses

    def backward(self, step: int, batches: Sequence[dict[str, Tensor]]) -> dict[str, float]:
        """Find the gradient of a step's crops; return their losses."""
        self.optimizer.zero_grad(set_to_none=True)
        passes = len(batches)
        losses = [self._backward(step, i, passes, batch) for i, batch in enumerate(batches)]
        return {name: sum(of[name] for of in losses) / passes for name in losses[0]}

    def update(self, step: int) -> None:
        """Move the weights along the gradient, and their running average with them."""
        for group in self.optimizer.param_groups:
            group['lr'] = self.rate(step)
        clip = self.settings.optimizer.clip
        if clip:
            self.fabric.clip_gradients(
                self.network, self.optimizer, max_norm=clip, error_if_nonfinite=False
            )
        self.optimizer.step()
        self.average.update_parameters(self.network.module)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next steps depend on."""
        return {
            'network': self.network.state_dict(),
            'average': self.average.state_dict(),
            'optimizer': self.optimizer.state_dict(),
            'scaler': self.fabric.strategy.precision.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.network.load_state_dict(state['network'])
        self.average.load_state_dict(state['average'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.fabric.strategy.precision.load_state_dict(state['scaler'])

    def _backward(
        self, step: int, number: int, passes: int, batch: dict[str, Tensor]
    ) -> dict[str, float]:
        """Add the gradient of one pass; return its losses."""
        # Dropout draws from the step's own seed: a resumed run repeats an uninterrupted one.
        part = number * world_size() + self.fabric.global_rank
        torch.manual_seed((self.settings.seed * 1_000_003 + step + (part << 40)) % 2**63)
        last = number == passes - 1
        together = self.fabric.no_backward_sync if world_size() > 1 and not last else nullcontext
        with together(self.network):
            heads = self.network(batch['image'].contiguous(memory_format=torch.channels_last))
            losses = panoptic_loss(
                heads, batch, self.settings.losses, self.variant.decoder, self.groups
            )
            own = torch.stack(list(losses.values()))
            means = summed(own) / world_size()
            if not torch.isfinite(means.sum()):
                raise PdlError(
                    f'The loss is not finite at step {step}; lower the learning rate '
                    f'({self.settings.optimizer.lr}) or look for damaged images.'
                )
            self.fabric.backward(own.sum() / passes)
        return dict(zip(losses, means.tolist(), strict=True))


def _freeze(network: nn.Module, settings: TrainSettings) -> None:
    """Take from the training what the recipe wants to stay as it is."""
    parts = dict(network.named_children())
    for name in settings.freeze:
        require(
            name in parts, f'freeze names {name!r}; the network has the parts {", ".join(parts)}.'
        )
        parts[name].requires_grad_(False)
    require(
        any(p.requires_grad for p in network.parameters()), 'freeze names every part; leave one.'
    )
    everywhere = [network] if settings.freeze_norm else [parts[name] for name in settings.freeze]
    for part in everywhere:
        for module in part.modules():
            if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm):
                module.eval().requires_grad_(False)
