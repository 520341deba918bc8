"""Large images go through shared memory that they fit into, unless the user wants it otherwise."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import namedtuple
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from std_msgs.msg import Header

from pdl_ros.node import events
from pdl_ros.node import shared_memory as transport
from pdl_ros.node.shared_memory import PROFILE, SEGMENT, configure_shared_memory

from .harness import running
from .in_process import in_process
from .test_topics import message_of

ROOT = Path(__file__).resolve().parents[2]

PROFILES = {'FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE'}
Usage = namedtuple('Usage', 'total used free')


@pytest.fixture(autouse=True)
def roomy(monkeypatch, tmp_path):
    """A machine with just enough shared memory, and an empty working directory."""
    monkeypatch.setattr(transport.shutil, 'disk_usage', lambda _: Usage(0, 0, 2 * SEGMENT))
    monkeypatch.chdir(tmp_path)


def after(environment: dict[str, str]) -> dict[str, str]:
    """The environment that the node makes of one."""
    configure_shared_memory(environment)
    return environment


def test_without_a_choice_the_profile_is_used_under_its_name_in_old_and_new_fast_dds():
    found = after({})
    assert {name: found[name] for name in PROFILES} == dict.fromkeys(PROFILES, str(PROFILE))
    assert found['RMW_FASTRTPS_PUBLICATION_MODE'] == 'ASYNCHRONOUS'


@pytest.mark.parametrize(
    'chosen',
    [
        {'FASTRTPS_DEFAULT_PROFILES_FILE': 'mine.xml'},
        {'FASTDDS_DEFAULT_PROFILES_FILE': 'mine.xml'},
        {'FASTDDS_BUILTIN_TRANSPORTS': 'UDPv4'},
        {'RMW_FASTRTPS_USE_QOS_FROM_XML': '1'},
    ],
)
def test_what_a_user_chose_for_fast_dds_stays(chosen):
    found = after(dict(chosen))
    assert {name: found[name] for name in chosen} == chosen
    assert str(PROFILE) not in found.values()


@pytest.mark.parametrize('name', sorted(PROFILES))
def test_a_profile_named_for_another_version_of_fast_dds_is_read_by_this_one(name):
    mine = dict.fromkeys(PROFILES, 'mine.xml')
    assert {k: after({name: 'mine.xml'})[k] for k in PROFILES} == mine
    both = mine | {name: 'other.xml'}
    assert {k: after(dict(both))[k] for k in PROFILES} == both


def test_a_chosen_publication_mode_stays():
    mode = {'RMW_FASTRTPS_PUBLICATION_MODE': 'SYNCHRONOUS'}
    assert after(dict(mode))['RMW_FASTRTPS_PUBLICATION_MODE'] == 'SYNCHRONOUS'


def test_a_profile_in_the_working_directory_stays(tmp_path):
    (tmp_path / 'DEFAULT_FASTRTPS_PROFILES.xml').touch()
    assert not PROFILES & after({}).keys()


def test_another_middleware_is_left_alone():
    environment = {'RMW_IMPLEMENTATION': 'rmw_cyclonedds_cpp'}
    assert after(dict(environment)) == environment


def test_a_container_with_little_shared_memory_keeps_its_small_segments(monkeypatch, tmp_path):
    monkeypatch.setattr(transport.shutil, 'disk_usage', lambda _: Usage(0, 0, 2 * SEGMENT - 1))
    assert not PROFILES & after({}).keys()
    monkeypatch.undo()
    assert not transport._has_room(tmp_path / 'nowhere')


def test_the_profile_asks_for_as_much_as_is_looked_for():
    space = '{http://www.eprosima.com}'
    root = ElementTree.parse(PROFILE).getroot()
    assert [int(e.text) for e in root.iter(f'{space}segment_size')] == [SEGMENT]
    assert Path(PROFILE).is_file()


def test_a_running_node_has_that_memory_and_leaves_none_behind(tmp_path, domain, monkeypatch):
    monkeypatch.undo()
    parameters = {'variant': 'scene_tiny', 'device': 'cpu'}
    with running(parameters, tmp_path / 'log', domain) as harness:
        harness.listen('timing')
        segments = large_segments(harness.process.pid)
        assert len(segments) == 1
        assert harness.interrupt() == 0
    assert not segments[0].exists()


CAMERA = """
import sys, time
from array import array
import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
rclpy.init()
camera = rclpy.create_node('camera').create_publisher(Image, 'image', qos_profile_sensor_data)
image = Image(height=966, width=1296, encoding='rgb8', step=3 * 1296)
image.data = array('B', bytes(3 * 1296 * 966))
while camera.get_subscription_count() == 0:
    time.sleep(0.05)
