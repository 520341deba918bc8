"""The executable `panoptic_node`."""

from __future__ import annotations

import contextlib
import os
import sys

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger

from pdl_ros.errors import PdlError
from pdl_ros.node.node import PanopticNode


def main(arguments: list[str] | None = None) -> None:
    """Run the node until Ctrl-C or a shutdown (status 0); a wrong set-up is one sentence and status
    2.
    """
    rclpy.init(args=arguments)
    try:
        node = PanopticNode()
    except PdlError as error:
        get_logger('panoptic_node').fatal(str(error))
        rclpy.try_shutdown()
        sys.exit(2)
    except (KeyboardInterrupt, ExternalShutdownException):
        sys.exit(0)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        executor.spin()
    if node.stop():
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    # Python's own way out takes PyTorch and DDS apart piece by piece: 3 s on a loaded machine (main
    # was done after 0.03). And where the worker still computes a frame, it would wait for that too.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == '__main__':
    main()
