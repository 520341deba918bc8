"""Large images from one process to another, over the middleware that the node will use.

The child is the subscriber and starts the camera, a process of its own, as a driver is one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from array import array
from typing import Any

from pdl_ros.doctor.child import answer

HEIGHT, WIDTH = 1024, 2048
_COUNT, _PERIOD = 15, 0.05  # images, and seconds between them
_MEETING = 10.0  # seconds in which two processes must have found each other
_LATE = 1.0  # seconds in which the last image must arrive
_LONGEST = 30.0  # seconds for all of it


def receive(camera_has_room: str) -> dict[str, Any]:
    """Have a camera send large images; return how many came, and how long each took.

    camera_has_room: '1' where the camera takes the node's settings of Fast DDS, else it is as
    drivers are by default.
    """
    from pdl_ros.node.shared_memory import configure_shared_memory

    without = dict(os.environ)
    configure_shared_memory()
    topic = f'pdl_ros_doctor_{os.getpid()}/image'
    command = [sys.executable, '-m', 'pdl_ros.doctor.ros.round_trip', 'send', topic]
    environment = dict(os.environ) if camera_has_room == '1' else without
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as camera:
        times = _listen(topic, camera)
        said = camera.communicate()[0]
    if camera.returncode:
        raise RuntimeError(f'the sending process ended with status {camera.returncode}')
    return {
        'met': 'matched' in said,
        'sent': _COUNT,
        'received': len(times),
        'milliseconds': times,
        'size': [HEIGHT, WIDTH],
    }


def _listen(topic: str, camera: subprocess.Popen[str]) -> list[float]:
    """Return how many milliseconds each image took, until all came or the camera has ended."""
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image

    from pdl_ros.messages.stamps import stamp_of

    times: list[float] = []

    def note(raw: bytes) -> None:
        times.append((time.time_ns() - stamp_of(raw)) / 1e6)

    rclpy.init()
    node = rclpy.create_node(f'pdl_ros_doctor_{os.getpid()}')
    node.create_subscription(Image, topic, note, qos_profile_sensor_data, raw=True)
    end = time.monotonic() + _LONGEST
    while time.monotonic() < end and len(times) < _COUNT:
        rclpy.spin_once(node, timeout_sec=0.05)
        if camera.poll() is not None:
            end = min(end, time.monotonic() + _LATE)
    _leave(node)
    return times


def send(topic: str) -> None:
    """Wait for a subscriber, then send images as a camera does."""
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image

    rclpy.init()
    node = rclpy.create_node(f'pdl_ros_doctor_{os.getpid()}')
    publisher = node.create_publisher(Image, topic, qos_profile_sensor_data)
    image = Image(height=HEIGHT, width=WIDTH, encoding='rgb8', step=3 * WIDTH)
    image.data = array('B', bytes(3 * WIDTH * HEIGHT))
    end = time.monotonic() + _MEETING
    while publisher.get_subscription_count() == 0:
        if time.monotonic() > end:
            _leave(node)
            return
        time.sleep(0.02)
    print('matched', flush=True)
    time.sleep(0.2)  # the subscriber learns of this publisher a moment later
    for _ in range(_COUNT):
        now = time.time_ns()
        image.header.stamp.sec, image.header.stamp.nanosec = divmod(now, 10**9)
        publisher.publish(image)
        time.sleep(_PERIOD)
    time.sleep(0.3)  # the last one may still be under way
    _leave(node)


def _leave(node: Any) -> None:
    """Leave DDS, which else leaves its shared memory behind."""
    import rclpy

    node.destroy_node()
    rclpy.shutdown()


if __name__ == '__main__':
    if sys.argv[1] == 'send':
        send(sys.argv[2])
    else:
        answer({'receive': receive})
