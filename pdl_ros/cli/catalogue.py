"""What variants there are, in tables for a person; without PyTorch, so that they come at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pdl_ros.network import variants
from pdl_ros.network.variants import VARIANTS, Variant
from pdl_ros.network.weight_files import is_shipped

COSTS = Path(variants.__file__).with_name('costs.json')
"""Parameters, input and multiply-adds of each variant, as scripts/variant_docs.py counted them."""


def print_variants() -> None:
    """Print the table of all variants, short enough for a terminal of 80 columns."""
    shown = ('variant', 'classes', 'PQ', 'mIoU', 'parameters', 'weights')
    table = Table()
    for name in shown:
        table.add_column(name, no_wrap=name == 'variant')
    for row in _rows(lambda url: f'[link={url}]download[/link]'):
        row['classes'] = row['classes'].split()[-1]  # the name tells of which set
        table.add_row(*(row[name] for name in shown))
    Console().print(table)


def markdown_table() -> str:
    """Return the table of all variants for docs/variants.md."""
    rows = _rows(lambda url: f'[download]({url})')
    lines = [tuple(rows[0]), ('---',) * len(rows[0]), *(tuple(row.values()) for row in rows)]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _rows(link: Callable[[str], str]) -> list[dict[str, str]]:
    costs = json.loads(COSTS.read_text(encoding='utf-8'))
    return [_row(variant, costs[variant.name], link) for variant in VARIANTS.values()]


def _row(variant: Variant, cost: dict[str, Any], link: Callable[[str], str]) -> dict[str, str]:
    """Return what is known of a variant by column."""
    height, width = cost['input']
    scores = {
        name: f'{variant.published[key]:.1f}' if key in variant.published else ''
        for name, key in (('PQ', 'pq'), ('AP', 'ap'), ('mIoU', 'miou'))
    }
    if is_shipped(variant.name):
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
        'parameters': f'{cost["parameters"] / 1e6:.1f} M',
        'multiply-adds': f'{cost["multiply_adds"] / 1e9:.1f} G',
        'weights': source,
    }
