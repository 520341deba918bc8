"""The /diagnostics message: one status for the node, one for each camera."""

from __future__ import annotations

import time
from typing import Any

import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from pdl_ros.node.stream import CameraStream
from pdl_ros.pipeline import Segmenter

_OK, _WARN, _ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
_RECENT = 5.0  # seconds for which an error colours the status


def array(
    stamp: Any,
    node: str,
    state: str,
    segmenter: Segmenter | None,
    streams: list[CameraStream],
) -> DiagnosticArray:
    """Describe the node and its cameras now."""
    statuses = [_node_status(node, state, segmenter)]
    statuses += [_camera_status(node, state == 'active', stream) for stream in streams]
    return DiagnosticArray(header=Header(stamp=stamp), status=statuses)


def _node_status(node: str, state: str, segmenter: Segmenter | None) -> DiagnosticStatus:
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
    return _status(_OK if state == 'active' else _WARN, f'{node}: node', state, hardware, values)


def _camera_status(node: str, active: bool, stream: CameraStream) -> DiagnosticStatus:
    books, now = stream.books, time.perf_counter()
    p50, p95 = books.latency_ms()
    level, message = _OK, 'segmenting' if books.processed else 'ready'
    if not active:
        level, message = _WARN, 'not active'
    elif books.last_error and now - books.last_error_at < _RECENT:
        level, message = _ERROR, books.last_error
    elif not stream.subscribed:
        message = 'nobody listens'
    elif now - books.last_arrival > _RECENT:
        level, message = _WARN, f'no image on {stream.topic}'
    values = {
        'topic': stream.topic,
        'input rate (Hz)': f'{books.input_rate(now):.1f}',
        'output rate (Hz)': f'{books.output_rate(now):.1f}',
        'latency p50 (ms)': f'{p50:.1f}',
        'latency p95 (ms)': f'{p95:.1f}',
        'frames received': stream.received,
        'frames processed': books.processed,
        'frames replaced by newer ones': stream.overtaken,
        'frames too old': books.too_old,
        'frames over the rate limit': books.limited,
        'frames unreadable': books.unreadable,
    }
    name = stream.camera or 'camera'
    return _status(level, f'{node}: {name}', message, stream.topic, values)


def _status(
    level: bytes, name: str, message: str, hardware: str, values: dict[str, Any]
) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(
        level=level, name=name, message=message, hardware_id=hardware, values=pairs
    )
