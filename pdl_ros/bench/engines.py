"""Frames through each engine, stage by stage, beside the published way with the same weights: plain
eager PyTorch in fp32 and the published post-processing.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from pdl_ros.bench.machine import (
    busy_processes,
    describe,
    in_own_process,
    lack_of,
    machine_facts,
    now,
)
from pdl_ros.bench.published import fuse_as_published
from pdl_ros.bench.streets import STRIDE, street_heads
from pdl_ros.demo.cameras import open_camera
from pdl_ros.engines import EngineSettings, pick_device
from pdl_ros.errors import PdlError
from pdl_ros.network import checkpoints
from pdl_ros.network.heads import HeadOutputs
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import Variant, get_variant
from pdl_ros.network.weight_files import find_weights
from pdl_ros.pipeline import Segmenter, StageTimes, default_fusion
from pdl_ros.preprocessing import Preprocessor, network_size, padded_size
from pdl_ros.runtime.cpu_features import instruction_set

PUBLISHED = 'published'
AUTO = 'auto'
ENGINES = (
    PUBLISHED,
    AUTO,
    *('torch fp32', 'torch bf16'),
    *('openvino fp32', 'openvino bf16', 'openvino int8'),
    *('onnxruntime fp32', 'onnxruntime int8'),
)
CUDA_ENGINES = (PUBLISHED, AUTO, 'torch fp32', 'torch bf16', 'torch fp16')
_OLDER = ('onnx fp32', 'onnx bf16')  # as these rows were called when there was one such engine
INSTANCES = 60  # that an untrained network is given to fuse
_ROUNDS = 2  # every engine runs twice, in turns, so that a busy minute does not hit one alone

Run = Callable[[np.ndarray], StageTimes]
Pair = tuple[str, str]
"""A variant, or a file of weights, and an engine."""


def bench_engines(
    variants: list[str],
    height: int,
    width: int,
    frames: int,
    engines: list[str] | None = None,
    busy: int = 0,
    device: str = 'cpu',
) -> dict[str, Any]:
    """Time `frames` frames of a size with each engine; each in processes of its own.

    engines: such as 'torch bf16'; None: all. One that this machine does not have is a case too, and
    says why it was not timed. device: auto, cpu, cuda or cuda:N. busy: processes that compute
    beside it, as on a robot that has other work too.
    """
    on_gpu = pick_device(device).type == 'cuda'
    known = CUDA_ENGINES if on_gpu else (*ENGINES, *_OLDER)
    for engine in engines or ():
        if engine not in known:
            raise PdlError(f'No engine {engine!r} to time; give {" or ".join(known)}.')
    names = list(engines or (CUDA_ENGINES if on_gpu else ENGINES))
    # What was asked for is tried even so.
    lacks = {} if engines or on_gpu else {name: why for name in names if (why := lack_of(name))}
    cases = []
    for variant in variants:
        get_variant(variant)
        cases += _cases(variant, names, lacks, (height, width, frames, device), busy)
    return {
        **machine_facts(device),
        'size': [height, width],
        'busy_processes': busy,
        'cases': cases,
    }


def in_turns(
    pairs: list[Pair], lacks: dict[str, str], how: tuple[object, ...], busy: int = 0
) -> tuple[dict[Pair, list[dict[str, Any]]], dict[Pair, str]]:
    """Measure pairs of variant and engine in turns, each in processes of its own.

    lacks: why some engines cannot be had. how: the further arguments of `measure`. Returns what was
    measured of each pair, and why some were not.
    """
    runs: dict[Pair, list[dict[str, Any]]] = {pair: [] for pair in pairs}
    whys = {pair: lacks[pair[1]] for pair in pairs if pair[1] in lacks}
    for _, pair in itertools.product(range(_ROUNDS), pairs):
        if pair in whys:
            continue
        try:
            with busy_processes(busy):
                runs[pair].append(in_own_process(__name__, *pair, *how))
        except PdlError as error:
            whys[pair] = str(error)
    return runs, whys


def joined(variant: str, engine: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the row of one pair of variant and engine: p50 and p95 over all that was measured."""
    rows = np.array([row for run in runs for row in run['rows']])
    spread = np.percentile(rows, (50, 95), axis=0).T.tolist()
    return {
        'variant': variant,
        'engine': engine,
        **dict(zip([*StageTimes._fields, 'total_ms'], spread, strict=True)),
        'first_ms': float(np.median([run['first_ms'] for run in runs])),
        'frames_per_second': 1e3 / float(rows[:, -1].mean()),
        'overlapped_frames_per_second': runs[0]['overlapped']
        and max(r['overlapped'] for r in runs),
        'frames': len(rows),
        # What auto has chosen; others are what they are called.
        'runs': runs[0]['runs'] if engine == AUTO else '',
        # Where the environment limits it, not every runtime obeys.
        'instruction_set': runs[0]['instruction_set'],
    }


