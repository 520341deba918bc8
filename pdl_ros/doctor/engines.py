"""What runs the network here: engines, their precisions, and one frame as a proof."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pdl_ros.doctor.child import ProbeError, ask
from pdl_ros.doctor.finding import DOUBTFUL, MISSING, OPTIONAL, Finding, Section
from pdl_ros.doctor.storage import SMALL

_AT_ONCE = 2
_COMPILING = 240.0  # seconds; the first frame compiles the fusion's kernels


def engine_section(torch: dict[str, Any] | ProbeError) -> Section:
    """List the engines and segment one frame. torch: what the probe of that name answered."""
    if isinstance(torch, ProbeError):
        advice = 'Without PyTorch nothing runs the network; see the packages.'
        return Section('Engines', [Finding('engines', 'none', MISSING, advice)])
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        frame = pool.submit(_frame)
        onnx = pool.map(_onnx, ('openvino', 'onnxruntime'))
        findings = [_torch(torch), *onnx, _tensorrt(torch), frame.result()]
    return Section('Engines', findings)


def _torch(torch: dict[str, Any]) -> Finding:
    try:
        answer = ask('engines')
    except ProbeError as error:
        advice = 'The engines of pdl_ros do not load; see the packages, or report this.'
        return Finding('torch', f'does not load: {error}', MISSING, advice)
    cpu = ', '.join(answer['torch'])
    gpu = '; on the GPU fp32, bf16, fp16' if torch['gpus'] else ''
    found = f'on the processor {cpu}{gpu}; its precision auto is {answer["auto"]}'
    return Finding('torch', found, data=answer)


def _onnx(name: str) -> Finding:
    try:
        precisions = ask('runtime', name)
    except ProbeError as error:
        advice = (
            f'Engine {name} fails, and auto may, as it asks what there is: repair or remove the '
            f'package {name}.'
        )
        return Finding(name, f'does not load: {error}', DOUBTFUL, advice)
    data = {'precisions': precisions}
    if precisions:
        return Finding(name, f'on the processor {", ".join(precisions)}', data=data)
    advice = (
        f'Engine {name} needs the packages onnx and {name}: python3 -m pip install onnx {name}.'
    )
    return Finding(name, 'not here', OPTIONAL, advice, data)


def _tensorrt(torch: dict[str, Any]) -> Finding:
    if not torch['gpus']:
        return Finding('tensorrt', 'not here: it runs on GPUs of NVIDIA', OPTIONAL)
    try:
        version = ask('package', 'tensorrt')['version']
    except ProbeError as error:
        reason = 'not installed' if error.kind == 'NotInstalledError' else f'does not load: {error}'
        advice = (
            'Engine tensorrt needs pip install tensorrt-cu12 or -cu13, as PyTorch is built for.'
        )
        return Finding('tensorrt', reason, OPTIONAL, advice)
    return Finding('tensorrt', f'fp32, fp16, int8, by {version}', data={'version': version})


def _frame() -> Finding:
    name = 'one frame'
    try:
        answer = ask('frame', SMALL, limit=_COMPILING)
    except ProbeError as error:
        advice = (
            'The node fails on every frame as this one did; see the packages and the GPU, or '
            'report it with the file of --json.'
        )
        return Finding(name, f'failed: {error}', MISSING, advice)
    height, width = answer['size']
    found = (
        f'{height}×{width} segmented by {SMALL} in {answer["frame_ms"]:.0f} ms on '
        f'{answer["device"]} in {answer["precision"]}; loading and the first took '
        f'{answer["start_ms"] / 1e3:.1f} s'
    )
    if answer['segments']:
        return Finding(name, found, data=answer)
    advice = 'Nothing was found in a street full of cars, so results are wrong; please report it.'
    return Finding(name, found, DOUBTFUL, advice, answer)
