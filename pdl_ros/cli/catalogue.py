"""What variants and files of weights are, in tables and lines for a person."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from rich.console import Console
from rich.table import Table

from pdl_ros.errors import PdlError
from pdl_ros.network import checkpoints
from pdl_ros.network.cost import multiply_adds, parameter_count
from pdl_ros.network.formats import open_weights
from pdl_ros.network.names import release_of
from pdl_ros.network.variants import VARIANTS, Variant
from pdl_ros.preprocessing import padded_size


def print_variants() -> None:
    """Print the table of all variants, short enough for a terminal of 80 columns."""
    shown = ('variant', 'classes', 'PQ', 'mIoU', 'parameters', 'weights')
    table = Table()
    for name in shown:
        table.add_column(name, no_wrap=name == 'variant')
    for variant in VARIANTS.values():
        row = _row(variant, lambda url: f'[link={url}]download[/link]', cost=False)
        row['classes'] = str(variant.label_set.num_classes)  # the name tells of which set
        table.add_row(*(row[name] for name in shown))
    Console().print(table)


def markdown_table() -> str:
    """Return the table of all variants for docs/variants.md."""
    rows = [_row(variant, lambda url: f'[download]({url})') for variant in VARIANTS.values()]
    lines = [tuple(rows[0]), ('---',) * len(rows[0]), *(tuple(row.values()) for row in rows)]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def describe(file: str) -> Iterator[tuple[str, str]]:
    """Yield (what, value) lines about a file of weights.

    Raises PdlError where the file is none, or no variant or encoder has its parameters.
    """
    path = checkpoints.find(file)
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
    height, width = _input(variant)
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


def _row(variant: Variant, link: Callable[[str], str], cost: bool = True) -> dict[str, str]:
    """Return what is known of a variant by column; `cost` takes half a second to count."""
    network = checkpoints.skeleton(variant)
    height, width = _input(variant)
    scores = {
        name: f'{variant.published[key]:.1f}' if key in variant.published else ''
        for name, key in (('PQ', 'pq'), ('AP', 'ap'), ('mIoU', 'miou'))
    }
    counted = f'{multiply_adds(network, height, width) / 1e9:.1f} G' if cost else ''
    if (checkpoints.SHIPPED / f'{variant.name}.safetensors').is_file():
        source = 'shipped'
    elif variant.download:
        source = link(variant.download)
    else:
        source = {'paper': 'TensorFlow only', 'pdl_ros': 'train it'}.get(variant.release, 'none')
    return {
        'variant': variant.name,
        'encoder, stride': f'{variant.backbone}, {variant.output_stride}',
        'classes': f'{variant.label_set.name} {variant.label_set.num_classes}',
        'input': f'{height}×{width}',
        **scores,
        'parameters': f'{parameter_count(network) / 1e6:.1f} M',
        'multiply-adds': counted,
        'weights': source,
    }


def _input(variant: Variant) -> tuple[int, int]:
    """The network's input when an image fills the variant's edges."""
    return padded_size((variant.short_edge, variant.long_edge), variant)
