"""The doctor's ROS half, over real DDS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pdl_ros.doctor.child import ProbeError
from pdl_ros.doctor.finding import DOUBTFUL, MISSING, OK, OPTIONAL
from pdl_ros.doctor.ros import network, setup

FAST = {'rmw': 'rmw_fastrtps_cpp', 'rmw_installed': ['rmw_fastrtps_cpp'], 'version': '7.1.5'}


def test_processes_that_do_not_find_each_other_and_a_camera_that_fails_are_told(monkeypatch):
    silent = {'met': False, 'sent': 15, 'received': 0, 'milliseconds': [], 'size': [1024, 2048]}
    monkeypatch.setattr(network, 'ask', lambda *_, **__: silent)
    found = network._round_trip('x', True)
    assert (found.level, found.found) == (
        MISSING, 'two processes did not find each other within some seconds',
    )  # fmt: skip

    def fail(*_, **__):
        raise ProbeError('RuntimeError: no middleware')

    monkeypatch.setattr(network, 'ask', fail)
    assert network._round_trip('x', True).level == MISSING


def test_images_that_a_plain_driver_loses_are_a_doubt_with_the_page_to_read(monkeypatch):
    lossy = {'met': True, 'sent': 15, 'received': 3, 'milliseconds': [9.0], 'size': [1024, 2048]}
    monkeypatch.setattr(network, 'ask', lambda *_, **__: lossy)
    found = network._round_trip('plain driver to node', False)
    assert found.level == DOUBTFUL
    assert 'docs/node.md' in found.advice


def test_a_machine_that_was_busy_for_a_moment_is_asked_again_before_it_is_said_to_be_broken(
    monkeypatch,
):
    answers = iter([
        {'met': True, 'sent': 15, 'received': 0, 'milliseconds': [], 'size': [1024, 2048]},
        {'met': True, 'sent': 15, 'received': 15, 'milliseconds': [9.0], 'size': [1024, 2048]},
    ])  # fmt: skip
    monkeypatch.setattr(network, 'ask', lambda *_, **__: next(answers))
    assert network._round_trip('plain driver to node', False).level == OK


def test_messages_that_are_not_built_are_said(tmp_path, monkeypatch):
    stub = tmp_path / 'pdl_ros' / 'msg'
    stub.mkdir(parents=True)
    (stub / '__init__.py').write_text("raise ImportError('no such library: libpdl_ros.so')")
    (stub.parent / '__init__.py').write_text(
        'from pkgutil import extend_path\n__path__ = extend_path(__path__, __name__)\n'
        "__version__ = '0'\n"
    )
    before = os.environ.get('PYTHONPATH', '')
    root = str(Path(__file__).resolve().parents[2])
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(tmp_path), root, before]))
    monkeypatch.chdir(tmp_path)
    found = setup._messages()
    assert found.level == MISSING
    assert 'no such library' in found.found
    assert 'colcon build' in found.advice


def test_without_ros_it_is_said_what_goes_and_what_does_not():
    section = setup.ros_section(
        ProbeError('NotInstalledError: rclpy', 'NotInstalledError'), {'PATH': ''}
    )
    levels = {f.name: (f.level, f.advice) for f in section.findings}
    assert levels['ROS 2'][0] == MISSING
    assert 'the library and the command line do not' in levels['ROS 2'][1]
    assert 'messages' not in levels


def test_ros_for_another_python_is_named(tmp_path):
    (tmp_path / 'lib' / 'python3.99' / 'site-packages' / 'rclpy').mkdir(parents=True)
    environ = {'ROS_DISTRO': 'jazzy', 'AMENT_PREFIX_PATH': str(tmp_path), 'PATH': ''}
    section = setup.ros_section(
        ProbeError('NotInstalledError: rclpy', 'NotInstalledError'), environ
    )
    assert 'its rclpy is for Python 3.99' in section.findings[0].advice


def test_a_python_of_ros2_run_without_torch_is_named_with_what_to_do(tmp_path):
    """The known trap: torch in a venv that is not the one that `ros2 run` finds."""
    program = tmp_path / 'python3'
    program.write_text('#!/bin/sh\necho \'["/usr", "3.12.3", ["torch"]]\'\n')
    program.chmod(0o755)
    found = setup._interpreter({'PATH': str(tmp_path)})
    assert found.level == MISSING
    assert f'start the node with {program}, which has no torch' in found.advice
    program.write_text('#!/bin/sh\necho \'["/usr", "3.12.3", []]\'\n')
    assert setup._interpreter({'PATH': str(tmp_path)}).level == DOUBTFUL
    program.write_text('#!/bin/sh\nexit 1\n')
    assert setup._interpreter({'PATH': str(tmp_path)}).level == MISSING
    assert setup._interpreter({'PATH': str(tmp_path / 'nowhere')}).level == MISSING
    assert setup._interpreter(dict(os.environ)).data['lacks'] == []


def test_cv_bridge_for_another_numpy_is_a_doubt_as_the_node_does_without_it(monkeypatch):
    def fail(*_, **__):
        raise ProbeError('AttributeError: _ARRAY_API not found', 'AttributeError')

    monkeypatch.setattr(setup, 'ask', fail)
    found = setup._cv_bridge()
    assert found.level == DOUBTFUL
    assert 'numpy<2' in found.advice


def test_little_shared_memory_is_found_with_the_option_that_gives_more(tmp_path, monkeypatch):
    usage = network.shutil.disk_usage(tmp_path)._replace(total=64 << 20, free=60 << 20)
    monkeypatch.setattr(network.shutil, 'disk_usage', lambda _: usage)
    found = network._shared_memory(tmp_path)
    assert found.level == DOUBTFUL
    assert '--shm-size=1g' in found.advice
    assert network._profile(FAST, {}, False, tmp_path).found == 'none, for want of shared memory'
    monkeypatch.undo()
    assert network._shared_memory(tmp_path / 'nowhere').level == DOUBTFUL


def test_a_profile_that_is_not_there_is_found(tmp_path):
    lost = {'FASTDDS_DEFAULT_PROFILES_FILE': str(tmp_path / 'gone.xml')}
    assert network._profile(FAST, lost, False, tmp_path).level == DOUBTFUL
    (tmp_path / 'gone.xml').touch()
    assert network._profile(FAST, lost, False, tmp_path).level == OK
    assert "pdl_ros' own" in network._profile(FAST, {}, True, tmp_path).found


@pytest.mark.parametrize(
    ('domain_id', 'level'), [('', OK), ('7', OK), ('102', DOUBTFUL), ('x', DOUBTFUL)]
)
def test_a_domain_without_ports_is_found(domain_id, level):
    assert network._domain({'ROS_DOMAIN_ID': domain_id}).level == level


def test_small_network_buffers_are_found_and_multicast_is_tried(tmp_path, monkeypatch):
    core = tmp_path / 'sys' / 'net' / 'core'
    core.mkdir(parents=True)
    for name in ('rmem_max', 'wmem_max'):
        (core / name).write_text('212992\n')
    assert network._buffers(tmp_path).level == DOUBTFUL
    assert network._buffers(tmp_path / 'nowhere').level == OK

    def refuse() -> bool:
        raise OSError(101, 'Network is unreachable')

    assert network._multicast().data['works'] in (True, False)
    monkeypatch.setattr(network, '_hears_itself', refuse)
    assert network._multicast().level == DOUBTFUL


def test_addresses_in_variables_are_not_told_and_a_middleware_that_is_not_there_is():
    environ = {'ROS_DISCOVERY_SERVER': '10.1.2.3:11811', 'RMW_IMPLEMENTATION': 'rmw_cyclonedds_cpp'}
    found = network._middleware(FAST, environ)
    assert '10.1.2.3' not in json.dumps([found.found, found.data])
    assert found.level == DOUBTFUL
    assert 'ros-$ROS_DISTRO-rmw-cyclonedds-cpp' in found.advice


@pytest.mark.slow
def test_the_executable_says_in_one_run_that_the_node_can_run_here(tmp_path, domain):
    command = [sys.executable, '-m', 'pdl_ros.doctor.main', '--json', 'out.json']
    environment = {**os.environ, 'ROS_DOMAIN_ID': str(domain), 'COLUMNS': '80'}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])
    done = subprocess.run(
        command, cwd=tmp_path, env={**environment, 'PATH': path}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'The node can run here.' in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    content = json.loads((tmp_path / 'out.json').read_text())
    assert content['can_run']
    found = {f['name']: f for s in content['sections'] for f in s['findings']}
    assert found['cv_bridge']['level'] in (OK, OPTIONAL, DOUBTFUL)
    assert found['one frame']['data']['segments'] > 0
    assert found['domain']['data'] == {'domain': domain}
    assert found['messages']['level'] == found['ROS 2']['level'] == OK
    for name in ('node to subscriber', 'plain driver to node'):
        counts = found[name]['data']
        assert counts['met']
        assert 0 <= counts['received'] <= counts['sent']
        assert all(0 < taken < 60e3 for taken in counts['milliseconds'])
    assert found['node to subscriber']['data']['received'] > 0
