"""The panoptic node: a lifecycle around cameras, one worker and their publishers."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.lifecycle.node import LifecycleNodeMixin
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import Header

from pdl_ros.labels import LabelSet
from pdl_ros.msg import LabelInfo
from pdl_ros.network.variants import get_variant
from pdl_ros.node import diagnostics
from pdl_ros.node.input.camera import Camera, Received
from pdl_ros.node.input.frame_queue import FrameQueue
from pdl_ros.node.input.subscriptions import Subscriptions
from pdl_ros.node.lifecycle import log_failure, reject_invalid_transitions
from pdl_ros.node.log_handler import NodeLogHandler
from pdl_ros.node.output import messages
from pdl_ros.node.output.detections import have_vision_msgs, vision_label_info
from pdl_ros.node.output.publishers import CameraPublishers, warm_up_outputs
from pdl_ros.node.parameters import NodeSettings, Parameters
from pdl_ros.node.worker import Worker
from pdl_ros.pipeline import Segmenter, default_fusion
from pdl_ros.runtime.memory import give_freed_memory_back

_SUCCESS, _FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class PanopticNode(LifecycleNodeMixin, Node):
    """Segment the images of one or more cameras and publish what has a subscriber.

    configure: check the parameters, load the network, warm it up, create the outputs. activate:
    subscribe and work. deactivate: stop. cleanup: give everything back. A failure of configure is
    one logged sentence and leaves the node to be configured again.
    """

    def __init__(self, **node_arguments: Any) -> None:
        Node.__init__(self, 'panoptic_node', **node_arguments)
        # Transitions may take long; asking for the state meanwhile must not wait for them.
        LifecycleNodeMixin.__init__(self, callback_group=ReentrantCallbackGroup())
        reject_invalid_transitions(self._service_change_state, self.get_logger())
        self._table = Parameters(self)
        NodeLogHandler(self.get_logger())
        self._settings: NodeSettings | None = None
        self._segmenter: Segmenter | None = None
        self._cameras: dict[str, Camera] = {}
        self._outputs: dict[str, CameraPublishers] = {}
        self._frame_queue: FrameQueue[Received] | None = None
        self._worker: Worker | None = None
        self._camera_subscriptions: Subscriptions | None = None
        self._label_infos: list[tuple[Publisher, Callable[[LabelSet, Header], Any]]] = []
        self._label_timer: Any = None
        self.add_on_set_parameters_callback(self._check_parameters)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._own_group = MutuallyExclusiveCallbackGroup()
        self._create_steady_timer(1.0, self._publish_diagnostics)

    # --- lifecycle --------------------------------------------------------------------------------

    def autostart(self) -> None:
        """Configure and activate, if the parameter says so; otherwise say what to do."""
        name = self.get_fully_qualified_name()
        if not self.get_parameter('autostart').value:
            self.get_logger().info(
                f'Unconfigured; to start: ros2 lifecycle set {name} configure, then activate.'
            )
            return
        if self.trigger_configure() == _SUCCESS:
            self.trigger_activate()
        else:
            self.get_logger().error(
                f'Not started. Set the parameter right (ros2 param set {name} ...), then: ros2 '
                f'lifecycle set {name} configure, then activate.'
            )

    def is_transition(self, entity: Any) -> bool:
        """Tell whether callbacks of an entity must not hold up the others: transitions."""
        return entity is self._service_change_state

    @log_failure
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read parameters, load weights, warm up, advertise."""
        started = time.perf_counter()
        settings = self._table.read()
        variant = get_variant(settings.variant).name
        segmenter = Segmenter.load(
            settings.weights or variant, settings.device, variant, settings.engines()
        )
        segmenter.fusion = settings.fusion(default_fusion(segmenter.variant))
        segmenter.warm_up(*settings.expected_size())
        warm_up_outputs(segmenter.label_set)
        self._settings, self._segmenter = settings, segmenter
        names = settings.cameras or ('',)
        frame_queue: FrameQueue[Received] = FrameQueue(
            names,
            settings.policy == 'newest',
            settings.queue_size,
            self._wake,
            settings.batch_window_ms / 1e3,
        )
        self._frame_queue = frame_queue
        self._cameras = {c: Camera(self, c, settings, frame_queue) for c in names}
        on_match = self._follow_demand if settings.lazy else None
        self._outputs = {
            c: CameraPublishers(self, c, settings, segmenter.label_set, on_match) for c in names
        }
        self._label_infos = self._advertise_label_info()
        self._publish_label_info()
        self._label_timer = self._create_steady_timer(
            settings.label_info_period, self._publish_label_info
        )
        self.get_logger().info(
            f'Configured: {variant} on {segmenter.device} by {segmenter.engine.name} in '
            f'{segmenter.engine.precision}, {time.perf_counter() - started:.1f} s.'
        )
        return _SUCCESS

    @log_failure
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the worker, then subscribe."""
        assert self._segmenter is not None and self._frame_queue is not None
        assert self._settings is not None
        self._frame_queue.open()
        self._worker = Worker(
            self._segmenter,
            {c: (camera, self._outputs[c]) for c, camera in self._cameras.items()},
            self._frame_queue,
            lambda: self._settings,  # type: ignore[arg-type, return-value]
            lambda sentence: self.get_logger().error(sentence, throttle_duration_sec=5.0),
        )
        self._camera_subscriptions = Subscriptions(
            self, self._cameras.values(), self._settings, self._wanted
        )
        for outputs in self._outputs.values():
            for sentence in outputs.describe():
                self.get_logger().info(f'Publishing {sentence}')
        self.get_logger().info(f'Active: publishing under {self.get_fully_qualified_name()}/.')
        return _SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and end the worker; loaded weights stay."""
        self.stop(timeout=60.0)
        self.get_logger().info('Inactive: no images are taken.')
        return _SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give back the outputs, the network and its memory."""
        self._release()
        return _SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """From any state to the end."""
        self.stop(timeout=0.8)
        self._release()
        return _SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an unforeseen error in a transition: back to the beginning."""
        self.stop(timeout=0.8)
        self._release()
        return _SUCCESS

    def stop(self, timeout: float) -> bool:
        """Stop receiving and working; False when a frame still computes after `timeout` seconds."""
        if self._camera_subscriptions is not None:
            self._camera_subscriptions.close()
            self._camera_subscriptions = None
        worker, self._worker = self._worker, None
        return worker is None or worker.stop(timeout)

    def _wanted(self, camera: str) -> bool:
        settings = self._settings
        return settings is not None and bool(self._outputs[camera].demanded(settings))

    def _follow_demand(self) -> None:
        if (subscriptions := self._camera_subscriptions) is not None:
            subscriptions.follow_demand()

    def _release(self) -> None:
        for outputs in self._outputs.values():
            outputs.close()
        self._cameras, self._outputs = {}, {}
        if self._label_timer is not None:
            self.destroy_timer(self._label_timer)
            self._label_timer = None
        for publisher, _ in self._label_infos:
            self.destroy_publisher(publisher)
        self._label_infos = []
        if self._segmenter is not None:
            self._segmenter.release()
        self._segmenter = self._frame_queue = self._settings = None
        gc.collect()
        give_freed_memory_back()

    def destroy_node(self) -> None:
        """Leave DDS."""
        super().destroy_node()
        # It holds on to the node, and so to what DDS keeps of it, which outlives this process.
        self._state_machine.destroy_when_not_in_use()

    # --- parameters -------------------------------------------------------------------------------

    def _check_parameters(self, changes: list[Any]) -> Any:
        fusion = default_fusion(self._segmenter.variant) if self._segmenter else None
        result, settings = self._table.check(changes, self._settings is not None, fusion)
        if settings is not None and self._settings is not None:
            # The worker reads this once a frame, so a change is seen whole.
            self._settings = settings
            for camera in self._cameras.values():
                camera.rate_limit = settings.rate_limit
        return result

    # --- every second -----------------------------------------------------------------------------

    def _publish_diagnostics(self) -> None:
        if self._camera_subscriptions is not None:
            self._camera_subscriptions.watch()
        state = self._state_machine.current_state[1]
        self._diagnostics.publish(
            diagnostics.array(
                self.get_clock().now().to_msg(),
                self.get_fully_qualified_name(),
                state,
                self._segmenter,
                list(self._cameras.values()),
            )
        )

    def _advertise_label_info(self) -> list[tuple[Publisher, Callable[[LabelSet, Header], Any]]]:
        """Return the latched publishers of what labels mean, and what makes their messages."""
        kinds: list[tuple[type, str, Callable[[LabelSet, Header], Any]]] = [
            (LabelInfo, '~/label_info', messages.label_info)
        ]
        if have_vision_msgs():
            from vision_msgs.msg import LabelInfo as VisionLabelInfo

            kinds.append((VisionLabelInfo, '~/detections/label_info', vision_label_info))
        return [
            (
                self.create_publisher(
                    kind,
                    topic,
                    QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),
                    qos_overriding_options=QoSOverridingOptions.with_default_policies(),
                ),
                make,
            )
            for kind, topic, make in kinds
        ]

    def _publish_label_info(self) -> None:
        if self._segmenter is None:
            return
        frames = [c.statistics.frame_id for c in self._cameras.values()]
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=frames[0] if frames else '')
        for publisher, make in self._label_infos:
            publisher.publish(make(self._segmenter.label_set, header))

    def _create_steady_timer(self, seconds: float, callback: Any) -> Any:
        # On the steady clock: a paused simulation must not silence it.
        return self.create_timer(
            seconds,
            callback,
            callback_group=self._own_group,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )

    def _wake(self) -> None:
        if self.executor is not None:
            self.executor.wake()
