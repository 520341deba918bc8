"""What child processes find out with rclpy."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from typing import Any

from pdl_ros.doctor.child import answer
from pdl_ros.doctor.probes import NotInstalledError


def rclpy() -> dict[str, Any]:
    """Import rclpy; return its version, the middleware that it chose and those installed."""
    if importlib.util.find_spec('rclpy') is None:
        raise NotInstalledError('rclpy')
    from ament_index_python import get_resources
    from rclpy.utilities import get_rmw_implementation_identifier

    try:
        version = importlib.metadata.version('rclpy')
    except importlib.metadata.PackageNotFoundError:
        version = 'of unknown version'
    found = get_resources('rmw_typesupport')
    return {
        'version': version,
        'rmw': get_rmw_implementation_identifier(),
        'rmw_installed': sorted(name for name in found if name != 'rmw_implementation'),
    }


def messages() -> list[str]:
    """Import pdl_ros' messages and those that they consist of, down to their compiled half."""
    from pdl_ros import msg

    kinds = ('FrameTiming', 'LabelInfo', 'PanopticInstance', 'PanopticInstanceArray', 'SegmentInfo')
    for name in kinds:
        getattr(msg, name).__class__.__import_type_support__()
    return list(kinds)


def cv_bridge() -> dict[str, Any]:
    """Use what cv_bridge has compiled: a NumPy of another generation shows only there."""
    if importlib.util.find_spec('cv_bridge') is None:
        raise NotInstalledError('cv_bridge')
    module = importlib.import_module('cv_bridge')
    module.CvBridge().encoding_to_cvtype2('rgb8')
    return {'numpy': importlib.metadata.version('numpy')}


if __name__ == '__main__':
    answer({'rclpy': rclpy, 'messages': messages, 'cv_bridge': cv_bridge})
