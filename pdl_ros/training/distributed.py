"""Several processes that train one network as one process would: sums over a batch that they share,
and BatchNorm over all of it.

Without a process group everything here is what it is for one process.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.nn.functional import all_reduce


def world_size() -> int:
    """Return the number of processes that share a batch."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def summed(values: Tensor) -> Tensor:
    """Return the sum over all processes of a tensor of the same shape in each; no gradient."""
    values = values.detach().clone()
    if world_size() > 1:
        dist.all_reduce(values)
    return values


def gathered(values: Tensor) -> Tensor:
    """Return the values of all processes, flat; no gradient. Each has as many."""
    values = values.detach().flatten().contiguous()
    if world_size() == 1:
        return values
    parts = [torch.empty_like(values) for _ in range(world_size())]
    dist.all_gather(parts, values)
    return torch.cat(parts)


def synchronise_batch_norm(network: nn.Module, device_type: str) -> nn.Module:
    """Return the network with BatchNorms that see the crops of all processes."""
    if world_size() == 1:
        return network
    if device_type == 'cuda':
        synchronised: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return synchronised
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                norm = CpuSyncBatchNorm(child.num_features, child.eps, child.momentum)
                norm.load_state_dict(child.state_dict())
                setattr(parent, name, norm)
    return network


class CpuSyncBatchNorm(nn.BatchNorm2d):
    """BatchNorm over the batches of all processes, (N, C, H, W) of one shape; PyTorch's own runs on
    GPUs only.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        world = world_size()
        mean = all_reduce(x.mean((0, 2, 3))) / world
        centred = x - mean[:, None, None]
        variance = all_reduce(centred.square().mean((0, 2, 3))) / world
        self._remember(mean, variance, world * x.numel() // x.shape[1])
        factor = self.weight * (variance + self.eps).rsqrt()
        return centred * factor[:, None, None] + self.bias[:, None, None]

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.momentum is not None and self.num_batches_tracked is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / max(count - 1, 1)), self.momentum)
        self.num_batches_tracked += 1
