"""The table of checks, and the child process that runs one of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pdl_ros.doctor.child import answer
from pdl_ros.doctor.gpu import device_checks, engine_checks, tensorrt_check, timings
from pdl_ros.doctor.gpu.fusion_check import check_fusion
from pdl_ros.doctor.gpu.outcome import Outcome, Trial, trial_on
from pdl_ros.engines import pick_device
from pdl_ros.runtime.openmp import limit_openmp_spin

CHECKS: dict[str, Callable[[Trial], Outcome]] = {
    'fusion': check_fusion,
    'engines': engine_checks.check_engines,
    'graphs': engine_checks.check_graphs,
    'overlap': engine_checks.check_overlap,
    'tensorrt': tensorrt_check.check_tensorrt,
    'second_gpu': device_checks.check_other_gpu,
    'memory_shortage': device_checks.check_memory_shortage,
    'release': device_checks.check_release,
    'time_fusion': timings.time_fusion,
    **{f'time_{n}': partial(timings.time_variant, name=n) for n in timings.TARGETS_MS},
}


def check(name: str, device: str) -> dict[str, Any]:
    """Run a check on a device; return its outcome as plain values."""
    return CHECKS[name](trial_on(pick_device(device))).as_dict()


if __name__ == '__main__':
    limit_openmp_spin()
    answer({'check': check})
