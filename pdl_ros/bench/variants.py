"""Variants beside each other: multiply-adds, parameters, milliseconds, and scores where there are
weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from pdl_ros.bench.engines import in_turns, joined
from pdl_ros.bench.machine import describe, lack_of, machine_facts
from pdl_ros.datasets import PanopticDataset
from pdl_ros.engines import EngineSettings
from pdl_ros.errors import require
from pdl_ros.evaluation.run import evaluate
from pdl_ros.labels import LabelSet
from pdl_ros.network import checkpoints
from pdl_ros.network.cost import multiply_adds_by_part, parameter_count
from pdl_ros.network.variants import VARIANTS, Variant, get_variant
from pdl_ros.network.weight_files import is_shipped
from pdl_ros.pipeline import Segmenter
from pdl_ros.preprocessing import network_size, padded_size

SMALL_MACHINES = tuple(f'camvid_efficientnet_lite0{size}' for size in ('', '_small', '_tiny'))
ENGINES = ('torch fp32', 'openvino fp32', 'torch bf16', 'openvino bf16')
_TIMES = ('network_ms', 'fusion_ms', 'total_ms')


def bench_variants(
    names: list[str],
    height: int,
    width: int,
    frames: int,
    engines: list[str] | None = None,
    dataset: PanopticDataset | None = None,
) -> dict[str, Any]:
    """Count and time variants for frames of a size, each engine in processes of its own, in turns.

    names: of variants, or files of weights. engines: such as 'torch fp32'; None: those of ENGINES
    that this machine has. What has weights is scored on `dataset`, if there is one, in PyTorch and
    fp32; the others run with random ones and fuse a drawn street (`engines.measure`). Raises
    PdlError, before anything is timed, where its label set is not theirs.
    """
    found = {name: variant_of(name) for name in names}
    if dataset is not None:
        _require_classes({n: v for n, v in found.items() if has_weights(n)}, dataset.label_set)
    chosen = [e for e in ENGINES if not lack_of(e)] if engines is None else engines
    pairs = list(itertools.product(names, chosen))
    runs, whys = in_turns(pairs, {}, (height, width, frames, 'cpu'))
    cases = []
    for name, variant in found.items():
        case = {**_cost(variant, height, width), 'weights': name if has_weights(name) else ''}
        case['engines'] = {
            engine: {'why_not': whys[name, engine]}
            if (name, engine) in whys
            else _medians(joined(name, engine, runs[name, engine]))
            for engine in chosen
        }
        if dataset is not None and has_weights(name):
            case.update(_scores(name, dataset))
        cases.append(case)
    return {**machine_facts(), 'size': [height, width], 'cases': cases}


def variant_of(name: str) -> Variant:
    """Return the variant of that name, or of that file of weights."""
    return get_variant(name) if name in VARIANTS else checkpoints.load(name)[1]


def print_results(results: dict[str, Any]) -> None:
    """Print a table of `bench_variants`, one row a variant."""
    from rich.console import Console
    from rich.table import Table

    engines = list(results['cases'][0]['engines'])
    height, width = results['size']
    table = Table(title=f'{height}×{width}, median milliseconds: network (whole frame)')
    for column in ('variant', 'input', 'multiply-adds', 'parameters', *engines, 'PQ', 'mIoU'):
        table.add_column(column)
    console = Console(width=140)
    for case in results['cases']:
        timed = case['engines']
        table.add_row(
            case['variant'],
            '{}×{}'.format(*case['input']),
            f'{case["multiply_adds"] / 1e9:.2f} G',
            f'{case["parameters"] / 1e6:.1f} M',
            *(
                '-' if 'why_not' in t else f'{t["network_ms"]:.1f} ({t["total_ms"]:.1f})'
                for t in timed.values()
            ),
            *(f'{case[score]:.1f}' if score in case else '' for score in ('pq', 'miou')),
        )
    console.print(table)
    for case, engine in itertools.product(results['cases'], engines):
        if reason := case['engines'][engine].get('why_not'):
            console.print(f'{case["variant"]}, {engine}: not timed. {reason}')
    console.print(describe(results))


def has_weights(name: str) -> bool:
    """Tell whether that variant can be scored, or is a file of weights."""
    return name not in VARIANTS or is_shipped(name)


def _require_classes(scored: Mapping[str, Variant], label_set: LabelSet) -> None:
    for name, variant in scored.items():
        require(
            variant.label_set == label_set,
            f'{name} knows label set {variant.label_set.name!r}, the data are in '
            f'{label_set.name!r}; score those of one label set at a time.',
        )


def _cost(variant: Variant, height: int, width: int) -> dict[str, Any]:
    network = checkpoints.skeleton(variant)
    size = padded_size(network_size(height, width, variant), variant)
    parts = multiply_adds_by_part(network, *size)
    return {
        'variant': variant.name,
        'input': list(size),
        'multiply_adds': sum(parts.values()),
        'parts': parts,
        'parameters': parameter_count(network),
    }


def _medians(row: dict[str, Any]) -> dict[str, Any]:
    medians = {name: row[name][0] for name in _TIMES}
    return {**medians, 'frames': row['frames'], 'instruction_set': row['instruction_set']}


def _scores(name: str, dataset: PanopticDataset) -> dict[str, float]:
    segmenter = Segmenter.load(name, 'cpu', engine=EngineSettings('torch', 'fp32'))
    scores = evaluate(segmenter, dataset)
    return {'pq': 100 * scores.pq, 'miou': 100 * scores.miou}
