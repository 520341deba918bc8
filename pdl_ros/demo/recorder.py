"""Watch a panoptic node from outside: bring together what belongs to one frame."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import rclpy
from lifecycle_msgs.msg import TransitionEvent
from rcl_interfaces.msg import Log
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from pdl_ros.imaging.label_images import to_labels
from pdl_ros.imaging.raw import to_rgb
from pdl_ros.labels import LabelSet
from pdl_ros.labels.messages import label_set_of
from pdl_ros.msg import FrameTiming, LabelInfo, PanopticInstanceArray
from pdl_ros.node.ros_log import with_possible_log

# Frames of which something is missing: the results of a slow node, or its labels, which may come
# seconds after the first results. At 30 Hz this is 3 s.
_PENDING = 100


class RecordedFrame(NamedTuple):
    """All messages of one frame; images as arrays: rgb and overlay (H, W, 3) uint8, panoptic (H, W)
    uint16.
    """

    rgb: np.ndarray
    overlay: np.ndarray
    panoptic: np.ndarray
    instances: PanopticInstanceArray
    timing: FrameTiming


def watch(
    on_frame: Callable[[RecordedFrame, LabelSet], None],
    namespace: str,
    go_on: Callable[[Recorder], bool],
) -> None:
    """Be a recorder process in a namespace for as long as `go_on`, asked often, says so."""
    # With rclpy's own handlers Ctrl-C would be an exception of rclpy's.
    rclpy.init(
        args=with_possible_log(['--ros-args', '-r', f'__ns:={namespace}']),
        signal_handler_options=SignalHandlerOptions.NO,
    )
    recorder = Recorder(on_frame)
    try:
        while go_on(recorder):
            rclpy.spin_once(recorder, timeout_sec=0.1)
    finally:
        recorder.destroy_node()
        rclpy.try_shutdown()


class Recorder(Node):
    """Call `on_frame` with each frame whose input and outputs have all arrived, matched by their
    stamps, and with the label set that the node announced.

    `inputs` counts the images; `node_said` is the node's last line in the log, `node_state` the
    last state of its lifecycle that was heard of, or nothing.
    """

    def __init__(
        self,
        on_frame: Callable[[RecordedFrame, LabelSet], None],
        node: str = 'panoptic_node',
        **arguments: Any,
    ) -> None:
        super().__init__('recorder', **arguments)
        self.on_frame = on_frame
        self.label_set: LabelSet | None = None
        self.inputs = 0
        self.node_said = ''
        self.node_state = ''
        self._newest = (0, 0)
        self._pending: OrderedDict[tuple[int, int], dict[str, Any]] = OrderedDict()
        topics = {
            'rgb': (Image, 'image'),
            'overlay': (Image, f'{node}/overlay/image'),
            'panoptic': (Image, f'{node}/panoptic/image'),
            'timing': (FrameTiming, f'{node}/timing'),
            'instances': (PanopticInstanceArray, f'{node}/instances'),
        }
        for name, (message_type, topic) in topics.items():
            self.create_subscription(message_type, topic, self._keeper(name), QoSProfile(depth=10))
        self._outputs = [self.resolve_topic_name(t) for _, t in topics.values() if t != 'image']
        self._watch_node(node)

    def _watch_node(self, node: str) -> None:
        """Follow what else the node says."""
        kept = DurabilityPolicy.TRANSIENT_LOCAL  # also what was said before we came
        self._logger_name = self.resolve_topic_name(node).strip('/').replace('/', '.')
        for message_type, topic, callback, qos in (
            (
                LabelInfo,
                f'{node}/label_info',
                self._keep_labels,
                QoSProfile(depth=1, durability=kept),
            ),
            (Log, '/rosout', self._keep_log, QoSProfile(depth=100, durability=kept)),
            (TransitionEvent, f'{node}/transition_event', self._keep_state, QoSProfile(depth=10)),
        ):
            self.create_subscription(message_type, topic, callback, qos)

    @property
    def ready(self) -> bool:
        """Whether the node has announced its labels and every output that is recorded."""
        return self.label_set is not None and all(map(self.count_publishers, self._outputs))

    @property
    def answered(self) -> bool:
        """Whether all outputs of the newest image have arrived."""
        return self._newest not in self._pending

    def _keeper(self, name: str) -> Callable[[Any], None]:
        return lambda message: self._keep(name, message.header, message)

    def _keep(self, name: str, header: Header, message: Any) -> None:
        stamp = (header.stamp.sec, header.stamp.nanosec)
        if name == 'rgb':
            self.inputs, self._newest = self.inputs + 1, stamp
        parts = self._pending.setdefault(stamp, {})
        parts[name] = message
        self._emit(stamp)
        while len(self._pending) > _PENDING:
            self._pending.popitem(last=False)

    def _keep_log(self, message: Log) -> None:
        if message.name == self._logger_name:
            self.node_said = message.msg

    def _keep_state(self, message: TransitionEvent) -> None:
        self.node_state = message.goal_state.label

    def _keep_labels(self, message: LabelInfo) -> None:
        self.label_set = label_set_of(message)
        for stamp in list(self._pending):  # what came before the labels
            self._emit(stamp)

    def _emit(self, stamp: tuple[int, int]) -> None:
        """Hand on the frame of a stamp if all of it has come, and its labels are known."""
        parts = self._pending[stamp]
        if len(parts) < len(RecordedFrame._fields) or self.label_set is None:
            return
        del self._pending[stamp]
        self.on_frame(
            RecordedFrame(
                to_rgb(parts['rgb']),
                to_rgb(parts['overlay']),
                to_labels(parts['panoptic']),
                parts['instances'],
                parts['timing'],
            ),
            self.label_set,
        )