def _cases(
    variant: str, names: list[str], lacks: dict[str, str], how: tuple[object, ...], busy: int
) -> list[dict[str, Any]]:
    """Time the engines of these names with one variant; `lacks`: why some cannot be."""
    pairs = [(variant, name) for name in names]
    runs, whys = in_turns(pairs, lacks, how, busy)
    timed = {pair: joined(*pair, runs[pair]) for pair in pairs if pair not in whys}
    published = timed.get((variant, PUBLISHED))
    for case in timed.values():
        times = published['total_ms'][0] / case['total_ms'][0] if published else None
        case['times_published'] = times
    return [
        timed.get(pair) or {'variant': variant, 'engine': pair[1], 'why_not': whys[pair]}
        for pair in pairs
    ]


def print_results(results: dict[str, Any]) -> None:
    """Print a table of `bench_engines`: p50 / p95 in milliseconds."""
    from rich.console import Console
    from rich.table import Table

    names = [*StageTimes._fields, 'total_ms']
    height, width = results['size']
    table = Table(title=f'{height}×{width}, milliseconds, p50 / p95')
    for column in ('variant', 'engine', *names, 'first_ms', 'frames/s', 'overlapped', 'times'):
        table.add_column(column.removesuffix('_ms'))
    for case in results['cases']:
        if 'why_not' in case:
            table.add_row(case['variant'], case['engine'], '', '-')
            continue
        times = case['times_published']
        table.add_row(
            case['variant'],
            _row_name(case, results['instruction_set']),
            *(f'{case[name][0]:.1f} / {case[name][1]:.1f}' for name in names),
            f'{case["first_ms"]:.0f}',
            f'{case["frames_per_second"]:.2f}',
            f'{overlapped:.2f}' if (overlapped := case['overlapped_frames_per_second']) else '',
            f'{times:.1f}' if times else '',
        )
    console = Console(width=160)
    console.print(table)
    for case in results['cases']:
        if 'why_not' in case:
            console.print('{variant}, {engine}: not timed: {why_not}'.format(**case))
    console.print(describe(results))


