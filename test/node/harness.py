"""A real panoptic node in a process of its own, and a camera and listener in this one, over DDS."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import rclpy
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from pdl_ros.msg import FrameTiming, LabelInfo, PanopticInstanceArray

OUTPUTS = {
    'semantic/image': Image,
    'instance/image': Image,
    'panoptic/image': Image,
    'overlay/image': Image,
    'instances': PanopticInstanceArray,
    'timing': FrameTiming,
}
NODE = ('-m', 'pdl_ros.node.main')
START_TIMEOUT = 120.0
RESULT_TIMEOUT = 60.0  # generous: a loaded machine is not a wrong result


class Harness:
    """Publishes on `image`, keeps everything the node says, and reads its log."""

    def __init__(self, process: subprocess.Popen[str], log: Path, domain: int) -> None:
        self.process, self.log_file = process, log
        self.received: dict[str, list[Any]] = defaultdict(list)
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node('harness', context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.camera = self.node.create_publisher(Image, 'image', QoSProfile(depth=50))
        self._subscriptions: dict[str, Any] = {}
        self.fails = False  # whether a configure is meant to fail
        self._clients: dict[str, Any] = {}
        self._stamp = 0

    def listen(self, *outputs: str) -> None:
        """Subscribe to outputs and wait until the node is matched."""
        for name in outputs or OUTPUTS:
            self._subscriptions[name] = self.node.create_subscription(
                OUTPUTS[name],
                f'panoptic_node/{name}',
                self.received[name].append,
                QoSProfile(depth=50),
            )
        for name in self._subscriptions:
            topic = f'/panoptic_node/{name}'
            self.wait(lambda t=topic: self.node.count_publishers(t) > 0, START_TIMEOUT)
        self.wait(lambda: self.camera.get_subscription_count() > 0, START_TIMEOUT)
        self.spin(0.5)  # the node's publishers learn of our subscriptions a moment later

    def deafen(self, name: str) -> None:
        """Drop one subscription."""
        self.node.destroy_subscription(self._subscriptions.pop(name))
        self.spin(0.5)

    def label_info(self) -> list[LabelInfo]:
        """Subscribe to label_info as a late joiner and return the list that fills."""
        kept: list[LabelInfo] = []
        qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.node.create_subscription(LabelInfo, 'panoptic_node/label_info', kept.append, qos)
        return kept

    def header(self, frame_id: str = 'front_camera') -> Header:
        """Return a header with a stamp of its own."""
        self._stamp += 1
        message = Header(frame_id=frame_id)
        message.stamp.sec, message.stamp.nanosec = 1000 + self._stamp, 7 * self._stamp
        return message

    def send(self, image: Image) -> dict[str, Any]:
        """Publish one image and return the outputs with its stamp, by topic."""
        before = {name: len(kept) for name, kept in self.received.items()}
        self.camera.publish(image)
        self.wait(
            lambda: all(len(self.received[n]) > before.get(n, 0) for n in self._subscriptions)
        )
        return {name: self.received[name][-1] for name in self._subscriptions}

    def state(self) -> str:
        """Ask the node for its lifecycle state."""
        began, asked = time.monotonic(), list[Any]()

        def answered() -> bool:
            # On a busy machine an answer can be lost: where the node gives it before it has found
            # who asked, rclpy warns and goes on.
            if time.monotonic() >= began + 10 * len(asked):
                asked.append(self.start_call(GetState, 'get_state', GetState.Request()))
            return any(future.done() for future in asked)

        self.wait(answered, START_TIMEOUT)
        state = next(future.result() for future in asked if future.done())
        return str(state.current_state.label)

    def transition(self, label: str) -> bool:
        """Ask for a lifecycle transition; False when it is refused or fails."""
        request = ChangeState.Request()
        request.transition.label = label
        return bool(self.call(ChangeState, 'change_state', request).success)

    def set_parameters(self, **values: Any) -> list[str]:
        """Change parameters one by one; return the reasons of refusals, '' where it was done."""
        request = SetParameters.Request(
            parameters=[Parameter(n, value=v).to_parameter_msg() for n, v in values.items()]
        )
        results = self.call(SetParameters, 'set_parameters', request).results
        assert all(result.successful != bool(result.reason) for result in results)
        return [result.reason for result in results]

    def call(self, kind: Any, service: str, request: Any, timeout: float = START_TIMEOUT) -> Any:
        """Call a service of the node."""
        future = self.start_call(kind, service, request)
        self.wait(future.done, timeout)
        return future.result()

    def start_call(self, kind: Any, service: str, request: Any) -> Any:
        """Call a service of the node without waiting for the answer."""
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, f'panoptic_node/{service}')
        client = self._clients[service]
        self.wait(client.service_is_ready, START_TIMEOUT)
        return client.call_async(request)

    def wait_for_log(self, text: str, timeout: float = RESULT_TIMEOUT) -> None:
        """Wait until the node has said something."""
        self.wait(lambda: text in self.log(), timeout)

    def wait(self, condition: Callable[[], bool], timeout: float = RESULT_TIMEOUT) -> None:
        """Spin until the condition holds; fail with the node's log otherwise."""
        end = time.monotonic() + timeout
        while not condition():
            self.executor.spin_once(timeout_sec=0.05)
            assert self.process.poll() is None, f'the node died:\n{self.log()}'
            assert self.fails or 'Not started.' not in self.log(), f'not configured:\n{self.log()}'
            assert time.monotonic() < end, f'timed out after {timeout} s:\n{self.log()}'

    def spin(self, seconds: float) -> None:
        """Let messages arrive for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.05)

    def log(self) -> str:
        """Return what the node has written so far."""
        return self.log_file.read_text()

    def interrupt(self) -> int:
        """Press Ctrl-C; return the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)

    def close(self) -> None:
        """Leave DDS and end the node if it still runs."""
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # killed, it would leave its shared memory
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def spawn(
    parameters: dict[str, Any], log: Path, domain: int, program: Sequence[str] = NODE
) -> subprocess.Popen[str]:
    """Start the executable's module, as `ros2 run` would, or what stands for it."""
    arguments = [a for name, value in parameters.items() for a in ('-p', f'{name}:={value}')]
    command = [sys.executable, *program, '--ros-args', *arguments]
    environment = {**os.environ, 'ROS_DOMAIN_ID': str(domain), 'OMP_NUM_THREADS': '1'}
    with log.open('w') as out:
        return subprocess.Popen(command, stdout=out, stderr=out, env=environment, text=True)


@contextlib.contextmanager
def running(
    parameters: dict[str, Any], log: Path, domain: int, program: Sequence[str] = NODE
) -> Iterator[Harness]:
    """Run a node with parameters; the harness is its camera and its audience."""
    harness = Harness(spawn(parameters, log, domain, program), log, domain)
    try:
        yield harness
    finally:
        harness.close()
