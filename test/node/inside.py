"""A real panoptic node in this process, on its own executor: for what cannot be done from outside,
such as a device that fails.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import TransitionEvent
from rcl_interfaces.msg import Log
from rclpy.context import Context
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from pdl_ros.node.executor import NodeExecutor
from pdl_ros.node.panoptic_node import PanopticNode
from pdl_ros.node.rclpy_compat import state_of

from .test_topics import message_of


class Inside:
    """The node, a camera and a listener, spun in a thread; kept are results, log lines, diagnostics
    and the states that the node went into.
    """

    def __init__(
        self, parameters: dict[str, Any], domain: int, arguments: Sequence[str] = ()
    ) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        values = {**parameters, 'weights': str(parameters['weights']), 'autostart': False}
        self.node = PanopticNode(
            context=self.context,
            cli_args=['--ros-args', *arguments],
            parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
        )
        self.peer = rclpy.create_node('peer', context=self.context)
        self.results: list[Image] = []
        self.log: list[Log] = []
        self.diagnostics: list[DiagnosticArray] = []
        self.states: list[str] = []
        self.camera = self.peer.create_publisher(Image, 'image', 10)
        subscribe = self.peer.create_subscription
        subscribe(Image, 'panoptic_node/panoptic/image', self.results.append, 10)
        subscribe(Log, '/rosout', self.log.append, QoSProfile(depth=1000))
        subscribe(DiagnosticArray, '/diagnostics', self.diagnostics.append, 10)
        subscribe(
            TransitionEvent,
            'panoptic_node/transition_event',
            lambda event: self.states.append(event.goal_state.label),
            10,
        )
        self.executor = NodeExecutor(self.node.is_transition, self.context)
        self.executor.add_node(self.node)
        self.executor.add_node(self.peer)
        self._over = False
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()
        self._stamp = 0

    def _spin(self) -> None:
        while not self._over:
            self.executor.spin_once(timeout_sec=0.05)

    @property
    def state(self) -> str:
        return state_of(self.node)

    @property
    def errors(self) -> list[str]:
        """The node's log lines that are errors or worse."""
        mine = [line for line in list(self.log) if line.name == 'panoptic_node']
        return [line.msg for line in mine if line.level >= 40]

    @property
    def level(self) -> bytes | None:
        """The level of the node in the newest diagnostics."""
        return self.diagnostics[-1].status[0].level if self.diagnostics else None

    @property
    def message(self) -> str:
        """What diagnostics say of the node."""
        return str(self.diagnostics[-1].status[0].message)

    @property
    def topics(self) -> set[str]:
        """The topics that the node publishes under its own name."""
        names = {publisher.topic_name for publisher in self.node.publishers}
        return {name for name in names if name.startswith('/panoptic_node/')}

    def wait(self, condition: Callable[[], bool], timeout: float = 60.0) -> None:
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, f'{self.state}: {[line.msg for line in self.log]}'
            time.sleep(0.01)

    def start(self) -> None:
        """Configure and activate, and wait until camera and listener are matched."""
        self.node.trigger_configure()
        self.node.trigger_activate()
        assert self.state == 'active', self.errors
        self.matched()

    def matched(self) -> None:
        """Wait until a frame would be taken and its result be heard."""
        self.wait(lambda: self.camera.get_subscription_count() > 0)
        self.wait(lambda: bool(self.node._outputs['']._publishers['panoptic']
                               .get_subscription_count()))  # fmt: skip

    def send(self, rgb: np.ndarray) -> None:
        """Publish a frame."""
        self._stamp += 1
        header = Header(frame_id='camera')
        header.stamp.sec = self._stamp
        self.camera.publish(message_of(rgb, 'rgb8', header))

    def segment(self, rgb: np.ndarray) -> Image:
        """Publish a frame and return what is made of it."""
        before = len(self.results)
        self.send(rgb)
        self.wait(lambda: len(self.results) > before)
        return self.results[-1]

    def close(self) -> None:
        self.node.destroy_node()
        self._over = True
        self._thread.join(10)
        self.executor.shutdown(timeout_sec=1)
        self.peer.destroy_node()
        rclpy.try_shutdown(context=self.context)


@contextlib.contextmanager
def inside(
    parameters: dict[str, Any], domain: int, arguments: Sequence[str] = ()
) -> Iterator[Inside]:
    """Run a node in this process, with parameters and further ROS arguments."""
    node = Inside(parameters, domain, arguments)
    try:
        yield node
    finally:
        node.close()
