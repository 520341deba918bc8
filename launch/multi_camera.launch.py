"""Start one panoptic node for several cameras; they share one network on the device.

ros2 launch pdl_ros multi_camera.launch.py cameras:=front,left image:=/{camera}/image_raw
"""

from __future__ import annotations

from pathlib import Path

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Declare what several cameras need; the rest is panoptic.launch.py."""
    declare = DeclareLaunchArgument
    panoptic = str(Path(__file__).with_name('panoptic.launch.py'))
    return LaunchDescription(
        [
            declare(
                'cameras',
                description='Names of the cameras, separated by commas, as in front,left. Results '
                'are published on panoptic_node/NAME/...',
            ),
            declare(
                'image',
                default_value='{camera}/image',
                description='Topics of the camera images: a pattern with {camera}, or one for '
                'each, separated by commas.',
            ),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(panoptic)),
        ]
    )
