"""ROS processes that demo and benchmarks start, and end."""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import subprocess
import sys
from collections.abc import Iterator

from pdl_ros.errors import PdlError


def require_ros(who: str) -> None:
    """Raise PdlError unless rclpy and our messages are here; `who` needs them."""
    for module in ('rclpy', 'pdl_ros.msg'):
        if importlib.util.find_spec(module) is None:
            raise PdlError(
                f'{who} needs ROS 2 and the built messages, but {module} is not here; run '
                '`make setup` in a checkout, or source a workspace in which pdl_ros was built.'
            )


@contextlib.contextmanager
def ros_process(
    module: str, namespace: str, *arguments: str, stdout: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a module as a ROS process in a namespace; it never outlives the block.
    stdout: the descriptor that it prints to, in the place of ours.
    """
    command = [sys.executable, '-m', module, *arguments, '-r', f'__ns:={namespace}']
    # A terminal's Ctrl-C goes to all its processes. This one ends the others, which inherit that it
    # is ignored: a process that is interrupted while it imports prints a traceback.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stdout, bufsize=0)
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
