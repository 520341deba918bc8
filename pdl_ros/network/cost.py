"""What a network costs: parameters, and multiply-adds as the paper counts them (table 9)."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from pdl_ros.network.panoptic_deeplab import PanopticDeepLab


def parameter_count(network: PanopticDeepLab) -> int:
    """Count the trained numbers; BatchNorm's running statistics are not among them."""
    return sum(p.numel() for p in network.parameters())


def multiply_adds(network: PanopticDeepLab, height: int, width: int) -> int:
    """Count the multiply-adds of all convolutions for one (height, width) input.

    `network` is a `checkpoints.skeleton`: nothing is computed. The upsampling of the heads to the
    input size and the fusion are not counted.
    """
    return sum(multiply_adds_by_part(network, height, width).values())


def multiply_adds_by_part(network: PanopticDeepLab, height: int, width: int) -> dict[str, int]:
    """Count as `multiply_adds` does, by part: encoder, decoders with their ASPP, heads."""
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        network(torch.empty(1, 3, height, width, device='meta'))
    counted = counter.get_flop_counts()
    root = type(network).__name__
    return {
        name: sum(counted[f'{root}.{name}'].values()) // 2 for name, _ in network.named_children()
    }
