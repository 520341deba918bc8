"""How far each engine and precision is from plain PyTorch in fp32: heads, pixels and scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from pdl_ros.bench.machine import describe, machine_facts
from pdl_ros.datasets import PanopticDataset, groups_of
from pdl_ros.engines import EngineSettings, pick_device
from pdl_ros.engines.agreement import Agreement, keep_agreement
from pdl_ros.engines.calibration import halve, quantise
from pdl_ros.engines.candidates import RUNTIMES
from pdl_ros.engines.factory import open_engine
from pdl_ros.engines.onnx_engine import installed_runtime
from pdl_ros.engines.onnx_export import OUTPUTS
from pdl_ros.engines.onnx_sessions import cpu_session
from pdl_ros.engines.tensorrt_plans import onnx_model, weights_digest
from pdl_ros.errors import PdlError
from pdl_ros.evaluation.equal_pixels import equal_pixels
from pdl_ros.evaluation.metrics import PanopticEvaluator
from pdl_ros.fusion import fuse
from pdl_ros.network import checkpoints
from pdl_ros.network.heads import HeadOutputs
from pdl_ros.network.panoptic_deeplab import STRIDE, PanopticDeepLab
from pdl_ros.network.variants import Variant
from pdl_ros.network.weight_files import find_weights
from pdl_ros.pipeline import default_fusion
from pdl_ros.preprocessing import Preprocessor, network_size
from pdl_ros.runtime.cpu_features import instruction_set

PLAIN = 'plain fp32'
ENGINES = (
    *('torch fp32', 'torch bf16'),
    *('openvino fp32', 'openvino bf16', 'openvino int8'),
    *('onnxruntime fp32', 'onnxruntime int8'),
    *('onnx fp32', 'onnx bf16'),  # whichever of the two is installed
    *('file fp16', 'file int8'),
)
"""`file`: what TensorRT is given, computed as written by ONNX Runtime."""
CALIBRATION = 32

Run = Callable[[Tensor], HeadOutputs]


@dataclass
class _Tally:
    """What one engine gave, image by image."""

    run: Run
    scores: PanopticEvaluator
    errors: list[float] = field(default_factory=list)
    equal: list[float] = field(default_factory=list)


@torch.inference_mode()
def bench_agreement(
    weights: str,
    dataset: PanopticDataset,
    calibration: PanopticDataset,
    engines: list[str],
    step: int = 1,
) -> dict[str, Any]:
    """Compare engines with the plain network on every `step`-th image of a labelled data set.

    For each: head_error, the relative L2 error of the worst head; equal_pixels, the share of them
    in panoptic maps (mean and worst image); PQ, mIoU and their differences in points. One that
    cannot be had here says `why_not` instead.
    `calibration`: images for int8, which those that are scored should not be among.
    """
    for engine in engines:
        if engine not in ENGINES:
            raise PdlError(f'No engine {engine!r} to compare; give {" or ".join(ENGINES)}.')
    checkpoint = find_weights(weights)
    network, variant = checkpoints.load(checkpoint)
    preprocess = Preprocessor(variant, torch.device('cpu'))

    def prepared(image: np.ndarray) -> Tensor:
        return preprocess(image, network_size(image.shape[0], image.shape[1], variant))

    batches = (prepared(calibration[i].image) for i in _spread(len(calibration), CALIBRATION))
    runs: dict[str, Run] = {PLAIN: network}
    lacking = []
    for engine in engines:
        try:
            runs[engine] = _open(engine, network, variant, batches, checkpoint)
        except PdlError as error:
            lacking.append({'engine': engine, 'why_not': str(error)})
    groups = groups_of(dataset)
    tallies = {
        n: _Tally(run, PanopticEvaluator(variant.label_set, groups=groups))
        for n, run in runs.items()
    }
    for index in track(range(0, len(dataset), step), 'comparing'):
        sample = dataset[index]
        height, width = sample.image.shape[:2]
        images, exact, reference = prepared(sample.image), None, None
        for tally in tallies.values():
            heads = tally.run(images)
            size = network_size(height, width, variant)
            settings = default_fusion(variant)
            result = fuse(heads, variant.label_set, settings, (height, width), size)
            if exact is None or reference is None:
                exact, reference = _heads([t.clone() for t in heads[:3]]), result
            tally.errors.append(_error(heads, exact))
            panoptic = (result.panoptic.numpy(), reference.panoptic.numpy())
            tally.equal.append(equal_pixels(*panoptic, variant.label_set.label_divisor))
            tally.scores.update(result.panoptic, sample, result.semantic)
    cases = [_case(name, tally) for name, tally in tallies.items()]
    for case in cases:
        case['pq_points'] = case['pq'] - cases[0]['pq']
    return {
        **machine_facts(),
        'weights': weights,
        'images': len(tallies[PLAIN].equal),
        'cases': cases + lacking,
    }


def print_results(results: dict[str, Any]) -> None:
    """Print a table of `bench_agreement`."""
    table = Table(title='{weights}, {images} images'.format(**results))
    columns = ('engine', 'head error', 'equal pixels', 'worst image', 'PQ', 'difference', 'mIoU')
    for column in columns:
        table.add_column(column)
    for case in results['cases']:
        if 'why_not' in case:
            table.add_row(case['engine'], '-')
            continue
        mean, worst = case['equal_pixels']
        table.add_row(
            case['engine'],
            f'{case["head_error"]:.1e}',
            f'{100 * mean:.2f} %',
            f'{100 * worst:.2f} %',
            f'{case["pq"]:.2f}',
            f'{case["pq_points"]:+.2f}',
            f'{case["miou"]:.2f}',
        )
    console = Console()
    console.print(table)
    for case in results['cases']:
        if 'why_not' in case:
            console.print('{engine}: not compared: {why_not}'.format(**case))
    console.print(describe(results))


def keep_results(results: dict[str, Any], data: Path) -> Path:
    """Write results of `bench_agreement` beside the weights, where engine auto looks for them.

    data: the folder of labelled images that they are of.
    """
    checkpoint = find_weights(results['weights'])
    frames, rows = f'{results["images"]} images of {data.resolve().name}', []
    for case in results['cases']:
        engine, precision = case['engine'].split()
        runtime = installed_runtime(pick_device('cpu')) if engine == 'onnx' else engine
        if runtime in RUNTIMES and 'why_not' not in case:
            isa, pixels = instruction_set(runtime), round(case['equal_pixels'][0], 5)
            points = round(case['pq_points'], 3)
            rows.append(Agreement(runtime, precision, isa, pixels, points, frames))
    return keep_agreement(checkpoint, weights_digest(checkpoints.load(checkpoint)[0]), rows)


def _open(
    name: str, network: PanopticDeepLab, variant: Variant, batches: Any, checkpoint: Path
) -> Run:
    kind, precision = name.split()
    if kind != 'file':
        settings = EngineSettings(kind, precision, checkpoint=checkpoint)
        return open_engine(network, variant, pick_device('cpu'), settings)
    model = onnx_model(network, variant, 'fp32')
    session = cpu_session(
        halve(model) if precision == 'fp16' else quantise(model, batches), optimised=False
    )

    def run(images: Tensor) -> HeadOutputs:
        outputs = session.run(list(OUTPUTS), {'images': images.contiguous().numpy()})
        return _heads([torch.from_numpy(output) for output in outputs])

    return run


def _heads(tensors: list[Tensor]) -> HeadOutputs:
    semantic, center_heatmap, offset = tensors
    return HeadOutputs(semantic, center_heatmap, offset, STRIDE)


def _error(heads: HeadOutputs, exact: HeadOutputs) -> float:
    pairs = zip(heads[:3], exact[:3], strict=True)
    return max(float((ours - theirs).norm() / theirs.norm()) for ours, theirs in pairs)


def _case(name: str, tally: _Tally) -> dict[str, Any]:
    scores = tally.scores.compute()
    return {
        'engine': name,
        'head_error': float(np.mean(tally.errors)),
        'equal_pixels': [float(np.mean(tally.equal)), min(tally.equal)],
        'pq': 100 * scores.pq,
        'miou': 100 * scores.miou,
    }


def _spread(length: int, count: int) -> list[int]:
    return np.linspace(0, length - 1, min(count, length)).round().astype(int).tolist()
