"""Large images go through shared memory that they fit into, unless the user wants it otherwise."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import namedtuple
from pathlib import Path

import pytest

from pdl_ros.node import shared_memory as transport
from pdl_ros.node.shared_memory import PROFILE, SEGMENT, configure_shared_memory

from .harness import running

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
    assert {k: v for k, v in found.items() if k in PROFILES | chosen.keys()} == chosen


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
        assert harness.interrupt()[0] == 0
    assert not segments[0].exists()


def large_segments(pid: int) -> list[Path]:
    """The shared memory of Fast DDS in a process that images fit into."""
    found = []
    for line in Path(f'/proc/{pid}/maps').read_text().splitlines():
        start, end = (int(at, 16) for at in line.split()[0].split('-'))
        if '/dev/shm/fast' in line and end - start >= SEGMENT:
            found.append(Path(line.split()[-1]))
    return found
