"""Engines beside plain PyTorch on the CPU, graphs beside single kernels, frames that overlap."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from pdl_ros.bench.streets import street_heads
from pdl_ros.demo.scene import Scene
from pdl_ros.doctor.gpu.fusion_check import difference
from pdl_ros.doctor.gpu.outcome import Outcome, Trial, judged, only_tried
from pdl_ros.engines import EngineSettings
from pdl_ros.engines.torch_engine import TorchEngine
from pdl_ros.errors import PdlError
from pdl_ros.evaluation.equal_pixels import equal_pixels
from pdl_ros.fusion import FusionSettings, PanopticResult, fuse
from pdl_ros.fusion.graphed import GraphedFusion
from pdl_ros.labels import LabelSet
from pdl_ros.network import checkpoints
from pdl_ros.network.variants import get_variant
from pdl_ros.pipeline import Segmenter
from pdl_ros.runtime.cuda_graph import KEPT

_ON_A_CPU = ('torch bf16', 'torch fp16')
_ENGINES = ('torch fp32', 'torch bf16', 'torch fp16', 'onnxruntime fp32')
_EXACT, _CLOSE = 0.999, 0.98
"""The share of pixels that must be equal, of fp32 and of shorter numbers."""


def drawn_frames(trial: Trial) -> list[np.ndarray]:
    """Return pictures of drawn streets."""
    height, width = trial.size
    return [Scene(seed, height, width).frame(5 * seed).image for seed in range(trial.frames)]


def check_engines(trial: Trial) -> Outcome:
    """Compare label maps of each engine and precision with those of PyTorch in fp32 on the CPU."""
    frames = drawn_frames(trial)
    plain = Segmenter.load(trial.weights, 'cpu', engine=EngineSettings('torch', 'fp32'))
    expected = plain(frames)
    equal: dict[str, float] = {}
    absent: dict[str, str] = {}
    for name in _ENGINES if trial.on_gpu else _ON_A_CPU:
        engine, precision = name.split()
        settings = EngineSettings(engine, precision)
        try:
            segmenter = Segmenter.load(trial.weights, str(trial.device), engine=settings)
        except PdlError as error:
            absent[name] = str(error)
            continue
        equal[name] = equal_share(trial, segmenter(frames), expected)
        segmenter.release()
    marks = {name: _EXACT if name.endswith('fp32') else _CLOSE for name in equal}
    holds = all(equal[name] >= marks[name] for name in equal)
    shown = [f'{name} {100 * share:.2f} %' for name, share in equal.items()]
    says = f'equal pixels: {", ".join(shown)}'
    says += f'; not here: {", ".join(absent)}' if absent else ''
    return judged(holds, says, {'equal': equal, 'asked': marks, 'not_here': absent})


def equal_share(trial: Trial, ours: list[PanopticResult], theirs: list[PanopticResult]) -> float:
    """Return the share of pixels that say the same, over all frames."""
    divisor = get_variant(trial.weights).label_set.label_divisor
    pairs = zip(ours, theirs, strict=True)
    maps = ((a.panoptic.numpy(force=True), b.panoptic.numpy(force=True)) for a, b in pairs)
    return float(np.mean([equal_pixels(*pair, divisor) for pair in maps]))


def check_graphs(trial: Trial) -> Outcome:
    """Compare recordings of network and fusion with their kernels one by one, for more shapes than
    are kept.
    """
    network, _ = checkpoints.load('scene_tiny')
    engine = TorchEngine(network, trial.device, 'fp32')
    torch.manual_seed(0)
    worst = 0.0
    for step in [*range(KEPT + 2)] * 2 if trial.on_gpu else (0, 1, 0):
        images = torch.randn(1, 3, 96 + 32 * step, 160, device=trial.device)
        with torch.inference_mode():
            eager = engine.network(images)
        for ours, theirs in zip(engine(images)[:3], eager[:3], strict=True):
            worst = max(worst, ((ours - theirs).abs() / (1 + theirs.abs())).max().item())
    differs, recorded = _graphed_fusion(trial)
    numbers: dict[str, Any] = {
        'network_error': worst,
        'network_recorded': engine.recorded,
        'fusion_recorded': recorded,
        'fusion_difference': differs,
    }
    says = f'the network to {worst:.0e}, the fusion {differs or "bit for bit"}'
    holds = worst < 1e-4 and not differs
    if not trial.on_gpu:
        return only_tried(judged(holds, says, numbers), 'a CPU has no graphs')
    everything = engine.recorded == [True] * KEPT and recorded == [True]
    says += '' if everything else '; but not everything could be recorded'
    return judged(holds and everything, says, numbers)


def _graphed_fusion(trial: Trial) -> tuple[str, list[bool]]:
    """Return where the recorded fusion differs from the other, and what was recorded."""
    cityscapes, settings = LabelSet.load('cityscapes'), FusionSettings()
    recording = GraphedFusion(trial.device)
    fused = recording if trial.on_gpu else fuse
    differs = ''
    for seed in range(3):
        heads = street_heads((128, 256), 10, cityscapes, seed).to(trial.device)
        ours = fused(heads, cityscapes, settings, (128, 256)).cpu()
        plain = fuse(heads, cityscapes, settings, (128, 256)).cpu()
        differs = differs or difference(ours, plain)
    return differs, recording.graphs.recorded


def check_overlap(trial: Trial) -> Outcome:
    """Compare frames of which two are under way with the same frames one by one, and their time."""
    frames, count = drawn_frames(trial), 60 if trial.on_gpu else 6
    segmenter = Segmenter.load(trial.weights, str(trial.device), engine=EngineSettings('torch'))
    alone = [segmenter(frame).panoptic for frame in frames]
    order = [number % len(frames) for number in range(count)]
    began = time.perf_counter()
    for number in order:
        segmenter(frames[number])
    single = count / (time.perf_counter() - began)
    pending, results = [], []
    began = time.perf_counter()
    for number in order:
        pending.append(segmenter.start([frames[number]]))
        if len(pending) == 2:
            results += pending.pop(0)().results
    results += pending.pop()().results
    overlapped = count / (time.perf_counter() - began)
    same = [torch.equal(r.panoptic, alone[n]) for r, n in zip(results, order, strict=True)]
    numbers = {'single_per_s': single, 'overlapped_per_s': overlapped, 'same': sum(same)}
    says = (
        f'{sum(same)} of {count} frames are the same with two under way; {overlapped:.0f} a second '
        f'instead of {single:.0f}'
    )
    return judged(all(same), says, numbers)
