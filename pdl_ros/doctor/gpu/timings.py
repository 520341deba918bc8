"""How long frames take beside what was aimed at, on an H100."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pdl_ros.bench import engines, fusion
from pdl_ros.bench.machine import device_name
from pdl_ros.doctor.finding import megabytes
from pdl_ros.doctor.gpu.outcome import PASSED, Outcome, Trial
from pdl_ros.engines.torch_engine import auto_precision
from pdl_ros.pipeline import StageTimes

TARGETS_MS = {
    'cityscapes_mobilenet_v3': 4.0,
    'cityscapes_resnet50': 8.0,
    'cityscapes_xception71': 12.0,
}
"""End to end on an H100, of frames of Cityscapes; the paper pads them to 1025×2049."""
FUSION_TARGET_MS = 1.0
_INSTANCES = 60


def time_variant(trial: Trial, name: str) -> Outcome:
    """Time whole frames of a network with random weights; nothing is passed or failed by it."""
    height, width = (1024, 2048) if trial.on_gpu else trial.size
    frames = 30 if trial.on_gpu else 1
    engine = f'torch {auto_precision(trial.device)}'
    timed = name if trial.on_gpu else trial.weights  # a large network would take seconds
    measured = engines.measure(timed, engine, height, width, frames, str(trial.device))
    fields = (*StageTimes._fields, 'total_ms')
    medians = np.median(np.array(measured['rows']), axis=0).tolist()
    numbers: dict[str, Any] = dict(zip(fields, medians, strict=True))
    overlapped = measured['overlapped']
    numbers |= {'variant': timed, 'engine': engine, 'size': [height, width]}
    numbers['overlapped_per_s'] = overlapped
    says = (
        f'{numbers["total_ms"]:.1f} ms a frame of {height}×{width} by {timed} in {engine} (network '
        f'{numbers["network_ms"]:.1f}, fusion {numbers["fusion_ms"]:.1f}), {overlapped:.1f} a '
        f'second overlapped'
    )
    if trial.on_gpu:
        numbers['peak_bytes'] = torch.cuda.max_memory_allocated(trial.device)
        says += f', {megabytes(numbers["peak_bytes"])}'
    return _beside(trial, says, numbers, TARGETS_MS[name])


def time_fusion(trial: Trial) -> Outcome:
    """Time the fusion alone."""
    size, repeats = ((1024, 2048), 20) if trial.on_gpu else ((64, 128), 1)
    cases = fusion.measure(size, 'fuse', repeats, str(trial.device), (_INSTANCES,))
    numbers = cases[0]
    says = f'{numbers["median_ms"]:.2f} ms at {size[0]}×{size[1]} with {_INSTANCES} instances'
    return _beside(trial, says, numbers, FUSION_TARGET_MS)


def _beside(trial: Trial, says: str, numbers: dict[str, Any], target: float) -> Outcome:
    name = device_name(str(trial.device))
    numbers |= {'target_ms': target, 'target_on': 'H100', 'device': name}
    beside = f'target: {target:g} ms on an H100' if trial.on_gpu else 'beside no target'
    return Outcome(PASSED, f'{says}, on {name} ({beside})', numbers)
