"""A camera made of pictures: publishes frames of any source as `image`, with a fresh stamp each.

As a process: ``demo_camera SOURCE RATE FRAMES LISTENERS --ros-args ...``; all can be left out. With
``--on-demand`` it sends a frame for each byte on its standard input, and at most at its rate.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import os
import select
import sys
import time
from collections.abc import Callable, Iterable

import numpy as np
import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from pdl_ros.demo.cameras import open_camera
from pdl_ros.errors import PdlError
from pdl_ros.messages.images import ImageWriter
from pdl_ros.node.output.ros_messages import ROS
from pdl_ros.node.ros_log import with_possible_log
from pdl_ros.node.shared_memory import configure_shared_memory

_FAREWELL = 2.0  # seconds for listeners to have the last frames
_LISTENERS = 2  # the node and the recorder: the camera starts when both are there
_GLANCE = 0.2  # seconds after which a waiting camera sees that it is to end
_PATIENCE = 300.0  # seconds; a node on a slow machine takes its time to start


def main() -> None:
    """Play frames of a source to its listeners; what is wrong is a sentence and status 2."""
    options = _parser().parse_args(remove_ros_args(sys.argv)[1:])
    try:
        source = open_camera(options.source)
        endless = itertools.chain.from_iterable(itertools.repeat(source))
        play(
            source if options.frames else endless,
            options.rate or source.fps,
            options.frames,
            options.listeners,
            _PATIENCE,
            _demanded if options.on_demand else _always,
        )
    except PdlError as error:
        print(f'pdl_ros: {error}', file=sys.stderr)
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser('demo_camera', description='A camera made of pictures.')
    add = functools.partial(parser.add_argument, nargs='?')
    add('source', default='clip', help='clip, scene, a file, a folder or a rosbag')
    add('rate', type=_not_negative, default=0.0, help="frames a second; 0: the source's own")
    add('frames', type=int, default=0, help='0: without end, from the start again and again')
    add('listeners', type=int, default=_LISTENERS, help='it begins when so many subscribe')
    parser.add_argument(
        '--on-demand',
        action='store_true',
        help='send a frame for each byte on the standard input, and end with it',
    )
    return parser


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0 <= value < float('inf'):
        raise ValueError
    return value


def _always() -> bool:
    return True


def _demanded() -> bool:
    """Wait until a frame is asked for, by a byte on the standard input; False when none will be."""
    while rclpy.ok():
        if select.select([0], [], [], _GLANCE)[0]:
            return bool(os.read(0, 1))
    return False


def play(
    frames: Iterable[np.ndarray],
    rate: float,
    limit: int,
    listeners: int,
    patience: float,
    demanded: Callable[[], bool] = _always,
) -> None:
    """Be a camera process: wait for listeners, then publish (H, W, 3) uint8 RGB frames at `rate`.

    demanded: waits before each frame until it may be sent; False: no more are wanted. Raises
    PdlError when there are not so many listeners within `patience` seconds. ROS arguments are taken
    from the command line.
    """
    configure_shared_memory()
    # With rclpy's own handlers Ctrl-C would end the context in the midst of a call.
    rclpy.init(args=with_possible_log(), signal_handler_options=SignalHandlerOptions.NO)
    with contextlib.suppress(KeyboardInterrupt):
        node = FramePlayer()
        if node.wait_for_subscribers(listeners, patience):
            node.play(frames, rate, limit, demanded)
        elif rclpy.ok():
            raise PdlError(
                f'The camera found fewer than {listeners} listeners on {node.topic} within '
                f'{patience:.0f} s; is DDS traffic on this machine blocked by a firewall?'
            )
    rclpy.try_shutdown()


class FramePlayer(Node):
    """Publish (H, W, 3) uint8 RGB frames on `image`."""

    def __init__(self, frame_id: str = 'camera_optical_frame') -> None:
        super().__init__('camera')
        self.frame_id = frame_id
        # Reliable suits best-effort subscribers too, and a demo should lose no frame to the
        # transport.
        self._publisher = self.create_publisher(
            Image, 'image', QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        )
        self._writer = ImageWriter(ROS, 'rgb8')

    @property
    def topic(self) -> str:
        """The full name of the topic published on."""
        return str(self._publisher.topic_name)

    def wait_for_subscribers(self, count: int, timeout: float) -> bool:
        """Wait until so many subscribers are matched; False after `timeout` seconds."""
        end = time.monotonic() + timeout
        while self._publisher.get_subscription_count() < count:
            if time.monotonic() > end or not rclpy.ok():
                return False
            time.sleep(0.05)
        return True

    def play(
        self,
        frames: Iterable[np.ndarray],
        rate: float,
        limit: int = 0,
        demanded: Callable[[], bool] = _always,
    ) -> int:
        """Publish at most `limit` frames (0: all) at `rate` a second, each once it is `demanded`;
        return how many.
        """
        period, due, count = 1 / rate, time.monotonic(), 0
        for rgb in frames:
            if (limit and count >= limit) or not demanded() or not rclpy.ok():
                break
            time.sleep(max(due - time.monotonic(), 0))
            due = max(due + period, time.monotonic())  # late frames do not catch up in a burst
            header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self.frame_id)
            self._publisher.publish(self._writer.fill(rgb, header))
            count += 1
        if rclpy.ok():  # whoever leaves now takes the last frames along
            self._publisher.wait_for_all_acked(Duration(seconds=_FAREWELL))
        return count


if __name__ == '__main__':
    main()
