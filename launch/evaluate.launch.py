"""Play a bag into the panoptic node and record its results in another bag.

ros2 launch pdl_ros evaluate.launch.py bag:=drive image:=/front_camera/image_raw output:=results
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueCoroutine,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
    TimerAction,
)
from launch.event_handlers import OnExecutionComplete, OnShutdown
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.ros_adapters import get_ros_node

from launch import Action, Event, LaunchContext, LaunchDescription

NUMBERS = {
    'rate': ('1.0', 'Speed of the bag. Slow it down where the node cannot keep up.'),
    'settle': ('10.0', "Seconds after the bag's end in which results are still recorded."),
    'start_timeout': ('300.0', 'Seconds that the node may take to load.'),
}
NAMES = ('bag', 'policy', 'transport', 'cameras', 'panoptic_node', 'panoptic_inputs')
# A camera's driver offers best effort, and so would the player; every_frame asks for more.
OFFER = {'reliability': 'reliable', 'durability': 'volatile', 'history': 'keep_all'}


def generate_launch_description() -> LaunchDescription:
    """Declare the bag; the other arguments are those of record.launch.py, in simulated time."""
    declare = DeclareLaunchArgument
    record = str(Path(__file__).with_name('record.launch.py'))
    return LaunchDescription(
        [
            declare('bag', description='Bag to play; only the images of the node, and tf.'),
            declare(
                'policy',
                default_value='every_frame',
                choices=['newest', 'every_frame'],
                description='Which frames are segmented: the newest, as on the robot, or every '
                'one in turn.',
            ),
            declare(
                'use_sim_time',
                default_value='true',
                choices=['true'],
                description='Time is the time of the bag.',
            ),
            *(
                declare(name, default_value=default, description=text)
                for name, (default, text) in NUMBERS.items()
            ),
            OpaqueFunction(function=check),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(record)),
            OpaqueFunction(function=play),
        ]
    )


def check(context: LaunchContext) -> None:
    """Refuse wrong arguments while nothing runs yet: launch leaves a starting process behind."""
    bag = LaunchConfiguration('bag').perform(context)
    if not Path(bag).exists():
        raise RuntimeError(f'bag: there is no {bag}')
    for name in NUMBERS:
        text = LaunchConfiguration(name).perform(context)
        try:
            number = float(text)
        except ValueError:
            number = 0.0
        if not 0 < number < math.inf:
            raise RuntimeError(f'{name} is {text!r}; it must be a number above 0')


def play(context: LaunchContext) -> list[Action]:
    """Return the player, which waits until the node takes images and the recorder its results."""
    value = {name: LaunchConfiguration(name).perform(context).strip() for name in NAMES}
    number = {name: float(LaunchConfiguration(name).perform(context)) for name in NUMBERS}
    sibling = '/compressed' if value['transport'] == 'compressed' else ''
    inputs = value['panoptic_inputs'].split(',')
    images = [topic + sibling for topic in inputs]
    infos = [f'{topic.rpartition("/")[0]}/camera_info' for topic in inputs]
    command = ['ros2', 'bag', 'play', value['bag'], '--clock', '100', '--rate', str(number['rate'])]
    # The delay lets the player's publishers and the node find each other.
    command += ['--delay', '2', '--wait-for-all-acked', '60000', '--disable-keyboard-controls']
    clean_up: list[Action] = []
    if value['policy'] == 'every_frame':
        file = offers(images)
        command += ['--qos-profile-overrides-path', str(file)]

        def remove(event: Event, context: LaunchContext) -> None:
            file.unlink(missing_ok=True)

        clean_up = [RegisterEventHandler(OnShutdown(on_shutdown=remove))]
    command += ['--topics', *images, *infos, '/tf', '/tf_static']

    def end(event: ProcessExited, context: LaunchContext) -> list[Action]:
        if context.is_shutdown:
            return []
        if event.returncode != 0:
            return [Shutdown(reason='the bag could not be played')]
        over = Shutdown(reason='the bag is over')
        return [TimerAction(period=number['settle'], actions=[over])]

    player = ExecuteProcess(cmd=command, name='play', output='screen', on_exit=end)

    results = [f'{value["panoptic_node"]}/{name}' for name in value['cameras'].split(',') if name]
    results = results or [value['panoptic_node']]
    outputs = [f'{result.strip()}/timing' for result in results]
    wait = OpaqueCoroutine(
        coroutine=wait_for_listeners, args=[[*images, *outputs], number['start_timeout']]
    )

    def start(_: Any, context: LaunchContext) -> list[Action]:
        failed = wait.get_asyncio_future().exception() or context.is_shutdown
        return [] if failed else [player]

    return [
        *clean_up,
        LogInfo(msg=f'The bag starts as soon as the node listens to {", ".join(images)}.'),
        RegisterEventHandler(OnExecutionComplete(target_action=wait, on_completion=start)),
        wait,
    ]


async def wait_for_listeners(context: LaunchContext, topics: list[str], timeout: float) -> None:
    """Wait until somebody subscribes to each topic: what is played before would be lost."""
    node, end = get_ros_node(context), time.monotonic() + timeout
    while silent := [topic for topic in topics if not node.count_subscribers(topic)]:
        if time.monotonic() > end:
            raise RuntimeError(
                f'nobody has subscribed to {", ".join(silent)} within start_timeout, {timeout:g} '
                's; the log above says what the node lacks'
            )
        with contextlib.suppress(asyncio.CancelledError):  # Ctrl-C is no error
            await asyncio.sleep(0.2)
        if context.is_shutdown:
            return


def offers(topics: list[str]) -> Path:
    """Write the QoS in which the player shall offer topics; return the file."""
    with tempfile.NamedTemporaryFile('w', suffix='.yaml', delete=False) as file:
        json.dump(dict.fromkeys(topics, OFFER), file)  # JSON is YAML
    return Path(file.name)
