"""Rewrite a network for inference: the same function in fewer and cheaper steps, up to rounding.

A convolution takes in the BatchNorm, the sum with a shortcut and the activation behind it, and the
image pooling, which both branches do on the same features, is done once, as two matrix products.
The network that is trained and saved stays as it is: this works on a copy.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pdl_ros.network.aspp import ASPP
from pdl_ros.network.layers import SamePadConv2d, resize

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    'none': lambda x: x,
    'relu': F.relu,
    'relu6': F.relu6,
    'hardswish': F.hardswish,
}
_NAMES: dict[Any, str] = {
    **{function: name for name, function in ACTIVATIONS.items()},
    **{nn.ReLU: 'relu', nn.ReLU6: 'relu6', nn.Hardswish: 'hardswish'},
}
_NARROW = 32  # channels
_ADDITIONS = (operator.add, torch.add)


class Step(nn.Module):
    """A convolution, the sum with a shortcut where there is one, and an activation.

    `replaces`: the shortcut is not needed afterwards, so that the sum may be written over it.
    `delicate`: narrow, and one of the first steps, or the last one before an output.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.activation = 'none'
        self.replaces = self.delicate = False

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        dtype = self.conv.weight.dtype
        y = self.conv(x.to(dtype))
        return ACTIVATIONS[self.activation](y if shortcut is None else y + shortcut.to(dtype))


def fold(network: nn.Module, dtype: torch.dtype = torch.float32) -> fx.GraphModule:
    """Return a rewritten copy of a network in evaluation mode; its convolutions are all `Step`s.

    `dtype` is that of their weights and results. Beside bfloat16 the delicate steps stay float32:
    they are little work, and most of what bfloat16 does to label maps comes from the first ones.
    """
    network = copy.deepcopy(network).eval().requires_grad_(False)
    graph = _Tracer().trace(network)
    folded = fx.GraphModule(network, graph)
    _pool_once(graph)
    for node in list(graph.nodes):
        if isinstance(_module(node), nn.Identity):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    for node in list(graph.nodes):
        if isinstance(_module(node), nn.Conv2d):
            _gather(folded, node)
    graph.lint()
    folded.delete_all_unused_submodules()
    folded.recompile()
    for step in folded.children():
        if isinstance(step, Step):
            step.to(torch.float32 if step.delicate and dtype == torch.bfloat16 else dtype)
    return folded


def window_mean(x: Tensor, window: tuple[int, int] | None) -> Tensor:
    """Average (N, C, H, W) over every window of that (height, width) inside; None: over all.

    Means over a window are a product with a band matrix for each axis: 2,000 additions an output
    become a matrix product, which is what processors are best at.
    """
    if window is None:
        return F.adaptive_avg_pool2d(x, 1)
    rows, columns = (
        _band(size, min(size, edge), x) for size, edge in zip(x.shape[-2:], window, strict=True)
    )
    n, c, h, w = x.shape
    y = x.permute(0, 2, 3, 1).reshape(n, h, w * c)
    y = (rows @ y).view(-1, w, c)
    y = (columns @ y).view(n, len(rows), len(columns), c)
    area = (h + 1 - len(rows)) * (w + 1 - len(columns))
    return (y / area).permute(0, 3, 1, 2)


def _band(size: int, window: int, like: Tensor) -> Tensor:
    """Return the (size - window + 1, size) matrix that takes sums over `window` neighbours."""
    ones = torch.ones(size - window + 1, size, dtype=like.dtype, device=like.device)
    return ones.triu().tril(window - 1)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, SamePadConv2d) or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> Any:
        if isinstance(m, ASPP):
            # Its pooling looks at sizes, which a trace does not have.
            return _aspp(m, *args)
        return super().call_module(m, forward, args, kwargs)


def _aspp(aspp: ASPP, x: Any) -> Any:
    outputs = [branch(x) for branch in aspp.branches]
    window = aspp.settings.pool_window
    mean = x.tracer.create_proxy('call_function', window_mean, (x, window), {})
    pooled = F.relu(aspp.pool(mean))
    size = x.shape[-2:]
    outputs.append(resize(pooled, size, aspp.settings.align_corners))
    return aspp.project(torch.cat(outputs, 1))


def _pool_once(graph: fx.Graph) -> None:
    first: dict[Any, fx.Node] = {}
    for node in list(graph.nodes):
        if node.target is window_mean:
            kept = first.setdefault(node.args, node)
            if kept is not node:
                node.replace_all_uses_with(kept)
                graph.erase_node(node)


def _gather(folded: fx.GraphModule, node: fx.Node) -> None:
    """Put a `Step` where a convolution and what belongs to it are."""
    graph, order = folded.graph, {n: i for i, n in enumerate(folded.graph.nodes)}
    chain, args = [node], list(node.args)
    conv, follower = _module(node), _only_user(node)
    if isinstance(_module(follower), nn.BatchNorm2d):
        chain.append(follower)
        conv = fuse_conv_bn_eval(conv, _module(follower))
        follower = _only_user(follower)
    step = Step(conv)
    if follower is not None and follower.target in _ADDITIONS:
        other = next((a for a in follower.args if a is not chain[-1]), None)
        # Of two convolutions that are added, the later one adds.
        if isinstance(other, fx.Node) and order[other] < order[node]:
            step.replaces = other.op != 'placeholder' and all(
                order[user] <= order[follower] for user in other.users
            )
            args.append(other)
            chain.append(follower)
            follower = _only_user(follower)
    if name := _activation(follower):
        chain.append(follower)
        step.activation = name
    step.delicate = step.conv.in_channels <= _NARROW and (_is_early(node) or _is_last(node))
    name = f'{node.name}_step'
    folded.add_submodule(name, step)
    with graph.inserting_before(chain[-1]):
        chain[-1].replace_all_uses_with(graph.call_module(name, tuple(args)))
    for replaced in reversed(chain):
        graph.erase_node(replaced)


def _is_early(node: fx.Node) -> bool:
    (source,) = node.all_input_nodes
    return source.op == 'placeholder' or getattr(_module(source), 'delicate', False)


def _is_last(node: fx.Node) -> bool:
    return all(user.op != 'call_module' and _is_last(user) for user in node.users)


def _activation(node: fx.Node | None) -> str | None:
    module = _module(node)
    if module is not None:
        return _NAMES.get(type(module))
    return None if node is None else _NAMES.get(node.target)


def _only_user(node: fx.Node) -> Any:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _module(node: Any) -> Any:
    """Return the module that a node calls; None: it calls none."""
    if node is None or node.op != 'call_module':
        return None
    return node.graph.owning_module.get_submodule(node.target)
