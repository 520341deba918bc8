"""The executable `panoptic_node`."""

from __future__ import annotations

import os
import signal
import sys
import threading

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.signals import SignalHandlerOptions

from pdl_ros.node.shared_memory import configure_shared_memory
from pdl_ros.runtime.memory import share_one_heap
from pdl_ros.runtime.openmp import limit_openmp_spin


def main(arguments: list[str] | None = None) -> None:
    """Run the node until Ctrl-C or a shutdown; the exit status is 0."""
    share_one_heap()
    configure_shared_memory()
    limit_openmp_spin()
    # Until the node is there, Ctrl-C has nothing to end but the reading of PyTorch.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
    from pdl_ros.node.executor import NodeExecutor
    from pdl_ros.node.panoptic_node import PanopticNode

    # rclpy's own handlers raise KeyboardInterrupt wherever Python is, also in the middle of rclpy.
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    node = PanopticNode()
    executor = NodeExecutor(node.is_transition)
    executor.add_node(node)
    threading.Thread(target=node.autostart, name='autostart', daemon=True).start()
    while rclpy.ok() and not stopped.is_set():
        try:
            executor.spin_once(timeout_sec=0.2)
        except ExternalShutdownException:
            break
        except Exception as error:  # a callback that fails must not take the others with it
            node.get_logger().error(f'{type(error).__name__}: {error}', throttle_duration_sec=5.0)
    node.stop(0.8)
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
