"""The paper's ablations on data of one's own: one choice changed at a time, with several seeds."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from pdl_ros.bench.machine import describe, machine_facts
from pdl_ros.datasets import PanopticDataset
from pdl_ros.engines import EngineSettings
from pdl_ros.evaluation.run import evaluate
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import Variant
from pdl_ros.pipeline import Segmenter
from pdl_ros.runtime.files import write_json
from pdl_ros.training.settings import RunSettings, TrainSettings
from pdl_ros.training.trainer import Trainer

_LOG = logging.getLogger('pdl_ros.bench')
BASE = 'as the recipe'
_SCORES = ('pq', 'pq_things', 'pq_stuff', 'miou')

Row = dict[str, float | None]
"""Scores of a training in percent; None where the data have nothing to score, such as no things."""
Recipe = tuple[Variant, TrainSettings]
Change = Callable[[Variant, TrainSettings], Recipe]


def _decoder(**changes: Any) -> Change:
    return lambda v, s: (replace(v, decoder=replace(v.decoder, **changes)), s)


def _losses(**changes: Any) -> Change:
    return lambda v, s: (v, replace(s, losses=replace(s.losses, **changes)))


def _targets(**changes: Any) -> Change:
    return lambda v, s: (v, replace(s, targets=replace(s.targets, **changes)))


def _half_crop(variant: Variant, settings: TrainSettings) -> Recipe:
    height, width = (max(32, edge // 64 * 32) for edge in settings.augmentation.crop)
    half = replace(settings.augmentation, crop=(height, width))
    return variant, replace(settings, augmentation=half)


ABLATIONS: Mapping[str, Mapping[str, Change]] = {
    'heatmap_loss': {'cross entropy, not squared error': _decoder(center_sigmoid=True)},
    'branches': {
        'one ASPP for both branches': _decoder(shared='aspp'),
        'one decoder for both branches': _decoder(shared='decoder'),
    },
    'bootstrapping': {
        'all pixels': _losses(top_fraction=1.0),
        'hardest fifth of the pixels': _losses(top_fraction=0.2),
    },
    'small_instances': {'small instances weigh 1, not 3': _targets(small_weight=1)},
    'channels': {
        f'{count} channels in the semantic decoder': _decoder(semantic_channels=count)
        for count in (128, 256)
    },
    'crop': {'crop of half the height and width': _half_crop},
}
"""By name: what the paper (tables 3 and 4) varies, and the changes to a recipe that it means. A
change that leaves a recipe as it is stands for the recipe itself, and is not trained twice."""


def bench_ablations(
    names: list[str],
    variant: Variant,
    settings: TrainSettings,
    datasets: tuple[PanopticDataset, PanopticDataset],
    seeds: int,
    folder: Path,
    backbone_weights: Path | None = None,
    device: str = 'cpu',
) -> dict[str, Any]:
    """Train a recipe, and each change of the ablations `names`, with the seeds 0..seeds-1; score
    the averaged weights. datasets: to train on, and to score on.

    Everything is kept in `folder`, so that the same call goes on where one was stopped.
    """
    arms = dict(_arms(names, (variant, settings)))
    rows: dict[str, list[Row]] = {name: [] for name in arms}
    # Seed by seed, so that what is there when it is stopped can be compared.
    for seed in range(seeds):
        for number, (name, (changed, recipe)) in enumerate(arms.items(), 1):
            _LOG.info('Seed %d, %d of %d: %s.', seed, number, len(arms), name)
            place = folder / f'{name.replace(" ", "_").replace(",", "")}_{seed}'
            rows[name].append(
                _trained(changed, replace(recipe, seed=seed), datasets, place, backbone_weights,
                         device)
            )  # fmt: skip
    return {
        **machine_facts(device),
        'variant': variant.name,
        'steps': settings.steps,
        'batch_size': settings.batch_size,
        'crop': list(settings.augmentation.crop),
        'images': [len(dataset) for dataset in datasets],
        'seeds': seeds,
        'arms': rows,
    }


def print_results(results: dict[str, Any]) -> None:
    """Print a table of `bench_ablations`: mean and spread over the seeds, and what a change makes
    of the recipe's score, seed by seed.
    """
    from rich.console import Console
    from rich.table import Table

    steps, seeds = results['steps'], results['seeds']
    table = Table(title=f'{results["variant"]}, {steps} steps, {seeds} seeds')
    for column in ('change', 'PQ', 'difference', 'PQ things', 'PQ stuff', 'mIoU'):
        table.add_column(column)
    base = _column(results['arms'][BASE], 'pq')
    for name, rows in results['arms'].items():
        pq = _column(rows, 'pq')
        cells = [_spread(_column(rows, score)) for score in _SCORES]
        table.add_row(name, cells[0], '' if name == BASE else _spread(pq - base, '+'), *cells[1:])
    console = Console(width=140)
    console.print(table)
    console.print(f'± is the standard deviation over the seeds. {describe(results)}')


def _arms(names: list[str], base: Recipe) -> Iterator[tuple[str, Recipe]]:
    yield BASE, base
    for ablation in names:
        for name, change in ABLATIONS[ablation].items():
            changed = change(*base)
            if changed != base:
                yield name, changed


def _trained(
    variant: Variant,
    settings: TrainSettings,
    datasets: tuple[PanopticDataset, PanopticDataset],
    folder: Path,
    backbone_weights: Path | None,
    device: str,
) -> Row:
    """Return the scores of a training; of one that is done already, those it had."""
    train, validation = datasets
    trainer = Trainer(
        variant, train, settings, folder, backbone_weights, run=RunSettings(device=device)
    )
    done = folder / 'scores.json'
    if trainer.step == settings.steps and done.is_file():
        kept: Row = json.loads(done.read_text())
        return kept
    trainer.run()
    network = cast(PanopticDeepLab, trainer.averaged_network)
    segmenter = Segmenter(network, variant, device, engine=EngineSettings('torch', 'fp32'))
    scores = evaluate(segmenter, validation, quiet=True).to_dict()
    found = {name: scores[name] for name in _SCORES}
    row = {name: None if score is None else 100 * score for name, score in found.items()}
    write_json(done, row)
    return row


def _column(rows: list[Row], name: str) -> np.ndarray:
    """Return a score of each seed, (seeds,); NaN for None."""
    return np.array([row[name] for row in rows], float)


def _spread(values: np.ndarray, sign: str = '') -> str:
    values = values[~np.isnan(values)]
    if not len(values):
        return '–'
    spread = f' ± {values.std(ddof=1):.1f}' if len(values) > 1 else ''
    return f'{values.mean():{sign}.1f}{spread}'
