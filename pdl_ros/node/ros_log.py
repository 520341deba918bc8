"""ROS's log of a process, where it cannot be kept in a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from pdl_ros.errors import PdlError
from pdl_ros.runtime.files import require_writable_folder


def with_possible_log(
    arguments: list[str] | None = None, environment: Mapping[str, str] = os.environ
) -> list[str]:
    """Return arguments for rclpy.init, None: those of the process, that also work without a folder
    to log to.

    Without a home, or with a full disk, rcl would end the process. Its log then goes to the console
    and to /rosout only.
    """
    arguments = sys.argv if arguments is None else arguments
    try:
        require_writable_folder(_log_folder(environment))
    except (PdlError, RuntimeError) as error:
        print(f'No log file: {error}', file=sys.stderr)
        return [*arguments, '--ros-args', '--disable-external-lib-logs']
    return arguments


def _log_folder(environment: Mapping[str, str]) -> Path:
    """Return where rcl logs to, by its documentation."""
    if environment.get('ROS_LOG_DIR'):
        return Path(environment['ROS_LOG_DIR']).expanduser()
    if environment.get('ROS_HOME'):
        return Path(environment['ROS_HOME']).expanduser() / 'log'
    if not environment.get('HOME'):  # rcl asks nobody else
        raise PdlError('the environment has no HOME and no ROS_LOG_DIR.')
    return Path(environment['HOME']) / '.ros' / 'log'
