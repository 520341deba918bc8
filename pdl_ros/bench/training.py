"""How many crops a second a training takes, where the time goes, and a plain loop beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pdl_ros.bench.machine import describe, machine_facts, now
from pdl_ros.datasets import PanopticDataset, groups_of
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import Variant
from pdl_ros.preprocessing import network_size
from pdl_ros.training.augmentation import augment
from pdl_ros.training.crops import Crops, load
from pdl_ros.training.learner import Learner
from pdl_ros.training.losses import panoptic_loss
from pdl_ros.training.processes import launch, workers_of
from pdl_ros.training.settings import RunSettings, TrainSettings
from pdl_ros.training.targets import make_targets

Batches = Iterator[list[dict[str, Tensor]]]


def bench_training(
    variant: Variant,
    dataset: PanopticDataset,
    settings: TrainSettings,
    run: RunSettings,
    steps: int,
) -> dict[str, Any]:
    """Time `steps` steps of a recipe, after two to warm up, in turns with as many of a plain loop.

    The plain loop has the same network, crops, losses and optimiser, and nothing else: crops are
    made when they are needed, tensors have PyTorch's own layout, no average is kept. Weights are
    random, which changes no times.
    """
    fabric = launch(settings, run)
    workers = workers_of(run, fabric.device)
    ours = Learner(fabric, PanopticDeepLab(variant), variant, settings, groups_of(dataset))
    crops = Crops(dataset, variant, settings, 0, steps + 2)
    passes = settings.optimizer.accumulate
    pin = fabric.device.type == 'cuda'
    batches = _steps(load(crops, crops.share // passes, workers, pin), passes)
    plain = _PlainLoop(variant, settings, crops, fabric.device)
    rows: list[dict[str, float]] = []
    plain_ms: list[float] = []
    for step in range(steps + 2):
        rows.append(_step(ours, step, batches))
        plain_ms.append(_milliseconds(plain.step, fabric.device))
    split = {name: float(np.median([row[name] for row in rows[2:]])) for name in rows[0]}
    return {
        **machine_facts(str(fabric.device)),
        'variant': variant.name,
        'batch_size': settings.batch_size,
        'crop': list(settings.augmentation.crop),
        'precision': settings.precision,
        'workers': workers,
        'step_ms': split,
        'crops_per_s': 1e3 * settings.batch_size / sum(split.values()),
        'plain_crops_per_s': 1e3 * settings.batch_size / float(np.median(plain_ms[2:])),
        'crop_ms': _crop_parts(dataset, variant, settings),
    }


def print_results(results: dict[str, Any]) -> None:
    """Print where the time of a step and of a crop goes."""
    from rich.console import Console
    from rich.table import Table

    height, width = results['crop']
    table = Table('of a step', 'ms', '%')
    whole = sum(results['step_ms'].values())
    for name, value in results['step_ms'].items():
        table.add_row(name, f'{value:.1f}', f'{100 * value / whole:.0f}')
    parts = Table('of a crop, on one core', 'ms')
    for name, value in results['crop_ms'].items():
        parts.add_row(name, f'{value:.1f}')
    console = Console()
    console.print(table)
    console.print(parts)
    console.print(
        f'{results["variant"]}, {results["precision"]}: {results["batch_size"]} crops of '
        f'{height}×{width} a step, {results["workers"]} workers: {results["crops_per_s"]:.2f} '
        f'crops/s, a plain loop {results["plain_crops_per_s"]:.2f}',
        soft_wrap=True,
    )
    console.print(describe(results), soft_wrap=True)


def _step(learner: Learner, step: int, batches: Batches) -> dict[str, float]:
    """Take one step; return the milliseconds of its parts."""
    device = learner.fabric.device
    times = [now(device)]
    waited = next(batches)
    times.append(now(device))
    on_device = [learner.fabric.to_device(batch) for batch in waited]
    times.append(now(device))
    learner.backward(step, on_device)
    times.append(now(device))
    learner.update(step)
    times.append(now(device))
    names = ('waiting for crops', 'upload', 'forward, losses, backward', 'optimiser, average')
    return {name: 1e3 * (b - a) for name, a, b in zip(names, times, times[1:], strict=False)}


def _steps(batches: Iterator[dict[str, Tensor]], passes: int) -> Batches:
    while True:
        yield [next(batches) for _ in range(passes)]


class _PlainLoop:
    """What a training would be without anything that makes it fast."""

    def __init__(
        self, variant: Variant, settings: TrainSettings, crops: Crops, device: torch.device
    ) -> None:
        self._variant, self._settings, self._device = variant, settings, device
        self._groups = groups_of(crops.dataset)
        self._network = PanopticDeepLab(variant).to(device).train()
        self._optimizer = torch.optim.Adam(self._network.parameters(), settings.optimizer.lr)
        self._batches = iter(DataLoader(crops, settings.batch_size))

    def step(self) -> None:
        batch = {name: value.to(self._device) for name, value in next(self._batches).items()}
        losses = panoptic_loss(
            self._network(batch['image']),
            batch,
            self._settings.losses,
            self._variant.decoder,
            self._groups,
        )
        self._optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        self._optimizer.step()


def _milliseconds(call: Callable[[], object], device: torch.device) -> float:
    began = now(device)
    call()
    return 1e3 * (now(device) - began)


def _crop_parts(
    dataset: PanopticDataset, variant: Variant, settings: TrainSettings, count: int = 20
) -> dict[str, float]:
    """Return the median milliseconds of reading a picture, cutting a crop, and making targets."""
    rng = np.random.default_rng(settings.seed)
    rows = []
    for index in rng.integers(0, len(dataset), count):
        times = [time.perf_counter()]
        sample = dataset[int(index)]
        times.append(time.perf_counter())
        height, width = sample.image.shape[:2]
        size = network_size(height, width, variant)
        crop = augment(sample, settings.augmentation, variant.mean, rng, size)
        times.append(time.perf_counter())
        make_targets(
            crop.panoptic, crop.segments, dataset.label_set, settings.targets, groups_of(dataset)
        )
        times.append(time.perf_counter())
        rows.append(np.diff(times))
    reading, cutting, targets = 1e3 * np.median(rows, axis=0)
    return {'reading': float(reading), 'scale, crop, colour': float(cutting),
            'targets': float(targets)}  # fmt: skip
