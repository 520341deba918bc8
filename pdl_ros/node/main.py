"""The executable `panoptic_node`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.signals import SignalHandlerOptions

from pdl_ros.errors import PdlError
from pdl_ros.node.node import PanopticNode


def main(arguments: list[str] | None = None) -> None:
    """Run the node until Ctrl-C or a shutdown (status 0); a wrong set-up is one sentence and status
    2.
    """
    # rclpy's own handlers raise KeyboardInterrupt wherever Python is, also in the middle of rclpy.
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = PanopticNode()
    except PdlError as error:
        get_logger('panoptic_node').fatal(str(error))
        rclpy.try_shutdown()
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(0)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    with contextlib.suppress(ExternalShutdownException):
        while rclpy.ok() and not stopped.is_set():
            executor.spin_once(timeout_sec=0.2)
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
