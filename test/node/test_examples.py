"""The programs in examples/ do what they say, over real topics."""

from __future__ import annotations

import itertools
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rclpy
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image, RegionOfInterest
from std_msgs.msg import Header

from pdl_ros.demo.scene import Scene
from pdl_ros.imaging.masks import coco_masks, mask_of
from pdl_ros.msg import PanopticInstance, PanopticInstanceArray

EXAMPLES = Path(__file__).resolve().parents[2] / 'examples'
TIMEOUT = 60.0  # generous: a loaded machine is not a wrong result


class Stage:
    """Publishes what a node would, and runs an example beside it."""

    def __init__(self, domain: int, log: Path) -> None:
        self._context, self._log = Context(), log
        self._environment = {**os.environ, 'ROS_DOMAIN_ID': str(domain), 'PYTHONUNBUFFERED': '1'}
        rclpy.init(context=self._context, domain_id=domain)
        self.node = rclpy.create_node('stage', context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        topic = 'panoptic_node/instances'
        self.things = self.node.create_publisher(PanopticInstanceArray, topic, 10)
        self.camera = self.node.create_publisher(Image, 'image', 10)
        self._process: subprocess.Popen[str] | None = None

    def start(self, *command: str | Path) -> None:
        """Start a program and wait until it has subscribed to the instances."""
        with self._log.open('w') as out:
            self._process = subprocess.Popen(
                command, stdout=out, stderr=out, env=self._environment, text=True
            )
        self.wait(lambda: self.things.get_subscription_count() > 0)

    def log(self) -> str:
        return self._log.read_text()

    def wait(self, condition: Callable[[], bool]) -> None:
        """Spin until the condition holds; fail with the program's log otherwise."""
        end = time.monotonic() + TIMEOUT
        while not condition():
            self._executor.spin_once(timeout_sec=0.05)
            assert self._process is not None
            assert self._process.poll() is None, f'the example ended:\n{self.log()}'
            assert time.monotonic() < end, f'timed out:\n{self.log()}'

    def repeat(self, action: Callable[[], object], condition: Callable[[], bool]) -> None:
        """Act, again and again, until the condition holds: a topic is heard after a moment only."""
        due = 0.0

        def acted() -> bool:
            nonlocal due
            if time.monotonic() > due:
                action()
                due = time.monotonic() + 0.05
            return condition()

        self.wait(acted)

    def interrupt(self) -> int:
        """Press Ctrl-C and return the exit status."""
        assert self._process is not None
        self._process.send_signal(2)
        return self._process.wait(TIMEOUT)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self._context)


@pytest.fixture
def stage(domain: int, tmp_path: Path) -> Iterator[Stage]:
    """A stage in a domain of its own."""
    made = Stage(domain, tmp_path / 'log')
    yield made
    made.close()


def things(number: int, *classes_and_tracks: tuple[str, int]) -> PanopticInstanceArray:
    """Return a message of a 6x8 image in which each thing is an L of three pixels."""
    instances = np.zeros((6, 8), np.int32)
    for i in range(len(classes_and_tracks)):
        instances[0:2, 2 * i] = instances[1, 2 * i + 1] = i + 1
    masks = coco_masks(instances, range(1, len(classes_and_tracks) + 1))
    message = PanopticInstanceArray(header=Header(frame_id='front'), height=6, width=8)
    message.header.stamp.sec = number
    for i, ((name, track), mask) in enumerate(zip(classes_and_tracks, masks, strict=True)):
        box = RegionOfInterest(x_offset=2 * i, width=2, height=2)
        message.instances.append(
            PanopticInstance(
                id=i + 1,
                class_name=name,
                track_id=track,
                score=0.9 - 0.1 * i,
                area=3,
                box=box,
                mask_encoding='coco_rle',
                mask_data=mask,
            )
        )
    return message


def test_count_things_counts_a_frame_and_tracks_over_frames(stage: Stage):
    stage.start(sys.executable, EXAMPLES / 'count_things.py')
    for number, seen, words in (
        (1, [('car', 4), ('car', 5), ('person', 6)], '2 car (2 in all), 1 person (1 in all)'),
        (2, [('car', 7)], '1 car (3 in all)'),
        (3, [], 'nothing'),
        (4, [('bicyclist', 0)], '1 bicyclist'),
    ):
        stage.things.publish(things(number, *seen))
        stage.wait(lambda words=words: f']: {words}\n' in stage.log())
    assert stage.interrupt() == 0
    assert 'Traceback' not in stage.log()


