"""A plain colcon workspace: copied and linked installs both give the messages and the programs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PUBLISH = """
import time, rclpy
from pdl_ros.msg import PanopticInstance, PanopticInstanceArray
rclpy.init()
publisher = rclpy.create_node('publisher').create_publisher(PanopticInstanceArray, 'things', 2)
message = PanopticInstanceArray(label_set='camvid')
message.instances.append(PanopticInstance(id=7, mask_encoding='coco_rle', mask_data=b'P:3'))
for _ in range(200):
    publisher.publish(message)
    time.sleep(0.05)
"""

RECEIVE = """
import time, rclpy
from pdl_ros.msg import PanopticInstanceArray
rclpy.init()
node = rclpy.create_node('subscriber')
received = []
node.create_subscription(PanopticInstanceArray, 'things', received.append, 2)
end = time.monotonic() + 10
while not received and time.monotonic() < end:
    rclpy.spin_once(node, timeout_sec=0.2)
thing = received[0].instances[0]
print(thing.id, thing.mask_encoding, bytes(thing.mask_data), received[0].label_set)
"""


@pytest.fixture
def workspace(tmp_path):
    if shutil.which('colcon') is None:
        pytest.skip('colcon is not installed')
    wanted = ('pdl_ros', 'msg', 'include', 'config', 'launch', 'CMakeLists.txt', 'package.xml')
    ignored = shutil.ignore_patterns('__pycache__')
    for name in wanted:
        source, copy = ROOT / name, tmp_path / 'src' / 'pdl_ros' / name
        if source.is_dir():
            shutil.copytree(source, copy, ignore=ignored)
        elif source.exists():
            shutil.copy(source, copy)
    return tmp_path


def bash(workspace, script, **options):
    python = Path(sys.executable).parent
    script = f'export PATH={python}:$PATH\n{script}'
    command = ['bash', '-e', '-c', script]
    return subprocess.run(
        command, cwd=workspace, capture_output=True, text=True, timeout=280, **options
    )


@pytest.mark.slow
def test_a_workspace_builds_and_its_processes_exchange_messages(workspace, domain):
    """test/soak does it with links in the place of copies."""
    check_that_it_builds_and_exchanges_messages(workspace, domain)


def check_that_it_builds_and_exchanges_messages(workspace, domain, mode=''):
    built = bash(workspace, f'nice colcon build {mode} --cmake-args -DBUILD_TESTING=OFF')
    assert built.returncode == 0, built.stdout + built.stderr

    installed = workspace / 'install' / 'pdl_ros'
    (package,) = installed.glob('lib/python*/site-packages/pdl_ros')
    definitions = {path.name for path in (package / 'definitions').iterdir()}
    assert definitions == {path.name for path in (ROOT / 'msg').iterdir()}
    exchanged = bash(
        workspace,
        'source install/setup.bash\n'
        'cd /\n'
        'python3 -c "import pdl_ros; print(pdl_ros.__file__)"\n'
        'python3 -c "$PUBLISH" &\n'
        'python3 -c "$RECEIVE"\n'
        'kill $!\n',
        env={**os.environ, 'ROS_DOMAIN_ID': str(domain), 'PUBLISH': PUBLISH, 'RECEIVE': RECEIVE},
    )
    assert exchanged.stdout.splitlines() == [
        str(package / '__init__.py'),
        "7 coco_rle b'P:3' camvid",
    ], exchanged.stderr

    assert (installed / 'include' / 'pdl_ros' / 'pdl_ros' / 'masks.hpp').is_file()
    for program in ('panoptic_node', 'pdl_ros', 'doctor'):
        path = installed / 'lib' / 'pdl_ros' / program
        assert path.stat().st_mode & 0o111
        assert path.read_text().startswith('#!/usr/bin/env python3')
    for path in (ROOT / 'pdl_ros').rglob('*'):
        if path.is_file() and '__pycache__' not in path.parts:
            assert (package / path.relative_to(ROOT / 'pdl_ros')).is_file()
    for folder in ('config', 'launch'):
        for path in (ROOT / folder).rglob('*.*'):
            if path.is_file() and '__pycache__' not in path.parts:
                assert (installed / 'share' / 'pdl_ros' / path.relative_to(ROOT)).is_file()
