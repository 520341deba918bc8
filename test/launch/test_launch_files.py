"""The launch files start exactly the processes of the table. Needs launch and launch_ros."""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

try:
    import launch_ros.actions
    from launch.actions import GroupAction, IncludeLaunchDescription
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    import launch
except ImportError:
    pytest.skip(
        'needs launch and launch_ros: the ROS wheels lack them, a ROS distribution has them',
        allow_module_level=True,
    )

from .cases import CASES, ROBOT, ROOT, WRONG, Process

FILES = sorted(path.name for path in (ROOT / 'launch').glob('*.launch.py'))
PANOPTIC = {
    *(
        'image',
        'namespace',
        'variant',
        'weights',
        'device',
        'engine',
        'precision',
        'params_file',
        'use_sim_time',
    ),
    *('log_level', 'autostart', 'respawn'),
}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Process]:
    """Processes that launch would have started, instead of their being started."""
    processes: list[Process] = []

    def note(action: Any, context: Any) -> None:
        action.prepare(context)
        processes.append(comparable(Process.parse(action.process_details['cmd'])))

    monkeypatch.setattr(launch.actions.ExecuteLocal, 'execute', note)
    return processes


@pytest.fixture(autouse=True)
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, domain: int) -> None:
    """A prefix with the program of another package, which is optional."""
    marker = tmp_path / 'share' / 'ament_index' / 'resource_index' / 'packages' / 'rviz2'
    executable = tmp_path / 'lib' / 'rviz2' / 'rviz2'
    for path in (marker, executable):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    executable.chmod(0o755)
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'{tmp_path}:{os.environ.get("AMENT_PREFIX_PATH", "")}')
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    monkeypatch.setenv('ROS_DOMAIN_ID', str(domain))
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path / 'log'))
    launch.logging.reset()  # it keeps the screen of the first test otherwise
    logging.setLoggerClass(logging.Logger)  # see conftest.py


@pytest.fixture
def listener(domain: int) -> Iterator[None]:
    """Somebody who takes images and results, so that a bag can be played."""
    import rclpy
    from sensor_msgs.msg import Image

    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    node = rclpy.create_node('listener', context=context)
    for topic in ('/cam/image_raw/compressed', '/panoptic_node/timing'):
        node.create_subscription(Image, topic, print, 1)
    yield
    node.destroy_node()
    rclpy.try_shutdown(context=context)


def include(file: str, arguments: dict[str, str]) -> IncludeLaunchDescription:
    source = PythonLaunchDescriptionSource(str(ROOT / 'launch' / file))
    return IncludeLaunchDescription(source, launch_arguments=arguments.items())


def run(*entities: Any) -> int:
    service = launch.LaunchService(noninteractive=True)
    service.include_launch_description(launch.LaunchDescription(list(entities)))
    return int(service.run())


def comparable(process: Process) -> Process:
    """Replace what differs from machine to machine."""
    words = list(process.arguments)
    for i, word in enumerate(words):
        if word == '-d':
            assert Path(words[i + 1]).is_file()
            words[i + 1] = Path(words[i + 1]).name
        if word == '--qos-profile-overrides-path':
            offers = json.loads(Path(words[i + 1]).read_text()).values()
            assert all(offer['reliability'] == 'reliable' for offer in offers)
            words[i + 1] = 'QOS'
    return process._replace(arguments=words)


@pytest.mark.parametrize('name', CASES)
def test_a_launch_file_starts_exactly_and_leaves_no_file(
    name: str,
    started: list[Process],
    listener: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    temporary = tmp_path / 'temporary'
    temporary.mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(temporary))
    case = CASES[name]
    assert run(include(case.file, case.arguments)) == 0
    assert started == case.processes
    assert not list(temporary.glob('*.yaml'))  # those of launch itself have other names


def test_humble_is_given_the_words_that_it_knows(
    started: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('ROS_DISTRO', 'humble')
    assert run(include('record.launch.py', {'labels': 'png'})) == 0
    _, recorder = started
    assert '--topics' not in recorder.arguments
    assert recorder.arguments[-1] == '/diagnostics'


@pytest.mark.parametrize('name', WRONG)
def test_a_wrong_argument_is_said_before_anything_starts(
    name: str, started: list[Process], capfd: pytest.CaptureFixture[str]
) -> None:
    file, arguments, words = WRONG[name]
    assert run(include(file, arguments)) == 1
    assert started == []
    said = ''.join(capfd.readouterr())
    assert words in said
    assert 'Traceback' not in said


def test_what_is_optional_is_missed_before_anything_starts(
    started: list[Process], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv('AMENT_PREFIX_PATH', os.environ['AMENT_PREFIX_PATH'].partition(':')[2])
    prefixes = os.environ['AMENT_PREFIX_PATH'].split(':')
    if any((Path(prefix) / 'lib' / 'rviz2').exists() for prefix in prefixes):
        pytest.skip('needs a machine without rviz2')
    assert run(include('demo.launch.py', {'rviz': 'true'})) == 1
    assert started == []
    assert 'rviz2' in ''.join(capfd.readouterr())


def test_two_robots_are_launched_side_by_side(started: list[Process]) -> None:
    robots = [
        GroupAction(
            [launch_ros.actions.PushRosNamespace(robot), include(ROBOT.file, {'image': 'i'})]
        )
        for robot in ('r1', 'r2')
    ]
    recorded = GroupAction(
        [
            launch_ros.actions.PushRosNamespace('r3'),
            include('record.launch.py', {'namespace': 'head', 'record_camera': 'true'}),
        ]
    )
    assert run(*robots, recorded) == 0
    assert [p.rules.get('__ns') for p in started] == ['/r1', '/r2', '/r3/head', None]
    assert '/r3/head/panoptic_node/panoptic/image' in started[-1].arguments
    assert '/r3/head/image' in started[-1].arguments


@pytest.mark.parametrize('file', FILES)
def test_every_argument_is_described(file: str) -> None:
    source = PythonLaunchDescriptionSource(str(ROOT / 'launch' / file))
    declared = source.get_launch_description(launch.LaunchContext()).get_launch_arguments()
    assert {argument.name for argument in declared} >= PANOPTIC
    for argument in declared:
        assert argument.description, argument.name
        assert 'no description' not in argument.description, argument.name


def test_the_demo_ends_with_its_camera(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    programs = tmp_path / 'lib' / 'pdl_ros'
    programs.mkdir(parents=True)
    (tmp_path / 'share' / 'pdl_ros').mkdir()
    (tmp_path / 'share/ament_index/resource_index/packages/pdl_ros').touch()
    for name, script in (('panoptic_node', 'exec sleep 60'), ('demo_camera', 'exit 2')):
        (programs / name).write_text(f'#!/bin/sh\n{script}\n')
        (programs / name).chmod(0o755)
    assert run(include('demo.launch.py', {'rviz': 'false'})) == 0
    assert re.search(r'sending signal .SIGINT. to process.panoptic_node', capfd.readouterr().out)
