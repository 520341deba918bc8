"""What the demo saw, in numbers and in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # it imports the messages, which a pip-only installation lacks
    from pdl_ros.msg import FrameTiming

_STAGES = ('decode', 'preprocess', 'network', 'fusion', 'readback', 'publish')


class Statistics:
    """Collect what the node says of its frames."""

    def __init__(self) -> None:
        self.count = 0
        self._dropped = 0
        self._ages: list[float] = []
        self._costs: list[float] = []
        self._instances: list[int] = []

    def add(self, timing: FrameTiming, instances: int) -> None:
        """Add a frame with so many instances."""
        self.count += 1
        self._dropped = timing.frames_dropped
        self._ages.append(timing.age_ms)
        self._costs.append(sum(getattr(timing, f'{stage}_ms') for stage in _STAGES))
        self._instances.append(instances)

    def summary(self, frames_in: int, camera_rate: float) -> dict[str, float | int]:
        """Return what happened; at least one frame was added.

        camera_rate: frames a second of the camera if it were a live one. Latencies are in
        milliseconds, from the camera's stamp to the last result. `machine_rate_hz` is how many
        frames a second the node has time for, by what half of its frames took at most, whatever
        the camera sent; `live_percent` what part of the live camera's frames that is.
        """
        p50, p95 = np.percentile(self._ages, (50, 95))
        machine_rate = 1e3 / float(np.median(self._costs))
        return {
            'frames_in': frames_in,
            'frames_segmented': self.count,
            'frames_dropped': self._dropped,
            'latency_p50_ms': float(p50),
            'latency_p95_ms': float(p95),
            'instances_per_frame': float(np.mean(self._instances)),
            'camera_rate_hz': camera_rate,
            'machine_rate_hz': machine_rate,
            'live_percent': min(100 * machine_rate / camera_rate, 100.0),
        }


def in_words(summary: dict[str, float | int]) -> str:
    """Say how many frames were shown, and what the machine would make of a live camera."""
    percent, camera = (
        summary['live_percent'],
        f'a live camera at {summary["camera_rate_hz"]:.3g} Hz',
    )
    live = f'it keeps up with {camera}.'
    if percent < 100:
        # 99.6 is not rounded up: 100 % would say that it keeps up.
        live = f'of {camera} it would have served {min(round(percent), 99)} %.'
    return (
        f'{summary["frames_segmented"]} of {summary["frames_in"]} frames shown. This machine '
        f'segments {summary["machine_rate_hz"]:.1f} frames a second: {live}'
    )
