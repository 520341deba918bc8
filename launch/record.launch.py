"""Start the panoptic node and record what it publishes with ros2 bag.

ros2 launch pdl_ros record.launch.py image:=/front_camera/image_raw output:=run1
"""

from __future__ import annotations

import os
from pathlib import Path

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetLaunchConfiguration,
    Shutdown,
)
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from launch import Action, LaunchContext, LaunchDescription

LABELS = ('panoptic', 'semantic', 'instance')
IMAGES = (*LABELS, 'overlay')
HUMBLE = os.environ.get('ROS_DISTRO') == 'humble'
NAMES = ('output', 'record_camera', 'labels', 'storage', 'transport', 'use_sim_time')
RESOLVED = ('panoptic_node', 'panoptic_inputs')  # full names, set by panoptic.launch.py
FLUSH_TIMEOUT = '30'  # seconds that ros2 bag may write on after Ctrl-C


def generate_launch_description() -> LaunchDescription:
    """Declare what the recording needs; the node's arguments are those of panoptic.launch.py."""
    declare = DeclareLaunchArgument
    panoptic = str(Path(__file__).with_name('panoptic.launch.py'))
    return LaunchDescription(
        [
            declare(
                'output',
                default_value='',
                description='Folder of the new bag (default: ros2 bag makes one with the date).',
            ),
            declare(
                'record_images',
                default_value='panoptic',
                description=f'Images to record, separated by commas: {", ".join(IMAGES)}. The '
                'panoptic image holds classes and instances.',
            ),
            declare(
                'record_camera',
                default_value='false',
                choices=['true', 'false'],
                description='Record the camera too, as it comes.',
            ),
            declare(
                'labels',
                default_value='raw',
                choices=['raw', 'png'],
                description='Record label images as they are, or as the PNG that the node makes. '
                'Both are exact.',
            ),
            declare(
                'storage',
                default_value='mcap',
                choices=['mcap', 'sqlite3'],
                description='Format of the bag; mcap is compressed with zstd, sqlite3 is not.',
            ),
            OpaqueFunction(function=check),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(panoptic)),
            OpaqueFunction(function=make_recorder),
        ]
    )


def check(context: LaunchContext) -> list[Action]:
    """Refuse wrong arguments while nothing runs yet: launch leaves a starting process behind.
    Return what the node must be told.
    """
    images = names('record_images', context)
    unknown = sorted(set(images) - set(IMAGES))
    if unknown or not images:
        raise RuntimeError(
            f'record_images names {", ".join(unknown) or "nothing"}; there are {", ".join(IMAGES)}'
        )
    output = LaunchConfiguration('output').perform(context)
    if output and Path(output).exists():
        raise RuntimeError(f'output: {output} exists already; name a new folder')
    png = LaunchConfiguration('labels').perform(context) == 'png'
    return [SetLaunchConfiguration('compressed_labels', 'true')] if png else []


def make_recorder(context: LaunchContext) -> list[Action]:
    """Return ros2 bag record."""
    value = {name: LaunchConfiguration(name).perform(context) for name in (*NAMES, *RESOLVED)}
    png = value['labels'] == 'png'
    node = value['panoptic_node']
    results = [f'{node}/{name}' for name in names('cameras', context)] or [node]
    topics = [
        f'{result}/{name}/image{"/compressed" if png and name in LABELS else ""}'
        for result in results
        for name in names('record_images', context)
    ]
    topics += [f'{result}/{name}' for result in results for name in ('instances', 'timing')]
    topics += [*(f'{name}/label_info' for name in dict.fromkeys((node, *results))), '/diagnostics']
    if value['record_camera'] == 'true':
        sibling = '/compressed' if value['transport'] == 'compressed' else ''
        for topic in value['panoptic_inputs'].split(','):
            topics += [topic + sibling, f'{topic.rpartition("/")[0]}/camera_info']
    command = ['ros2', 'bag', 'record', '--storage', value['storage']]
    if value['storage'] == 'mcap':
        command += ['--storage-preset-profile', 'zstd_fast']
    if value['output']:
        command += ['--output', value['output']]
    if value['use_sim_time'] == 'true':
        command += ['--use-sim-time']
    command += topics if HUMBLE else ['--topics', *topics]
    recorder = ExecuteProcess(
        cmd=command,
        name='record',
        output='screen',
        sigterm_timeout=FLUSH_TIMEOUT,
        on_exit=end,
    )
    return [recorder]


def names(argument: str, context: LaunchContext) -> list[str]:
    """Return what an argument lists, separated by commas."""
    text = LaunchConfiguration(argument).perform(context)
    return [name.strip() for name in text.split(',') if name.strip()]


def end(_: ProcessExited, context: LaunchContext) -> list[Action]:
    """End the node with its recording, unless it is just ending."""
    return [] if context.is_shutdown else [Shutdown(reason='the recording ended')]
