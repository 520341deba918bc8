"""The demo's camera as a program: its arguments, and frames on demand."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image

from pdl_ros.demo.frame_player import main


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['clip', 'fast'], "argument rate: invalid .* value: 'fast'"),
        (['clip', '-1'], 'argument'),
        (['clip', '10', 'many'], "argument frames: invalid int value: 'many'"),
        (['nowhere/drive.mp4'], 'No file or folder .*drive.mp4'),
    ],
)
def test_a_wrong_argument_of_the_camera_is_a_sentence_and_status_2(
    words, said, monkeypatch, capsys
):
    monkeypatch.setattr('sys.argv', ['demo_camera', *words, '--ros-args', '-r', '__ns:=/a'])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert 'Traceback' not in error
    assert re.search(said, error), error


def test_a_camera_on_demand_sends_a_frame_for_each_byte_and_ends_with_its_input(
    tmp_path: Path, context: Context, domain: int
) -> None:
    cv2.imwrite(str(tmp_path / 'still.png'), np.full((4, 6, 3), 90, np.uint8))
    node = rclpy.create_node('audience', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    seen: list[Image] = []
    node.create_subscription(Image, 'image', seen.append, 10)
    command = [sys.executable, '-m', 'pdl_ros.demo.frame_player', str(tmp_path), '1000', '0', '1']
    environment = {**os.environ, 'ROS_DOMAIN_ID': str(domain)}
    with subprocess.Popen(
        [*command, '--on-demand'], stdin=subprocess.PIPE, env=environment, bufsize=0
    ) as camera:
        assert camera.stdin is not None
        for asked in (2, 3):
            camera.stdin.write(b'\n' * (asked - len(seen)))
            end = time.monotonic() + 60
            while len(seen) < asked:
                executor.spin_once(timeout_sec=0.1)
                assert time.monotonic() < end, 'the camera does not answer'
            executor.spin_once(timeout_sec=0.3)
            assert len(seen) == asked, 'the camera sends what nobody asked for'
        camera.stdin.close()
        assert camera.wait(30) == 0
    executor.shutdown()
    node.destroy_node()
