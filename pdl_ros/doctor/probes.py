"""What child processes find out: one question, one process (`child.ask`)."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pdl_ros.doctor.child import answer


class NotInstalledError(Exception):
    """There is no such package."""


def package(module: str) -> dict[str, Any]:
    """Import a package; return its version."""
    if importlib.util.find_spec(module) is None:
        raise NotInstalledError(module)
    found = importlib.import_module(module)
    version = getattr(found, '__version__', None)
    if not isinstance(version, str):
        names = importlib.metadata.packages_distributions().get(module, [module])
        version = importlib.metadata.version(names[0])
    return {'version': version}


def torch() -> dict[str, Any]:
    """Say how PyTorch was built, and what it sees here."""
    import torch

    return {
        'version': torch.__version__,
        'cuda': torch.version.cuda,
        'architectures': torch.cuda.get_arch_list(),
        'threads': torch.get_num_threads(),
        'instructions': torch.backends.cpu.get_cpu_capability(),
        'gpus': [_gpu(index) for index in range(torch.cuda.device_count())],
    }


def _gpu(index: int) -> dict[str, Any]:
    import torch

    properties = torch.cuda.get_device_properties(index)
    found: dict[str, Any] = {
        'name': properties.name,
        'capability': f'{properties.major}.{properties.minor}',
        'memory_bytes': properties.total_memory,
        'error': '',
    }
    try:
        total = torch.arange(1000, device=f'cuda:{index}', dtype=torch.float32).sum().item()
    except RuntimeError as error:
        found['error'] = str(error).partition('\n')[0].rstrip('.')
        return found
    if total != 499500:
        found['error'] = f'it computes wrongly: the sum of 0 to 999 is 499500, not {total}'
    return found


def instructions() -> str:
    """Return the name of the instruction set that the engines use on this processor."""
    from pdl_ros.runtime import cpu_features

    return cpu_features.instruction_set()


def engines() -> dict[str, Any]:
    """Return the precisions that engine torch has on this processor, and its first choice."""
    import torch

    from pdl_ros.engines.torch_engine import auto_precision
    from pdl_ros.runtime.cpu_features import has_bf16

    return {
        'auto': auto_precision(torch.device('cuda' if torch.cuda.is_available() else 'cpu')),
        'torch': ['fp32', 'bf16'] if has_bf16() else ['fp32'],
    }


def runtime(name: str) -> list[str]:
    """Return the precisions that an engine for ONNX has on this processor."""
    from pdl_ros.engines.onnx_engine import cpu_precisions

    precisions = list(cpu_precisions(name))
    if precisions:
        importlib.import_module(name)
    return precisions


def frame(weights: str) -> dict[str, Any]:
    """Segment one drawn street with shipped weights, as the node would; return milliseconds."""
    from pdl_ros.demo.scene import Scene
    from pdl_ros.engines import EngineSettings
    from pdl_ros.pipeline import Segmenter

    image = Scene(3, 160, 256).frame(5).image
    began = time.perf_counter()
    segmenter = Segmenter.load(weights, engine=EngineSettings('torch'))
    segmenter(image)
    first = 1e3 * (time.perf_counter() - began)
    times = [sum(segmenter.timed(image)[1]) for _ in range(5)]
    return {
        'start_ms': first,
        'frame_ms': min(times),
        'size': [160, 256],
        'device': str(segmenter.device),
        'precision': segmenter.engine.precision,
        'segments': len(segmenter(image).segments.id),
    }


def cache() -> dict[str, Any]:
    """Return the cache folder, whether it can be written, and what is in it."""
    from pdl_ros.errors import PdlError
    from pdl_ros.runtime.cache import cache_folder
    from pdl_ros.runtime.files import require_writable_folder

    folder = cache_folder()
    try:
        require_writable_folder(folder)
        error = ''
    except PdlError as refused:
        error = str(refused)
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for path in _files(folder):
        kind = _kind(path.name)
        counts[kind] += 1
        sizes[kind] += path.stat().st_size
    return {'folder': str(folder), 'error': error, 'files': dict(counts), 'bytes': dict(sizes)}


def _files(folder: Path) -> Iterable[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_file()]
    except OSError:
        return []


def _kind(name: str) -> str:
    words = {
        'kernel': 'compiled kernels',
        '.engine-': 'TensorRT engines',
        '.onnx-': 'exported networks',
        '-choice.json-': 'choices of an engine',
    }
    return next((kind for word, kind in words.items() if word in name), 'other files')


if __name__ == '__main__':
    questions = (package, torch, instructions, engines, runtime, frame, cache)
    answer({question.__name__: question for question in questions})
