"""What a robot's own launch file does: camera, panoptic node and recorder in one namespace."""

from __future__ import annotations

import sys
from pathlib import Path

from launch.actions import ExecuteProcess, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import Node

from launch import LaunchDescription

HERE = Path(__file__).resolve().parent
PANOPTIC = str(HERE.parents[1] / 'launch' / 'panoptic.launch.py')


def generate_launch_description() -> LaunchDescription:
    """Start all three."""
    arguments = {'namespace': 'robot', 'variant': 'scene_tiny', 'device': 'cpu'}
    source = PythonLaunchDescriptionSource(PANOPTIC)
    camera = Node(
        package='pdl_ros',
        executable='demo_camera',
        name='camera',
        namespace='robot',
        arguments=['scene', '10', '0', '2'],  # without an end; for the node and the recorder
        output='screen',
    )
    recorder = ExecuteProcess(
        name='recorder', cmd=[sys.executable, str(HERE / 'recorder.py'), '/robot'], output='screen'
    )
    return LaunchDescription(
        [
            IncludeLaunchDescription(source, launch_arguments=arguments.items()),
            camera,
            recorder,
        ]
    )