def test_segment_pictures_writes_an_overlay_and_every_thing_cut_out(tmp_path, capsys, monkeypatch):
    rgb = Scene(47).frame(420).image
    picture, out = tmp_path / 'street.png', tmp_path / 'out'
    cv2.imwrite(str(picture), rgb[..., ::-1])
    program = str(EXAMPLES / 'segment_pictures.py')
    monkeypatch.setattr(sys, 'argv', [program, str(picture), str(out), 'scene_tiny'])
    runpy.run_path(program, run_name='__main__')
    assert capsys.readouterr().out.startswith('000: ')
    assert cv2.imread(str(out / '000.png')).shape == rgb.shape
    cuts = sorted(out.glob('000_car_*.png'))
    assert cuts
    for cut in cuts:
        bgra = cv2.imread(str(cut), cv2.IMREAD_UNCHANGED)
        assert bgra.shape[2] == 4
        for edge in (bgra[0], bgra[-1], bgra[:, 0], bgra[:, -1]):
            assert edge[..., 3].any()  # the box is tight


def test_segment_pictures_says_in_a_sentence_what_it_cannot_open(tmp_path, monkeypatch):
    program = str(EXAMPLES / 'segment_pictures.py')
    monkeypatch.setattr(sys, 'argv', [program, str(tmp_path / 'no.png'), str(tmp_path), 'x.pth'])
    with pytest.raises(SystemExit, match=r'x\.pth'):
        runpy.run_path(program, run_name='__main__')


@pytest.mark.slow
def test_crop_things_publishes_each_person_on_the_topic_of_its_track(stage: Stage, tmp_path):
    """test/setup/test_consumer.py crops without rclcpp."""
    try:
        get_package_prefix('rclcpp')
    except PackageNotFoundError:
        pytest.skip('needs rclcpp, which ROS wheels lack')
    env = {**os.environ, 'CMAKE_PREFIX_PATH': os.environ['AMENT_PREFIX_PATH']}
    source = EXAMPLES / 'crop_things'
    configure = ['cmake', '-S', source, '-B', '.', f'-DPython3_EXECUTABLE={sys.executable}']
    for command in (configure, ['cmake', '--build', '.', '--parallel', '2']):
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    crops: dict[int, list[Any]] = {5: [], 6: []}
    for track, kept in crops.items():
        topic = f'crop_things/track_{track}/image'
        stage.node.create_subscription(Image, topic, kept.append, QoSProfile(depth=10))
    stage.start(tmp_path / 'crop_things')
    stage.wait(lambda: stage.camera.get_subscription_count() > 0)
    rgb = np.random.default_rng(0).integers(1, 256, (6, 8, 3), dtype=np.uint8)

    def see(*seen: tuple[str, int]) -> PanopticInstanceArray:
        message = things(next(numbers), *seen)
        picture = Image(header=message.header, height=6, width=8, encoding='rgb8', step=24)
        picture.data = rgb.tobytes()
        stage.camera.publish(picture)
        stage.things.publish(message)
        return message

    numbers = itertools.count()
    three = ('car', 4), ('person', 5), ('pedestrian', 6)
    stage.repeat(lambda: see(*three), lambda: bool(crops[5] and crops[6]))
    message = things(0, *three)
    for track, thing in zip((5, 6), message.instances[1:], strict=True):
        x, mask = thing.box.x_offset, mask_of(message, thing)
        expected = np.where(mask[..., None], rgb, 0)[0:2, x : x + 2]
        crop = crops[track][-1]
        assert (crop.encoding, crop.header.frame_id) == ('rgb8', 'front')
        found = np.frombuffer(crop.data, np.uint8).reshape(crop.height, crop.width, 3)
        np.testing.assert_array_equal(found, expected)
    assert 'Track 4 begins' not in stage.log()
    stage.repeat(lambda: see(('person', 5)), lambda: 'Track 6 is lost after' in stage.log())
    stage.things.publish(things(9999))
    stage.wait(lambda: 'The image of a result is missing.' in stage.log())
    assert stage.interrupt() == 0
