"""Launch files that start real processes, and Ctrl-C that ends them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

try:
    import launch_testing

    import launch
except ImportError:
    pytest.skip(
        'needs launch_testing: the ROS wheels lack it, a ROS distribution has it',
        allow_module_level=True,
    )

HERE = Path(__file__).resolve().parent
TIMEOUT = 120.0  # a loaded machine takes its time to read PyTorch
# What `ros2 launch FILE` does.
LAUNCH = """
import sys
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.actions import IncludeLaunchDescription
from launch import LaunchDescription, LaunchService
service = LaunchService()
source = PythonLaunchDescriptionSource(sys.argv[1])
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(source)]))
sys.exit(service.run())
"""


@pytest.fixture
def environment(tmp_path: Path, domain: int) -> dict[str, str]:
    folders = [str(Path(module.__path__[0]).parent) for module in (launch, launch_testing)]
    return {
        **os.environ,
        'PATH': f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}',
        'ROS_DOMAIN_ID': str(domain),
        'ROS_LOG_DIR': str(tmp_path / 'log'),
        'OMP_NUM_THREADS': '1',
        'PYTHONPATH': os.pathsep.join([*folders, os.environ.get('PYTHONPATH', '')]),
        'PYTHONUNBUFFERED': '1',
    }


class Terminal:
    """`ros2 launch` in a terminal: its process group, and what it prints."""

    def __init__(self, file: Path, environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open('w') as out:
            self.process = subprocess.Popen(
                [sys.executable, '-c', LAUNCH, str(file)],
                env=environment, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip

    def wait_for(self, pattern: str) -> None:
        """Wait until something has been printed."""
        end = time.monotonic() + TIMEOUT
        while not re.search(pattern, self.log.read_text()):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, f'{pattern} was not said:\n{self.log.read_text()}'
            time.sleep(0.1)

    def control_c(self) -> int:
        """Interrupt the whole group, as a terminal does; return the status of ros2 launch."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(60)

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def bringup(tmp_path: Path, environment: dict[str, str]) -> Iterator[Terminal]:
    terminal = Terminal(HERE / 'bringup_launch.py', environment, tmp_path / 'log.txt')
    yield terminal
    terminal.close()


def test_camera_node_and_recorder_of_one_launch_work_and_all_end_with_status_0(
    bringup: Terminal,
) -> None:
    bringup.wait_for(r'(?s)(recorded \(\d+, \d+\) scene.*){3}')
    assert bringup.control_c() == 0
    said = bringup.log.read_text()
    ended = re.findall(r'\[(\w+)-\d\]: process has finished cleanly', said)
    assert sorted(ended) == ['demo_camera', 'panoptic_node', 'recorder'], said
    assert 'process has died' not in said
    assert 'Traceback' not in said


def test_the_launch_test_of_colcon_passes(environment: dict[str, str]) -> None:
    command = [sys.executable, '-m', 'launch_testing.launch_test']
    done = subprocess.run(
        [*command, str(HERE / 'launch_test_panoptic.py')],
        env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'Ran 1 test' in done.stderr  # each of: while it runs, after it has ended
