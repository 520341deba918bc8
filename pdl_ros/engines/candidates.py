"""Which ways there are to run a network on this CPU: an engine and a precision each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from pdl_ros.engines.agreement import Agreement, disagreement
from pdl_ros.engines.engine import Engine
from pdl_ros.engines.onnx_engine import OnnxEngine, cpu_precisions, installed_runtime
from pdl_ros.engines.torch_engine import TorchEngine
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import Variant
from pdl_ros.runtime.cpu_features import has_bf16

CPU = torch.device('cpu')
RUNTIMES = ('torch', 'openvino', 'onnxruntime')
# Where the time is short, what is probably fastest has been timed.
_PROMISE = ('int8', 'bf16', 'fp32')


class Way(NamedTuple):
    """One way to run a network."""

    engine: str
    precision: str

    def __str__(self) -> str:
        return f'{self.engine} {self.precision}'


@dataclass(frozen=True)
class Candidates:
    """The ways that may be taken, those that may not with the reason, and the network in int8,
    where it is there.
    """

    ways: tuple[Way, ...]
    refused: Mapping[Way, str]
    quantised: bytes | None = None


def find_candidates(
    engine: str, precision: str, rows: Iterable[Agreement], quantised: bytes | None
) -> Candidates:
    """Return the ways that this CPU has to run what was asked for: at least one, which says itself
    what it lacks.

    engine and precision: what was asked for, or auto. rows: what was measured of the weights.
    """
    rows = tuple(rows)
    reasons = {
        way: disagreement(*way, rows) for way in _possible(engine, precision, quantised is not None)
    }
    agreeing = tuple(way for way, reason in reasons.items() if not reason)
    if not agreeing and precision != 'auto':  # its user has chosen between speed and labels
        agreeing, reasons = tuple(reasons), {}
    refused = {way: reason for way, reason in reasons.items() if reason}
    return Candidates(agreeing or (_asked(engine, precision),), refused, quantised)


def open_way(
    way: Way, network: PanopticDeepLab, variant: Variant, quantised: bytes | None
) -> Engine:
    """Make the engine of a way; PdlError where it cannot be had."""
    if way.engine == 'torch':
        return TorchEngine(network, CPU, way.precision)
    return OnnxEngine(network, variant, CPU, way.precision, way.engine, quantised)


def keep_compiled(engine: Engine) -> Engine:
    """Have what was compiled for an engine kept for later starts; return the engine."""
    if isinstance(engine, OnnxEngine):
        engine.keep_compiled()
    return engine


def _possible(engine: str, precision: str, has_int8: bool) -> list[Way]:
    """Return the ways that this CPU has, by their promise.

    engine and precision: what was asked for, or auto. has_int8: the network is there in int8.
    """
    if engine == 'onnx':
        engine = installed_runtime(CPU)
    ways = []
    for runtime in RUNTIMES if engine == 'auto' else (engine,):
        if runtime == 'torch':
            # Asked for, bf16 runs without its instructions too, slowly.
            found: Sequence[str] = ('fp32', 'bf16')[: 1 + (has_bf16() or precision == 'bf16')]
        else:
            found = cpu_precisions(runtime)
            found = (*found, 'int8') if found and has_int8 else found
        ways += [Way(runtime, p) for p in found if precision in ('auto', p)]
    return sorted(ways, key=lambda way: _PROMISE.index(way.precision))


def _asked(engine: str, precision: str) -> Way:
    """Return the way that was asked for, whether this CPU has it or not."""
    if engine == 'auto' and precision != 'int8':
        engine = 'torch'
    elif engine in ('auto', 'onnx'):
        engine = installed_runtime(CPU)
    return Way(engine, 'fp32' if precision == 'auto' else precision)
