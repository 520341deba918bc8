"""What a file of weights is, in lines for a person."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from pdl_ros.errors import PdlError
from pdl_ros.network import checkpoints
from pdl_ros.network.cost import multiply_adds, parameter_count
from pdl_ros.network.formats import open_weights
from pdl_ros.network.names import release_of
from pdl_ros.network.weight_files import find_weights
from pdl_ros.preprocessing import padded_size


def describe(file: str) -> Iterator[tuple[str, str]]:
    """Yield (what, value) lines about a file of weights.

    Raises PdlError where the file is none, or no variant or encoder has its parameters.
    """
    path = find_weights(file)
    contents = open_weights(path)
    yield 'file', f'{path}, {path.stat().st_size / 1e6:.1f} MB, {contents.container}'
    kinds = sorted({str(t.dtype).removeprefix('torch.') for t in contents.tensors.values()})
    yield 'tensors', f'{len(contents.tensors)}, {", ".join(kinds)}'
    if contents.inside:
        yield 'found in', '.'.join(contents.inside)
    if contents.skipped:
        yield 'skipped', ', '.join(contents.skipped[:6]) + ' …' * (len(contents.skipped) > 6)
    if release_of(contents.tensors) is None and (name := checkpoints.backbone_in(contents.tensors)):
        yield 'holds', f'the encoder {name}; for `pdl_ros train --backbone-weights`'
        return
    checkpoint = checkpoints.read(path)
    variant = checkpoint.variant
    yield 'names of', checkpoint.release
    yield 'variant', f'{variant.name} ({variant.backbone}, stride {variant.output_stride})'
    things = len(variant.label_set.thing_ids)
    yield 'classes', f'{variant.label_set.num_classes} of {variant.label_set.name}, {things} things'
    network = checkpoints.skeleton(variant)
    yield 'parameters', f'{parameter_count(network):,}'
    height, width = padded_size((variant.short_edge, variant.long_edge), variant)
    cost = multiply_adds(network, height, width) / 1e9
    yield 'multiply-adds', f'{cost:.2f} billion at {height}×{width}'
    if checkpoint.ignored:
        yield 'ignored', ', '.join(checkpoint.ignored[:4]) + ' …' * (len(checkpoint.ignored) > 4)
    bad = [key for key, value in checkpoint.tensors.items() if not torch.isfinite(value).all()]
    if bad:
        raise PdlError(f'{path} holds NaN or infinity in {bad[0]}; it cannot be loaded.')
    for name, value in checkpoint.header.items():
        if name not in ('variant', 'label_set'):
            yield name, str(value)
