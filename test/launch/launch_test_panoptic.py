"""panoptic.launch.py under launch_testing: the node comes up, and Ctrl-C ends it with status 0.

colcon test runs this file with launch_test; so does test_running_launches.py.
"""

from __future__ import annotations

import time
import unittest
from pathlib import Path
from typing import Any

import launch_testing
import launch_testing.actions
import launch_testing.asserts
import pytest
import rclpy
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

from launch import LaunchDescription

TIMEOUT = 100.0
FILE = Path(__file__).resolve().parents[2] / 'launch' / 'panoptic.launch.py'


@pytest.mark.launch_test
def generate_test_description() -> LaunchDescription:
    """Launch the node in a namespace."""
    arguments = {'namespace': 'robot', 'variant': 'scene_tiny', 'device': 'cpu'}
    return LaunchDescription(
        [
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(FILE)), launch_arguments=arguments.items()
            ),
            launch_testing.actions.ReadyToTest(),
        ]
    )


class TestWhileItRuns(unittest.TestCase):
    def setUp(self) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node('test', context=self.context)

    def tearDown(self) -> None:
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)

    def test_the_node_listens_and_publishes(self, proc_output: Any) -> None:
        end = time.monotonic() + TIMEOUT
        while not self.node.count_subscribers('/robot/image'):
            assert time.monotonic() < end, 'the node does not subscribe'
            time.sleep(0.1)
        assert self.node.count_publishers('/robot/panoptic_node/panoptic/image') == 1


@launch_testing.post_shutdown_test()
class TestAfterCtrlC(unittest.TestCase):
    def test_the_exit_status_is_0(self, proc_info: Any) -> None:
        launch_testing.asserts.assertExitCodes(proc_info)
