"""The /diagnostics message: one status for the node, one for each camera."""

from __future__ import annotations

import time
from typing import Any

import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from pdl_ros.node.input.camera import Camera
from pdl_ros.pipeline import Segmenter

_OK, _WARN, _ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
_RECENT = 5.0  # seconds for which an error colours the status


def array(
    stamp: Any,
    node: str,
    state: str,
    segmenter: Segmenter | None,
    cameras: list[Camera],
    failure: str = '',
) -> DiagnosticArray:
    """Describe the node and its cameras now; `failure`: what stopped the node, if something did."""
    statuses = [_node_status(node, state, segmenter, failure)]
    statuses += [_camera_status(node, state == 'active', camera) for camera in cameras]
    return DiagnosticArray(header=Header(stamp=stamp), status=statuses)


def _node_status(
    node: str, state: str, segmenter: Segmenter | None, failure: str
) -> DiagnosticStatus:
    values: dict[str, Any] = {'state': state}
    hardware = ''
    if segmenter is not None:
        hardware = str(segmenter.device)
        values.update(
            variant=segmenter.variant.name,
            engine=segmenter.engine.name,
            precision=segmenter.engine.precision,
            device=hardware,
        )
        if segmenter.device.type == 'cuda':
            allocated = torch.cuda.memory_allocated(segmenter.device)
            values['device memory (MB)'] = f'{allocated / 1e6:.0f}'
    level = _ERROR if failure else _OK if state == 'active' else _WARN
    return _status(level, f'{node}: node', failure or state, hardware, values)


def _camera_status(node: str, active: bool, camera: Camera) -> DiagnosticStatus:
    statistics, now = camera.statistics, time.perf_counter()
    p50, p95 = statistics.latency_ms()
    level, message = _camera_condition(active, camera, now)
    values = {
        'topic': camera.topic,
        'input rate (Hz)': f'{statistics.input_rate(now):.1f}',
        'output rate (Hz)': f'{statistics.output_rate(now):.1f}',
        'latency p50 (ms)': f'{p50:.1f}',
        'latency p95 (ms)': f'{p95:.1f}',
        'frame age (ms)': f'{1e3 * statistics.age:.1f}',
        'frames received': camera.received,
        'frames processed': statistics.processed,
        'frames replaced by newer ones': camera.replaced,
        'frames too old': statistics.too_old,
        'frames over the rate limit': statistics.limited,
        'frames unreadable': statistics.unreadable,
        'frames without depth': statistics.without_depth,
        'frames lost in transport': statistics.lost_in_transport,
        'depth images lost in transport': statistics.lost_depth,
    }
    name = camera.name or 'camera'
    return _status(level, f'{node}: {name}', message, camera.topic, values)


def _camera_condition(active: bool, camera: Camera, now: float) -> tuple[bytes, str]:
    """Return the level of a camera and the sentence on it, the worst first."""
    statistics, limit = camera.statistics, camera.age_limit
    losses = statistics.losses(camera.topic, now)
    if not active:
        return _WARN, 'not active'
    if statistics.last_error and now - statistics.last_error_at < _RECENT:
        return _ERROR, statistics.last_error
    if not camera.subscribed:
        return _OK, 'no subscriber'
    if losses:
        return _WARN, losses
    if now - statistics.last_arrival > _RECENT:
        return _WARN, f'no image on {camera.topic}'
    if limit.problem:
        return _ERROR if limit.drops_all else _WARN, limit.problem
    if statistics.last_warning and now - statistics.last_warning_at < _RECENT:
        return _WARN, statistics.last_warning
    return _OK, 'segmenting' if statistics.processed else 'ready'


def _status(
    level: bytes, name: str, message: str, hardware: str, values: dict[str, Any]
) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(
        level=level, name=name, message=message, hardware_id=hardware, values=pairs
    )
