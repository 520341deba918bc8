"""The demo's camera process: ``python -m pdl_ros.demo.camera SOURCE RATE FRAMES [--ros-args
…]``.
"""

from __future__ import annotations

import contextlib
import sys

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.utilities import remove_ros_args

from pdl_ros.demo.sources import open_source
from pdl_ros.errors import PdlError
from pdl_ros.node.camera import CameraNode

_LISTENERS = 2  # the node and the recorder: the camera starts when both are there
_PATIENCE = 120.0  # seconds; a cold disk takes its time to read PyTorch


def main() -> None:
    """Play a source once; RATE 0 is the source's own, FRAMES 0 all of them."""
    _, name, rate, limit = remove_ros_args(sys.argv)
    try:
        source = open_source(name)
        rclpy.init()
        node = CameraNode()
        if not node.wait_for_subscribers(_LISTENERS, _PATIENCE):
            raise PdlError(
                f'The camera found no node and recorder to play to within {_PATIENCE:.0f} s; is '
                'DDS traffic on this machine blocked by a firewall?'
            )
        with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
            node.play(source, float(rate) or source.fps, int(limit))
    except PdlError as error:
        print(f'pdl_ros: {error}', file=sys.stderr)
        sys.exit(2)
    finally:
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