print('matched', flush=True)
while sys.stdin.readline():
    camera.publish(image)
    print(flush=True)
"""


@contextlib.contextmanager
def camera_process(domain, prologue=''):
    """A driver that publishes a large image for every line it reads; after lines of a shell."""
    command = f'{prologue}\nexec "$0" -c "$1"'
    environment = {k: v for k, v in os.environ.items() if k not in PROFILES}
    process = subprocess.Popen(
        ['bash', '-ec', command, sys.executable, CAMERA], text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, env={**environment, 'ROS_DOMAIN_ID': str(domain)},
    )  # fmt: skip
    try:
        yield process
    finally:
        process.communicate('')


def shoot(process) -> None:
    process.stdin.write('\n')
    process.stdin.flush()
    process.stdout.readline()


def documented_lines() -> str:
    """What the documentation has users run before a camera driver."""
    text = (ROOT / 'docs' / 'node.md').read_text(encoding='utf-8')
    (block,) = re.findall(r'```sh\n(.*?)```', text.partition('## Large images')[2], re.DOTALL)
    return str(block)


def test_a_camera_that_is_started_as_documented_has_room_for_its_images(domain, tmp_path):
    share = tmp_path / 'share'  # what `ros2 pkg prefix --share pdl_ros` says
    (share / 'config').mkdir(parents=True)
    shutil.copy(PROFILE, share / 'config')
    prologue = f'ros2() {{ [ "$*" = "pkg prefix --share pdl_ros" ] && echo {share}; }}\n'
    with in_process(None, domain, image_qos='sensor_data') as node:
        with camera_process(domain, prologue + documented_lines()) as process:
            process.stdout.readline()
            assert len(large_segments(process.pid)) == 1
            for _ in range(5):
                shoot(process)
                node.spin(0.3)
        node.wait(lambda: node.camera.received > 0)
        assert node.camera.statistics.lost_in_transport == 0


def test_frames_that_are_lost_on_their_way_are_counted_and_the_remedy_is_named(
    domain, tmp_path, capfd
):
    with in_process(None, domain, image_qos='sensor_data') as node:
        with camera_process(domain) as process:
            process.stdout.readline()
            sent, end = 0, time.monotonic() + 60
            # How many come through is up to chance; most do not.
            while node.camera.statistics.lost_in_transport < 5 and time.monotonic() < end:
                shoot(process)
                sent += 1
                node.spin(0.05)
        node.spin(0.5)
        lost = node.camera.statistics.lost_in_transport
        assert 5 <= lost <= sent - node.camera.received
        level, message, values = node.condition()
        assert level == DiagnosticStatus.WARN
        assert re.match(r'\d+ of the last \d+ images of /image were lost on their way', message)
        assert 'docs/node.md#large-images-and-fast-dds' in message
        assert values['frames lost in transport'] == str(lost)
        for _ in range(2):
            node.subscriptions.watch()
        assert capfd.readouterr().err.count('were lost on their way') == 1


def test_a_middleware_that_does_not_tell_of_losses_still_delivers(monkeypatch, domain, rgb):
    real = events.SubscriptionEventCallbacks

    def without(**callbacks):
        if 'message_lost' in callbacks:
            raise events.UnsupportedEventTypeError('message lost')
        return real(**callbacks)

    monkeypatch.setattr(events, 'SubscriptionEventCallbacks', without)
    with in_process(None, domain) as node:
        node.wait(lambda: node.images.get_subscription_count() > 0)
        node.send(message_of(rgb, 'rgb8', Header()))
        assert node.camera.received == 1


def large_segments(pid: int) -> list[Path]:
    """The shared memory of Fast DDS in a process that images fit into."""
    found = []
    for line in Path(f'/proc/{pid}/maps').read_text().splitlines():
        start, end = (int(at, 16) for at in line.split()[0].split('-'))
        if '/dev/shm/fast' in line and end - start >= SEGMENT:
            found.append(Path(line.split()[-1]))
    return found
