"""The executable `panoptic_node`."""

from __future__ import annotations

import os
import signal
import sys
import threading

import rclpy
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.signals import SignalHandlerOptions


def main(arguments: list[str] | None = None) -> None:
    """Run the node until Ctrl-C or a shutdown; the exit status is 0."""
    # Until the node is there, Ctrl-C has nothing to end but the reading of PyTorch.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
    from pdl_ros.node.node import PanopticNode

    # rclpy's own handlers raise KeyboardInterrupt wherever Python is, also in the middle of rclpy.
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    node = PanopticNode()
    # One thread for a transition that takes long, one for images, one for everything else.
    executor = MultiThreadedExecutor(3)
    executor.add_node(node)
    threading.Thread(target=node.autostart, name='autostart', daemon=True).start()
    while rclpy.ok() and not stopped.is_set():
        try:
            executor.spin_once(timeout_sec=0.2)
        except ExternalShutdownException:
            break
        except Exception as error:  # a callback that fails must not take the others with it
            node.get_logger().error(f'{type(error).__name__}: {error}', throttle_duration_sec=5.0)
    if node.stop(0.8):
        executor.shutdown(timeout_sec=0.1)
        node.destroy_node()
        rclpy.try_shutdown()
    # Python's own way out takes PyTorch and DDS apart piece by piece: 3 s on a loaded machine (main
    # was done after 0.03). And where the worker still computes a frame, it would wait for that too.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == '__main__':
    main()
