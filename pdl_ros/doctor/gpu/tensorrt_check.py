"""TensorRT: a build, its second load from the cache, the sized engine that the node asks for, and
agreement.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from pdl_ros.doctor.gpu.engine_checks import drawn_frames, equal_share
from pdl_ros.doctor.gpu.outcome import NOT_HERE, Outcome, Trial, judged
from pdl_ros.engines import EngineSettings
from pdl_ros.engines.tensorrt_plans import image_shapes, open_tensorrt
from pdl_ros.errors import PdlError
from pdl_ros.network import checkpoints
from pdl_ros.pipeline import Segmenter

_CLOSE = 0.98


def check_tensorrt(trial: Trial) -> Outcome:
    """Build an engine for one size as `pdl_ros export tensorrt` does, in a cache of its own, then
    open it as the node does.
    """
    before = os.environ.get('PDL_ROS_CACHE')
    with tempfile.TemporaryDirectory() as folder:
        os.environ['PDL_ROS_CACHE'] = folder
        try:
            return _build_and_load(trial, Path(folder))
        except PdlError as error:
            return _refused(trial, str(error))
        finally:
            os.environ.pop('PDL_ROS_CACHE')
            if before is not None:
                os.environ['PDL_ROS_CACHE'] = before


def _refused(trial: Trial, why: str) -> Outcome:
    from importlib.util import find_spec

    if trial.on_gpu and find_spec('tensorrt') is not None:
        return judged(False, why, {})
    return Outcome(NOT_HERE, why.rstrip('.'))


def _build_and_load(trial: Trial, folder: Path) -> Outcome:
    network, variant = checkpoints.load(trial.weights)
    frames = drawn_frames(trial)
    plain = Segmenter.load(trial.weights, str(trial.device), engine=EngineSettings('torch', 'fp32'))
    size = plain.batch_key(*trial.size)
    numbers: dict[str, Any] = {}
    began = time.perf_counter()
    shapes = image_shapes(variant, size)
    open_tensorrt(network, variant, trial.device, 'fp16', shapes).release()
    numbers['build_s'] = time.perf_counter() - began
    built = _engines_in(folder)
    began = time.perf_counter()
    settings = EngineSettings('tensorrt', 'fp16', frame_size=trial.size)
    segmenter = Segmenter.load(trial.weights, str(trial.device), engine=settings)
    numbers['load_s'] = time.perf_counter() - began
    from_cache = len(built) == 1 and _engines_in(folder) == built
    equal = equal_share(trial, segmenter(frames), plain(frames))
    times = [sum(segmenter.timed(frame)[1]) for frame in frames]
    numbers |= {'from_cache': from_cache, 'equal': equal, 'frame_ms': min(times)}
    segmenter.release()
    where = 'from the cache' if from_cache else 'BUILT AGAIN instead of taken from the cache'
    says = (
        f'built in {numbers["build_s"]:.0f} s, then {where} in {numbers["load_s"]:.1f} s; '
        f'{100 * equal:.2f} % of the pixels are those of PyTorch in fp32'
    )
    return judged(from_cache and equal >= _CLOSE, says, numbers)


def _engines_in(folder: Path) -> dict[str, int]:
    """Return the engines in a cache; one that is written again is another file of the name."""
    return {path.name: path.stat().st_ino for path in folder.glob('*.engine-*')}
