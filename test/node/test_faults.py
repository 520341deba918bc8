"""What breaks around the node, for real: it says so once and goes on with the next good frame."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from sensor_msgs.msg import CompressedImage, Image

from pdl_ros.messages.point_cloud import POINT
from pdl_ros.pipeline import Segmenter

from .harness import running
from .test_cameras import depth_camera, hear
from .test_topics import message_of, pixels_of

CAMERA = """
import itertools, sys
import numpy as np
from pdl_ros.demo.frame_player import play
play(itertools.repeat(np.load(sys.argv[1])), 20.0, 0, 1, 60.0)
"""


@contextlib.contextmanager
def camera_process(picture: Path, domain: int) -> Iterator[None]:
    """A camera at 20 Hz that is killed at the end, wherever it is."""
    environment = {**os.environ, 'ROS_DOMAIN_ID': str(domain), 'OMP_NUM_THREADS': '1'}
    process = subprocess.Popen([sys.executable, '-c', CAMERA, str(picture)], env=environment)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_a_camera_that_is_killed_and_comes_back_is_missed_once_and_segmented_again(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray, segmenter: Segmenter
) -> None:
    np.save(tmp_path / 'rgb.npy', rgb)
    with running(parameters, tmp_path / 'log.txt', domain) as node:
        seen = hear(node, '/panoptic_node/panoptic/image', Image)
        for life in ('first', 'second'):
            before = len(seen)
            with camera_process(tmp_path / 'rgb.npy', domain):
                node.wait(lambda n=before: len(seen) > n + 10)
            np.testing.assert_array_equal(
                pixels_of(seen[-1]), segmenter(rgb).panoptic.numpy(), f'in its {life} life'
            )
            if life == 'first':
                node.wait_for_log('No image on /image for 5 s')
        node.wait_for_log('/image: images arrive again.')
        stamps = [(m.header.stamp.sec, m.header.stamp.nanosec) for m in seen]
        assert stamps == sorted(set(stamps))
        assert node.log().count('No image on /image') == 1
        assert '[ERROR]' not in node.log()


def png_of(edge: int, header: Any) -> CompressedImage:
    """Return a grey square of any size in a file of some kilobytes."""
    _, data = cv2.imencode('.png', np.full((edge, edge, 3), 90, np.uint8))
    return CompressedImage(header=header, format='png', data=data.tobytes())


@contextlib.contextmanager
def little_memory(pid: int, megabytes: int) -> Iterator[None]:
    """Let a running process have so much address space more, and no more."""
    status = Path(f'/proc/{pid}/status').read_text()
    (kilobytes,) = re.findall(r'VmSize:\s+(\d+) kB', status)
    before = resource.prlimit(pid, resource.RLIMIT_AS)
    limit = 1024 * int(kilobytes) + 1_000_000 * megabytes
    resource.prlimit(pid, resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_AS, before)


# To be decoded they take 448 and 220 MB; the smaller keeps 94 and its label images take 282 more.
# What other threads may reserve meanwhile (64 MB each) must not matter.
@pytest.mark.parametrize(
    ('edge', 'megabytes', 'sentence'),
    [(8000, 150, 'The compressed image'), (5600, 320, ' allocate ')],
    ids=['decoding', 'segmenting'],
)
def test_a_frame_that_does_not_fit_into_memory_costs_itself(
    parameters: dict[str, Any],
    tmp_path: Path,
    domain: int,
    rgb: np.ndarray,
    segmenter: Segmenter,
    edge: int,
    megabytes: int,
    sentence: str,
) -> None:
    parameters = {**parameters, 'transport': 'compressed', 'max_image_pixels': 1 << 26}
    with running(parameters, tmp_path / 'log.txt', domain) as node:
        camera = node.node.create_publisher(CompressedImage, 'image/compressed', 10)
        seen = hear(node, '/panoptic_node/panoptic/image', Image)
        heard: list[DiagnosticArray] = []
        node.node.create_subscription(DiagnosticArray, '/diagnostics', heard.append, 10)
        node.wait(lambda: camera.get_subscription_count() > 0)
        _, data = cv2.imencode('.png', rgb[..., ::-1])
        expected = segmenter(rgb).panoptic.numpy()

        def good() -> None:
            count = len(seen)
            camera.publish(CompressedImage(header=node.header(), format='png', data=data.tobytes()))
            node.wait(lambda: len(seen) > count)
            np.testing.assert_array_equal(pixels_of(seen[-1]), expected)

        good()
        with little_memory(node.process.pid, megabytes):
            camera.publish(png_of(edge, node.header()))
            node.wait_for_log('frame skipped')
            node.wait(lambda: bool(heard) and heard[-1].status[-1].level == DiagnosticStatus.ERROR)
            assert 'frame skipped' in heard[-1].status[-1].message
            good()  # with as little memory as before
        good()
        (said,) = re.findall('.*frame skipped.*', node.log())
        assert sentence in said
        assert 'Traceback' not in node.log()


def resident_megabytes(pid: int) -> float:
    """Return the memory that a process holds."""
    (kilobytes,) = re.findall(r'VmRSS:\s+(\d+) kB', Path(f'/proc/{pid}/status').read_text())
    return int(kilobytes) / 1024


def test_hostile_pictures_leave_no_memory_behind_and_no_lines_but_one(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray
) -> None:
    parameters = {**parameters, 'transport': 'compressed', 'image_qos': 'reliable'}
    parameters['policy'] = 'every_frame'
    with running(parameters, tmp_path / 'log.txt', domain) as node:
        camera = node.node.create_publisher(CompressedImage, 'image/compressed', 10)
        seen = hear(node, '/panoptic_node/panoptic/image', Image)
        node.wait(lambda: camera.get_subscription_count() > 0)
        _, data = cv2.imencode('.jpg', rgb[..., ::-1])
        _, large = cv2.imencode('.jpg', np.full((4096, 4096, 3), 90, np.uint8))
        jpeg, bomb = data.tobytes(), large.tobytes()

        def send(jpeg: bytes) -> None:
            camera.publish(CompressedImage(header=node.header(), format='jpeg', data=jpeg))

        def good() -> None:
            count = len(seen)
            send(jpeg)
            node.wait(lambda: len(seen) > count)

        for _ in range(3):
            good()
        before = resident_megabytes(node.process.pid)
        send(bomb)  # as large as is allowed: it is segmented
        node.wait(lambda: seen[-1].height == 4096)
        peak = resident_megabytes(node.process.pid)
        good()
        for _ in range(15):
            send(jpeg[:-200])
            send(bomb[:-200])
            good()
        node.wait(lambda: resident_megabytes(node.process.pid) < before + 100)
        assert peak > before + 200
        assert len(re.findall('frame skipped', node.log())) < 20
        assert 'Corrupt JPEG' not in node.log()


def test_a_depth_camera_that_sees_nothing_or_sends_nonsense_costs_the_points_only(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray
) -> None:
    with running({**parameters, 'points': 'dense'}, tmp_path / 'log.txt', domain) as node:
        node.listen('semantic/image', 'timing')
        height, width = rgb.shape[:2]
        depths, clouds = depth_camera(node, height, width)

        def frame(change: Callable[[Image], None], metres: float) -> None:
            pixels = np.full((height, width), metres, np.float32)
            depth = Image(height=height, width=width, encoding='32FC1', step=4 * width)
            depth.data, depth.header = pixels.tobytes(), node.header('depth_frame')
            change(depth)
            depths.publish(depth)
            node.spin(0.5)
            node.send(message_of(rgb, 'rgb8', depth.header))

        frame(lambda depth: None, np.nan)
        node.wait(lambda: len(clouds) == 1)
        assert (clouds[0].width, len(clouds[0].data)) == (0, 0)
        frame(lambda depth: setattr(depth, 'encoding', 'rgb8'), 1.0)
        node.wait_for_log("/image: no points: Depth of encoding 'rgb8' is not supported")
        frame(lambda depth: None, 2.0)
        node.wait(lambda: len(clouds) == 2)
        points = np.frombuffer(bytes(clouds[1].data), POINT)
        assert len(points) == height * width
        assert (points['z'] == 2.0).all()
        assert node.received['timing'][-1].frames_processed == 3
        assert 'Traceback' not in node.log()


def test_a_bag_that_starts_anew_is_said_once_and_its_things_are_tracked_again(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray
) -> None:
    with running({**parameters, 'tracking': True}, tmp_path / 'log.txt', domain) as node:
        node.listen('instances')
        for loop in range(3):
            ages = []
            for second in range(3):
                image = message_of(rgb, 'rgb8', node.header())
                image.header.stamp.sec = 1000 + second
                things = node.send(image)['instances'].instances
                assert len({thing.track_id for thing in things}) == len(things) > 3
                ages.append({thing.track_age for thing in things})
            assert ages == [{0}, {1}, {2}], f'in loop {loop}'
        assert node.log().count('Tracking starts anew') == 2
