"""Engine and precision auto on a CPU: time what there is, once, and remember what was fastest."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pdl_ros.engines.candidates import (
    CPU,
    RUNTIMES,
    Candidates,
    Way,
    keep_compiled,
    open_way,
)
from pdl_ros.engines.engine import Engine
from pdl_ros.engines.tensorrt_plans import model_facts
from pdl_ros.engines.torch_engine import TorchEngine
from pdl_ros.engines.trial import Trial, fastest
from pdl_ros.errors import PdlError, in_words
from pdl_ros.network.heads import HeadOutputs
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import Variant
from pdl_ros.runtime import cache, precompile
from pdl_ros.runtime.cpu_features import instruction_set, processor
from pdl_ros.runtime.memory import give_freed_memory_back

BUDGET = 15.0
"""Seconds that a choice takes at most."""
_MOST_WORK = 30e9
"""Multiply-adds of a call that is timed: about a second on two cores with AVX2."""

_LOG = logging.getLogger('pdl_ros.engines')


@dataclass(frozen=True)
class Choice:
    """What was chosen, and why: milliseconds a frame by way, reasons of those that are not taken,
    and those that there was no time for, which the next start times.

    All by the names of ways ('torch fp32'); size: the (height, width) they were timed at.
    """

    chosen: str
    milliseconds: Mapping[str, float]
    refused: Mapping[str, str]
    left_out: Sequence[str]
    size: tuple[int, int]

    def in_words(self) -> str:
        """Return it as the end of a sentence."""
        times = dict(sorted(self.milliseconds.items(), key=lambda item: item[1]))
        mine = times.pop(self.chosen, None)
        said = [self.chosen]
        if mine is not None:
            said[0] += ', {} ms a frame of {}×{}'.format(_digits(mine), *self.size)
            said += [f'{name} {_digits(ms)} ms' for name, ms in times.items()]
        said += [f'not {name}: {reason}' for name, reason in self.refused.items()]
        said += [f'{name} at the next start' for name in self.left_out]
        return '; '.join(said)


def open_fastest(
    network: PanopticDeepLab,
    variant: Variant,
    candidates: Candidates,
    size: tuple[int, int],
    batch: int = 1,
) -> Engine:
    """Return the fastest engine for images of a (height, width), `batch` at a time.

    The first start times them, says so in the log, and keeps the choice in the cache by all that it
    depends on.
    """
    facts = _facts(network, variant, candidates, size, batch)
    make = partial(open_way, network=network, variant=variant, quantised=candidates.quantised)
    time_ways = partial(_time, network, variant, candidates, make, size, batch)
    earlier = _read(cache.load(facts))
    if earlier is not None:
        try:
            if not earlier.left_out:
                engine = keep_compiled(make(_way(candidates, earlier.chosen)))
                _LOG.info(
                    '%s runs on %s; known from an earlier start.', variant.name, earlier.in_words()
                )
                return engine
            engine, choice = time_ways(earlier)
        except Exception as error:  # runtimes raise what they like
            _LOG.warning('What was chosen at an earlier start fails: %s', in_words(error))
            earlier = None
    if earlier is None:
        engine, choice = time_ways(None)
    keep_compiled(engine)
    cache.store(facts, json.dumps(asdict(choice)).encode())
    return engine


def _time(
    network: PanopticDeepLab,
    variant: Variant,
    candidates: Candidates,
    make: Callable[[Way], Engine],
    size: tuple[int, int],
    batch: int,
    earlier: Choice | None,
) -> tuple[Engine, Choice]:
    """Time all ways, or what an earlier choice left out beside what it chose, and say so. Raises
    PdlError where nothing runs, or not what was chosen.
    """
    ways = candidates.ways
    if earlier is not None:
        ways = tuple(_way(candidates, name) for name in (earlier.chosen, *earlier.left_out))
    precompile.settle()  # beside it some engines would be twice as slow, and others not
    began = time.perf_counter()
    _LOG.info(
        'Timing once, for at most %.0f s, how %s runs fastest here: %s.',
        *(BUDGET, variant.name, ', '.join(map(str, ways))),
    )
    timed_size = _timed_size(network, variant, size, batch)
    images = _picture(variant, timed_size, batch)
    expected = _expected(network, images)
    chosen, engine, trial = fastest(
        ways, make, images, expected, BUDGET - (time.perf_counter() - began)
    )
    give_freed_memory_back()
    if earlier is not None and (failure := trial.refused.get(ways[0])):
        engine.release()
        raise PdlError(failure)
    choice = _choice(chosen, trial, candidates, earlier, timed_size, batch)
    took = time.perf_counter() - began
    _LOG.info('%s runs on %s; found in %.1f s.', variant.name, choice.in_words(), took)
    return engine, choice


def _way(candidates: Candidates, name: str) -> Way:
    return next(way for way in candidates.ways if str(way) == name)


def _choice(
    chosen: Way,
    trial: Trial[Way],
    candidates: Candidates,
    earlier: Choice | None,
    size: tuple[int, int],
    batch: int,
) -> Choice:
    """Put together what a trial found, and an earlier one that had not the time for all."""
    milliseconds = {str(way): 1e3 * seconds / batch for way, seconds in trial.seconds.items()}
    refused = {str(way): why for way, why in {**candidates.refused, **trial.refused}.items()}
    if earlier is not None and earlier.left_out:
        milliseconds = {**earlier.milliseconds, **milliseconds}
        refused = {**earlier.refused, **refused}
    return Choice(str(chosen), milliseconds, refused, [str(way) for way in trial.left_out], size)


def _facts(
    network: PanopticDeepLab,
    variant: Variant,
    candidates: Candidates,
    size: tuple[int, int],
    batch: int,
) -> dict[str, str]:
    """Return all that a choice depends on."""
    model, quantised = model_facts(network, variant, 'auto'), candidates.quantised
    return {
        **model,
        'what': f'{variant.name}-choice.json',
        'processor': processor(),
        'instructions': ', '.join(map(instruction_set, RUNTIMES)),
        'threads': str(torch.get_num_threads()),
        'size': str((batch, *size)),
        'ways': ', '.join(sorted(map(str, candidates.ways))),
        'not taken': repr(sorted(candidates.refused.items())),
        'quantised': hashlib.sha256(quantised).hexdigest() if quantised else '',
        **{name: _version(name) for name in RUNTIMES},
    }


def _read(content: bytes | None) -> Choice | None:
    """Return a choice out of the cache, which has made sure that it is as it was written."""
    if content is None:
        return None
    found = json.loads(content)
    return Choice(**{**found, 'size': tuple(found['size'])})


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ''


def _timed_size(
    network: PanopticDeepLab, variant: Variant, size: tuple[int, int], batch: int
) -> tuple[int, int]:
    """Return the size, or a smaller one of its shape where a call at it would take seconds."""
    work = batch * size[0] * size[1] * _work_per_pixel(network)
    if work <= _MOST_WORK:
        return size
    step, scale = variant.size_divisor, (_MOST_WORK / work) ** 0.5
    high, wide = (max(round(edge * scale / step), 1) * step + edge % step for edge in size)
    return high, wide


@torch.inference_mode()
def _work_per_pixel(network: PanopticDeepLab, edge: int = 128) -> float:
    """Return about how many multiply-adds the convolutions do for a pixel of the input.

    Counted on a small input: `network.cost` would import PyTorch's compiler, which takes seconds.
    """
    work = 0

    def count(conv: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal work
        work += output.numel() * conv.weight[0].numel()  # type: ignore[index]

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d)]
    try:
        network(torch.zeros(1, 3, edge, edge))
    finally:
        for hook in hooks:
            hook.remove()
    return work / edge**2


def _picture(variant: Variant, size: tuple[int, int], batch: int) -> Tensor:
    """Return network inputs with what pictures have: soft and hard borders, and grain."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, batch, 3, 6, 8, generator=generator)
    soft, hard = F.interpolate(coarse[0], size, mode='bilinear'), F.interpolate(coarse[1], size)
    grain = torch.rand(batch, 3, *size, generator=generator)
    pixels = 255 * (0.45 * soft + 0.45 * hard + 0.1 * grain)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (variant.mean, variant.std))
    return (pixels - mean) / std


def _expected(network: PanopticDeepLab, images: Tensor) -> HeadOutputs:
    engine = TorchEngine(network, CPU)
    heads = engine(images)
    engine.release()
    return heads


def _digits(milliseconds: float) -> str:
    return f'{milliseconds:.1f}' if milliseconds < 10 else f'{milliseconds:.0f}'
