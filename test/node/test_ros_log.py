"""A process starts whether or not ROS can keep its log in a file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import rclpy
from pdl_ros.node.ros_log import with_possible_log
rclpy.init(args=with_possible_log())
node = rclpy.create_node('robot')
node.get_logger().info('drives')
node.destroy_node()
rclpy.shutdown()
"""


def run(domain: int, **environment: str | None) -> str:
    """Start a node in an environment; None: without the variable."""
    wanted = {**os.environ, 'ROS_DOMAIN_ID': str(domain), **environment}
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT],
        env={name: value for name, value in wanted.items() if value is not None},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert 'drives' in done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    'environment',
    [
        {'HOME': None},
        {'HOME': '/dev/null/nobody'},
        {'ROS_LOG_DIR': '/dev/null/log'},
        {'ROS_HOME': '/dev/null/ros'},
    ],
    ids=['no home', 'a home that is none', 'no log folder', 'no ROS home'],
)
def test_a_robot_without_a_place_for_logs_starts_and_is_told(environment, domain: int) -> None:
    none = {'ROS_LOG_DIR': None, 'ROS_HOME': None}
    assert 'No log file: ' in run(domain, **{**none, **environment})


def test_where_there_is_a_place_the_log_is_kept_in_a_file(tmp_path: Path, domain: int) -> None:
    said = run(domain, ROS_LOG_DIR=str(tmp_path / 'log'))
    assert 'No log file' not in said
    (file,) = (tmp_path / 'log').iterdir()
    assert 'drives' in file.read_text()