def measure(
    variant: str, engine: str, height: int, width: int, frames: int, device: str = 'cpu'
) -> dict[str, Any]:
    """Time one engine in this process: drawn streets of a size, after one warm-up at that size.

    Variants without shipped weights get random ones, which see nothing. What is fused then are the
    heads of a drawn street with INSTANCES instances, in place of the network's own.
    """
    pictures = [
        cv2.resize(frame, (width, height))
        for frame in itertools.islice(iter(open_camera('scene')), min(frames, 8) + 1)
    ]
    network, found, checkpoint = _network(variant)
    target, segmenter = pick_device(device), None
    if engine == PUBLISHED:
        run = _published(network, found, checkpoint is not None, target)
    else:
        name, _, precision = engine.partition(' ')
        settings = EngineSettings(
            name, precision or 'auto', frame_size=(height, width), checkpoint=checkpoint
        )
        segmenter = Segmenter(network, found, str(target), engine=settings)
        if checkpoint is None:
            segmenter.engine = _Blind(segmenter.engine, found)
        run = _timed(segmenter)
    run(np.zeros_like(pictures[0]))
    rows, first = [], 0.0
    for number in range(frames + 1):
        began = time.perf_counter()
        stages = run(pictures[number % len(pictures)])
        total = 1e3 * (time.perf_counter() - began)
        if number == 0:
            first = total
        else:
            rows.append([*stages, total])
    overlapped = _overlapped(segmenter, pictures, frames) if segmenter else None
    runs = f'{segmenter.engine.name} {segmenter.engine.precision}' if segmenter else ''
    runtime = segmenter.engine.name if segmenter else 'torch'
    return {
        'rows': rows,
        'first_ms': first,
        'overlapped': overlapped,
        'runs': runs,
        'instruction_set': instruction_set(runtime),
    }


def _row_name(case: dict[str, Any], usual: str) -> str:
    name = f'{case["engine"]} = {case["runs"]}' if case['runs'] else case['engine']
    own = case['instruction_set']
    return name if own == usual else f'{name} ({own})'


def _network(name: str) -> tuple[PanopticDeepLab, Variant, Path | None]:
    """Return a network, and the file of its weights where it was trained."""
    try:
        return *checkpoints.load(name), find_weights(name)
    except PdlError:
        torch.manual_seed(0)
        variant = get_variant(name)
        return PanopticDeepLab(variant).eval(), variant, None


class _Blind:
    """A network, or an engine, that works as ever and then tells of a drawn street."""

    def __init__(self, works: Any, variant: Variant) -> None:
        self._works, self._label_set = works, variant.label_set
        self._street: HeadOutputs | None = None

    def __call__(self, images: Tensor) -> HeadOutputs:
        heads = self._works(images)
        if self._street is None:
            height, width = heads.semantic.shape[-2:]
            size = height * STRIDE, width * STRIDE
            street = street_heads(size, INSTANCES, self._label_set)
            self._street = street.to(images.device)
        return self._street

    def __getattr__(self, name: str) -> Any:
        return getattr(self._works, name)


def _timed(segmenter: Segmenter) -> Run:
    return lambda frame: segmenter.timed(frame)[1]


def _overlapped(segmenter: Segmenter, pictures: list[np.ndarray], frames: int) -> float:
    """Return the frames a second where the next one begins before the last one's results are
    asked for, as in the node: on a GPU its upload and the other's read-back overlap with work.
    """
    began = time.perf_counter()
    finish = segmenter.start([pictures[0]])
    for number in range(1, frames):
        following = segmenter.start([pictures[number % len(pictures)]])
        finish()
        finish = following
    finish()
    return frames / (time.perf_counter() - began)


def _published(
    plain: PanopticDeepLab, variant: Variant, trained: bool, device: torch.device
) -> Run:
    plain = plain.to(device)
    network = plain if trained else _Blind(plain, variant)
    preprocess, settings = Preprocessor(variant, device), default_fusion(variant)

    @torch.inference_mode()
    def run(frame: np.ndarray) -> StageTimes:
        height, width = frame.shape[:2]
        size = network_size(height, width, variant)
        marks = [now(device)]
        images = preprocess(frame, size).contiguous()
        marks.append(now(device))
        heads = network(images)
        marks.append(now(device))
        merged, _ = fuse_as_published(
            heads, variant.label_set, settings, padded_size(size, variant)
        )
        marks.append(now(device))
        merged.cpu()
        marks.append(now(device))
        return StageTimes._make([1e3 * (b - a) for a, b in itertools.pairwise(marks)])

    return run


if __name__ == '__main__':
    name, engine, *edges, count, device = sys.argv[1:]
    height, width = map(int, edges)
    print(json.dumps(measure(name, engine, height, width, int(count), device)))
