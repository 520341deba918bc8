"""The executable `panoptic_node`."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.signals import SignalHandlerOptions

from pdl_ros.node.transport import make_room_for_images
from pdl_ros.threads import spin_briefly


def main(arguments: list[str] | None = None) -> None:
    """Run the node until Ctrl-C or a shutdown; the exit status is 0."""
    _share_one_heap()
    make_room_for_images()
    spin_briefly()
    # Until the node is there, Ctrl-C has nothing to end but the reading of PyTorch.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
    from pdl_ros.node.executor import NodeExecutor
    from pdl_ros.node.node import PanopticNode

    # rclpy's own handlers raise KeyboardInterrupt wherever Python is, also in the middle of rclpy.
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    node = PanopticNode()
    executor = NodeExecutor(node.takes_long)
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


def _share_one_heap() -> None:
    # glibc gives every thread a heap of its own, and what is freed there stays there: after each
    # cleanup a little more memory would be missing.
    arena_max = -8  # <malloc.h>
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(arena_max, 1)


if __name__ == '__main__':
    main()
