"""Training in bf16 on a CPU: what is faster in fp32 stays in it, and nothing else changes."""

from __future__ import annotations

import copy

import torch
from torch import nn

from pdl_ros.training.precision import keep_depthwise_wide


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1), nn.Conv2d(4, 4, 1)
    )


def _types(network: nn.Sequential, x: torch.Tensor) -> list[torch.dtype]:
    found = []
    for layer in network:
        layer.register_forward_hook(lambda *args: found.append(args[2].dtype))
    with torch.autocast('cpu', torch.bfloat16):
        network(x)
    return found


def test_only_depthwise_convolutions_stay_wide_under_autocast():
    network = _network()
    keep_depthwise_wide(network)
    wide, narrow = torch.float32, torch.bfloat16
    assert _types(network, torch.randn(1, 3, 8, 8)) == [narrow, wide, narrow, narrow]


def test_weights_of_wide_layers_learn_are_saved_and_are_averaged_as_before():
    network, plain = _network(), _network()
    keep_depthwise_wide(network)
    x = torch.randn(2, 3, 8, 8)
    copied = copy.deepcopy(network)  # what the running average of the weights is
    for one in (network, plain, copied):
        one(x).square().mean().backward()
    assert network.state_dict().keys() == plain.state_dict().keys()
    for (name, a), b, c in zip(
        network.named_parameters(), plain.parameters(), copied.parameters(), strict=True
    ):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
        torch.testing.assert_close(a.grad, c.grad, msg=name)
