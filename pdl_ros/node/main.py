"""The executable `panoptic_node`."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from pathlib import Path
from typing import NoReturn

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.logging import get_logger
from rclpy.signals import SignalHandlerOptions

from pdl_ros.errors import PdlError
from pdl_ros.node.rclpy_compat import rcl_says_nothing, sentence_of
from pdl_ros.node.ros_log import with_possible_log
from pdl_ros.node.shared_memory import configure_shared_memory
from pdl_ros.runtime import precompile
from pdl_ros.runtime.imports import slow_import
from pdl_ros.runtime.memory import share_one_heap
from pdl_ros.runtime.openmp import limit_openmp_spin

_STOP_TIMEOUT = 0.5  # seconds for the frames under way, after Ctrl-C


def main(arguments: list[str] | None = None) -> None:
    """Run the node until Ctrl-C or a shutdown; the exit status is 0. It is 1 after a failure of the
    engine, by the parameter on_engine_failure, and 2 for wrong arguments.
    """
    share_one_heap()
    configure_shared_memory()
    limit_openmp_spin()
    # Until the node is there, Ctrl-C has nothing to end but the reading of PyTorch.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
    try:
        _init(arguments)
    except PdlError as error:
        print(f'panoptic_node: {error}', file=sys.stderr)
        _exit(2)
    say = get_logger('panoptic_node').info
    precompile.start(say)
    with slow_import('PyTorch', say):
        from pdl_ros.node.executor import NodeExecutor
        from pdl_ros.node.panoptic_node import PanopticNode

    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    node = PanopticNode()
    executor = NodeExecutor(node.is_transition)
    executor.add_node(node)
    threading.Thread(target=node.autostart, name='autostart', daemon=True).start()
    ended = node.supervisor.ended
    while rclpy.ok() and not stopped.is_set() and not ended.is_set():
        try:
            executor.spin_once(timeout_sec=0.2)
        except ExternalShutdownException:
            break
        except Exception as error:  # a callback that fails must not take the others with it
            node.get_logger().error(f'{type(error).__name__}: {error}', throttle_duration_sec=5.0)
    node.stop(_STOP_TIMEOUT)
    executor.shutdown(timeout_sec=0.1)
    node.destroy_node()
    rclpy.try_shutdown()
    _exit(node.supervisor.exit_status)


def _init(arguments: list[str] | None) -> None:
    """Begin with ROS; raise PdlError for arguments that it cannot read."""
    try:
        # rclpy's own handlers raise KeyboardInterrupt wherever Python is, also inside rclpy.
        with rcl_says_nothing():
            rclpy.init(
                args=with_possible_log(arguments), signal_handler_options=SignalHandlerOptions.NO
            )
    except Exception as error:
        raise PdlError(_argument_error(error)) from None


def _argument_error(error: Exception) -> str:
    """Say which argument is wrong, and what it should be."""
    said = sentence_of(error).removeprefix('failed to initialize rcl: ')
    found = re.match(r"Couldn't parse (.+?): '(\S+) (.+)'\. Error: (.+)", said)
    if found is None:
        return f'The ROS arguments cannot be used: {said}.'
    kind, flag, value, reason = found.groups()
    if kind == 'params file' and not Path(value).is_file():
        return f'There is no parameter file {value}.'
    expected = {
        'params file': f'this is no parameter file of ROS ({reason})',
        'parameter override rule': 'a parameter is given as NAME:=VALUE, the value in YAML',
        'remap rule': 'a name is changed by FROM:=TO, both names that ROS allows',
    }
    return f'The argument {flag} {value} cannot be used: {expected.get(kind, reason)}.'


def _exit(status: int) -> NoReturn:
    # Python's own way out takes PyTorch and DDS apart piece by piece: 3 s on a loaded machine (main
    # was done after 0.03). And where the worker still computes a frame, it would wait for that too.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == '__main__':
    main()
