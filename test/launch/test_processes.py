"""The processes that the launch files start, run as they would run them, without launch."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
from ament_index_python.packages import get_package_prefix
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from .cases import CAMERAS, CASES, DEMO, ROBOT, Case

TIMEOUT = 100.0  # a loaded machine takes its time to read PyTorch


class Outside:
    """Another node of the same ROS domain, looking at what runs."""

    def __init__(self, folder: Path, domain: int) -> None:
        self.folder, self.domain = folder, domain
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node('outside', context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, case: Case) -> None:
        """Start all processes of a case."""
        for process in case.processes:
            package, _, program = process.program.partition('/')
            executable = Path(get_package_prefix(package), 'lib', package, program)
            place = self.folder / str(len(self.processes))
            place.mkdir()
            with (place / 'log.txt').open('wb') as log:
                self.processes.append(
                    subprocess.Popen(
                        process.command(str(executable), place),
                        env={
                            **os.environ,
                            'ROS_DOMAIN_ID': str(self.domain),
                            'OMP_NUM_THREADS': '1',
                        },
                        stdout=log,
                        stderr=log,
                    )
                )

    def receive(self, topic: str) -> list[Any]:
        """Subscribe to an image topic; return the list that fills."""
        kept: list[Any] = []
        self.node.create_subscription(Image, topic, kept.append, QoSProfile(depth=2))
        return kept

    def wait(self, condition: Callable[[], object]) -> None:
        """Spin until the condition holds; fail with the logs otherwise."""
        end = time.monotonic() + TIMEOUT
        while not condition():
            self.executor.spin_once(timeout_sec=0.1)
            ended = [p.returncode for p in self.processes if p.poll() is not None]
            assert not ended and time.monotonic() < end, self.log()

    def log(self) -> str:
        """Return what all processes have said."""
        return '\n'.join(p.read_text() for p in sorted(self.folder.glob('*/log.txt')))

    def interrupt(self) -> list[int]:
        """Press Ctrl-C; return the exit statuses."""
        for process in self.processes:
            process.send_signal(signal.SIGINT)
        return [process.wait(30) for process in self.processes]

    def close(self) -> None:
        """Leave nothing behind."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def outside(tmp_path: Path, domain: int) -> Iterator[Outside]:
    with contextlib.closing(Outside(tmp_path, domain)) as node:
        yield node


def test_two_robots_work_side_by_side(outside: Outside) -> None:
    outside.start(ROBOT)
    other = ROBOT.processes[0]
    outside.start(ROBOT._replace(processes=[other._replace(rules={**other.rules, '__ns': '/r2'})]))
    for robot in ('robot1', 'r2'):
        outside.wait(lambda r=robot: outside.node.count_subscribers(f'/{r}/front/image_raw'))
        assert outside.node.count_publishers(f'/{robot}/panoptic_node/panoptic/image') == 1
    assert outside.interrupt() == [0, 0]


def test_one_node_takes_the_images_of_several_cameras(outside: Outside) -> None:
    outside.start(CAMERAS)
    for camera in ('front', 'left'):
        outside.wait(lambda c=camera: outside.node.count_subscribers(f'/{c}/image_raw'))
        assert outside.node.count_publishers(f'/panoptic_node/{camera}/panoptic/image') == 1
    assert outside.interrupt() == [0]


def test_a_node_that_shall_not_start_waits_for_a_manager(outside: Outside) -> None:
    outside.start(CASES['compressed images'])
    outside.wait(lambda: 'ros2 lifecycle set /panoptic_node configure' in outside.log())
    assert outside.node.count_subscribers('/cam/image/compressed') == 0
    assert outside.interrupt() == [0]


def test_the_camera_of_the_demo_is_segmented(outside: Outside) -> None:
    outside.start(DEMO)
    images = outside.receive('/pdl_demo/image')
    overlays = outside.receive('/pdl_demo/panoptic_node/overlay/image')
    outside.wait(lambda: images and overlays)
    assert overlays[0].header.frame_id == images[0].header.frame_id == 'camera_optical_frame'
    assert (overlays[0].width, overlays[0].height) == (images[0].width, images[0].height)
    assert outside.interrupt() == [0, 0]
