"""`pdl_ros doctor --gpu`: every check in a process of its own, so that none takes others along."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from pdl_ros.doctor.child import ProbeError, ask
from pdl_ros.doctor.show import show_rows
from pdl_ros.errors import PdlError

_MODULE = 'pdl_ros.doctor.gpu.checks'
_STATES = ('passed', 'failed', 'not here')


class Check(NamedTuple):
    """name: its key in `checks.CHECKS`. limit: seconds after which it is ended."""

    name: str
    title: str
    limit: float = 90.0


CHECKS = (
    Check('fusion', 'fusion kernels'),
    Check('engines', 'engines agree'),
    Check('graphs', 'CUDA graphs'),
    Check('overlap', 'frames that overlap'),
    Check('second_gpu', 'a second GPU'),
    Check('memory_shortage', 'want of memory'),
    Check('release', 'memory given back'),
    Check('time_fusion', 'time: fusion'),
    Check('time_cityscapes_mobilenet_v3', 'time: MobileNetV3'),
    Check('time_cityscapes_resnet50', 'time: ResNet-50'),
    Check('time_cityscapes_xception71', 'time: Xception-71', 120.0),
    Check('tensorrt', 'TensorRT', 300.0),
)


_TITLES = max(len(check.title) for check in CHECKS)


def prove(device: str, announce: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Run all checks on a device (auto, cuda:N; cpu tries the checks themselves); print each as it
    ends, and return them all. announce: is told what comes next. Raises PdlError where there is no
    such GPU.
    """
    name = 'cpu' if device == 'cpu' else _require_gpu(device)
    print(f'On {name}; some minutes.' if device != 'cpu' else _ON_A_CPU, flush=True)
    results = []
    for check in CHECKS:
        began = time.monotonic()
        announce(check.title)
        found = _run(check, device)
        found = {'name': check.name, **found, 'seconds': time.monotonic() - began}
        show_rows('', [(found['state'], check.title, found['says'])], _TITLES)
        results.append(found)
    counts = {state: sum(r['state'] == state for r in results) for state in _STATES}
    print(', '.join(f'{count} {state}' for state, count in counts.items()), flush=True)
    return {'device': device, 'name': name, 'checks': results}


_ON_A_CPU = (
    "On the processor: this tries the checks themselves, the kernels in Triton's interpreter, and "
    'proves nothing of a GPU.'
)


def all_passed(proof: dict[str, Any]) -> bool:
    """Tell whether nothing failed; what could not be had is no failure."""
    return all(check['state'] != 'failed' for check in proof['checks'])


def _run(check: Check, device: str) -> dict[str, Any]:
    interpreted = device == 'cpu' and check.name == 'fusion'
    environment = {'TRITON_INTERPRET': '1'} if interpreted else {}
    try:
        found: dict[str, Any] = ask(
            'check', check.name, device, module=_MODULE, limit=check.limit, environment=environment
        )
    except ProbeError as error:
        return {'state': 'failed', 'says': str(error), 'numbers': {}}
    return found


def _require_gpu(device: str) -> str:
    try:
        torch = ask('torch')
    except ProbeError as error:
        raise PdlError(f'The proof on a GPU needs PyTorch, which does not load: {error}.') from None
    gpus = [gpu['name'] for gpu in torch['gpus']]
    if not gpus:
        raise PdlError(
            'There is no GPU that PyTorch can use here (pdl_ros doctor says why); '
            '--gpu --device cpu tries the checks themselves on the processor.'
        )
    index = device.removeprefix('cuda').removeprefix(':') if device != 'auto' else ''
    if not (index or '0').isdecimal() or int(index or 0) >= len(gpus):
        raise PdlError(f'No GPU {device!r}; here are cuda:0 to cuda:{len(gpus) - 1}.')
    return str(gpus[int(index or 0)])
