"""The panoptic node: a lifecycle around cameras, one worker and their publishers."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.lifecycle.node import LifecycleNodeMixin
from rclpy.node import Node

from pdl_ros.errors import PdlError, require
from pdl_ros.labels import LabelSet
from pdl_ros.network.variants import get_variant
from pdl_ros.network.weight_files import DEFAULT_VARIANT
from pdl_ros.node import diagnostics
from pdl_ros.node.bond import Bond, check_bond
from pdl_ros.node.input.camera import Camera
from pdl_ros.node.input.frame import Received
from pdl_ros.node.input.frame_queue import FrameQueue
from pdl_ros.node.input.subscriptions import Subscriptions
from pdl_ros.node.lifecycle import Transitions, log_failure, undone_on_failure
from pdl_ros.node.log_handler import NodeLogHandler
from pdl_ros.node.output.label_info import LabelInfoPublishers
from pdl_ros.node.output.publishers import CameraPublishers, warm_up_outputs
from pdl_ros.node.parameters import (
    NodeSettings,
    Parameters,
    changed_at_configure,
)
from pdl_ros.node.rclpy_compat import (
    after_parameters_are_set,
    change_state_service,
    destroy_state_machine,
    state_of,
)
from pdl_ros.node.supervisor import Supervisor
from pdl_ros.node.throttle import Throttle
from pdl_ros.node.worker import Worker
from pdl_ros.pipeline import Segmenter, default_fusion
from pdl_ros.runtime.memory import give_freed_memory_back

_SUCCESS, _FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
_ERROR = TransitionCallbackReturn.ERROR
_LONGEST_FRAME = 60.0  # seconds that deactivate waits for the frames under way


class PanopticNode(LifecycleNodeMixin, Node):
    """Segment the images of one or more cameras and publish what has a subscriber.

    configure: check the parameters, load the network, warm it up, create the outputs. activate:
    subscribe and work. deactivate: stop. cleanup: give everything back. A transition that fails is
    one logged sentence and leaves nothing behind, so that it can be tried again; a worker that
    cannot go on leads through the lifecycle's error state to the beginning (supervisor.py).
    """

    def __init__(self, **node_arguments: Any) -> None:
        Node.__init__(self, 'panoptic_node', **node_arguments)
        # Transitions may take long; asking for the state meanwhile must not wait for them.
        LifecycleNodeMixin.__init__(self, callback_group=ReentrantCallbackGroup())
        self._transitions = Transitions(self)
        self.supervisor = Supervisor(self, self._transitions)
        self._table = Parameters(self)
        self._fixed = False  # parameters have been read: only live ones can change
        self._settings: NodeSettings | None = None
        self._settings_lock = threading.Lock()
        self._failure = ''
        self._segmenter: Segmenter | None = None
        self._cameras: dict[str, Camera] = {}
        self._outputs: dict[str, CameraPublishers] = {}
        self._frame_queue: FrameQueue[Received] | None = None
        self._worker: Worker | None = None
        self._camera_subscriptions: Subscriptions | None = None
        self._bond: Bond | None = None
        self._label_info: LabelInfoPublishers | None = None
        self._label_timer: Any = None
        self.add_on_set_parameters_callback(self._check_parameters)
        after_parameters_are_set(self, self._apply_parameters)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._own_group = MutuallyExclusiveCallbackGroup()
        self._create_steady_timer(1.0, self._publish_diagnostics)
        # A worker that fails is looked at now, not at the next second.
        self._worker_failed = self.create_guard_condition(self._watch_worker, self._own_group)
        self._log_handler = NodeLogHandler(self.get_logger())

    # --- lifecycle --------------------------------------------------------------------------------

    def autostart(self) -> None:
        """Configure and activate, if the parameter says so; otherwise say what to do."""
        name = self.get_fully_qualified_name()
        if not self.get_parameter('autostart').value:
            self.get_logger().info(
                f'Unconfigured; to start: ros2 lifecycle set {name} configure, then activate.'
            )
            return
        configured = self._transitions.run('configure', only_from='unconfigured')
        if configured:
            self._transitions.run('activate', only_from='inactive')
        elif configured is False:
            self.get_logger().error(
                f'Not started. Set the parameter right (ros2 param set {name} ...), then: ros2 '
                f'lifecycle set {name} configure, then activate.'
            )

    def is_transition(self, entity: Any) -> bool:
        """Tell whether callbacks of an entity must not hold up the others: transitions."""
        return entity is change_state_service(self)

    def report(self, sentence: str) -> None:
        """Log what keeps the node from working; diagnostics show it until the node works again."""
        self._failure = sentence
        self.get_logger().error(sentence)

    def wake(self) -> None:
        """Have the executor look again at what it waits for."""
        if self.executor is not None:
            self.executor.wake()

    @log_failure(_FAILURE)
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read parameters, load weights, warm up, advertise."""
        started = time.perf_counter()
        with undone_on_failure(self, self._release):
            self._fixed = True
            settings = self._table.read()
            self._table.check_start()
            check_bond(settings.bond_heartbeat_period)
            variant = get_variant(settings.variant).name if settings.variant else None
            weights = settings.weights or variant or DEFAULT_VARIANT
            self.get_logger().info(f'Loading {weights}.')
            self._segmenter = segmenter = Segmenter.load(
                weights, settings.device, variant, settings.engines()
            )
            segmenter.fusion = settings.fusion(default_fusion(segmenter.variant))
            self.get_logger().info(
                f'Warming up at {settings.warm_up_size}; what is not in the cache yet is compiled.'
            )
            segmenter.warm_up(*settings.expected_size())
            warm_up_outputs(segmenter.label_set)
            self._create_endpoints(settings, segmenter.label_set)
            self._commit(settings)
        self._failure = ''
        self.get_logger().info(
            f'Configured: {segmenter.variant.name} on {segmenter.device} by '
            f'{segmenter.engine.name} in {segmenter.engine.precision}, '
            f'{time.perf_counter() - started:.1f} s.'
        )
        return _SUCCESS

    def _create_endpoints(self, settings: NodeSettings, label_set: LabelSet) -> None:
        """Create what frames come through and go out by."""
        names = settings.cameras or ('',)
        frame_queue: FrameQueue[Received] = FrameQueue(
            names,
            settings.policy == 'newest',
            settings.queue_size,
            self.wake,
            settings.batch_window_ms / 1e3,
        )
        self._frame_queue = frame_queue
        self._cameras = {
            c: Camera(self, c, settings, frame_queue, partial(self._wanted, c, 'points'))
            for c in names
        }
        on_match = self._follow_demand if settings.lazy else None
        self._outputs = {c: CameraPublishers(self, c, settings, label_set, on_match) for c in names}
        seen = {c: camera.statistics for c, camera in self._cameras.items()}
        self._label_info = LabelInfoPublishers(self, label_set, seen)
        self._label_timer = self._create_steady_timer(
            settings.label_info_period, self._label_info.publish
        )

    @log_failure(_FAILURE)
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the worker, then subscribe."""
        assert self._segmenter is not None and self._frame_queue is not None
        assert self._settings is not None
        require(
            self._worker is None or not self._worker.alive,
            'A worker that could not be stopped still has the engine; clean the node up and '
            'configure it again, which loads another.',
        )
        with undone_on_failure(self, self._undo_activate):
            self._frame_queue.open()
            self._worker = Worker(
                self._segmenter,
                {c: (camera, self._outputs[c]) for c, camera in self._cameras.items()},
                self._frame_queue,
                lambda: self._settings,  # type: ignore[arg-type, return-value]
                Throttle(self.get_logger().error),
                self._worker_failed.trigger,
            )
            self._camera_subscriptions = Subscriptions(
                self, self._cameras.values(), self._settings, self._wanted
            )
            if period := self._settings.bond_heartbeat_period:
                self._bond = Bond(self, period)
        for outputs in self._outputs.values():
            for sentence in outputs.describe():
                self.get_logger().info(f'Publishing {sentence}')
        self._failure = ''
        self.get_logger().info(f'Active: publishing under {self.get_fully_qualified_name()}/.')
        return _SUCCESS

    def _undo_activate(self) -> None:
        self.stop(timeout=1.0)
        for camera in self._cameras.values():
            camera.unsubscribe()

    @log_failure(_ERROR)
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and end the worker; loaded weights stay. An error when the worker has failed,
        or does not end: its engine cannot be used again.
        """
        assert self._settings is not None and self._worker is not None
        failed = self._worker.failure()
        timeout = min(self._settings.engine_timeout or _LONGEST_FRAME, _LONGEST_FRAME)
        if not self.stop(timeout) and not failed:
            raise PdlError(
                f'A frame has not come back from the engine for {timeout:g} s; the node gives the '
                'engine up. Configure it again.'
            )
        if failed:
            return _ERROR
        self.get_logger().info('Inactive: no images are taken.')
        return _SUCCESS

    @log_failure(_ERROR)
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give back the outputs, the network and its memory."""
        self._release()
        return _SUCCESS

    @log_failure(_ERROR)
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """From any state to the end."""
        self.stop(timeout=0.8)
        self._release()
        return _SUCCESS

    @log_failure(_FAILURE)
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an error in a transition: back to the beginning, unconfigured."""
        self.stop(timeout=0.8)
        self._release()
        return _SUCCESS

    def stop(self, timeout: float) -> bool:
        """Stop receiving and working; False when a frame still computes after `timeout` seconds."""
        bond, self._bond = self._bond, None
        if bond is not None:
            bond.close()
        if self._camera_subscriptions is not None:
            self._camera_subscriptions.close()
            self._camera_subscriptions = None
        if self._worker is not None and self._worker.stop(timeout):
            self._worker = None
        return self._worker is None

    def _watch_worker(self) -> None:
        worker, settings = self._worker, self._settings
        # In a transition it is the transition's matter.
        if worker is not None and settings is not None and state_of(self) == 'active':
            self.supervisor.look(worker, settings)

    def _wanted(self, camera: str, output: str = '') -> bool:
        """Tell whether somebody wants an output of a camera, or any."""
        settings, outputs = self._settings, self._outputs.get(camera)
        demanded = outputs.demanded(settings) if outputs and settings else frozenset()
        return output in demanded if output else bool(demanded)

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
        if self._label_info is not None:
            self._label_info.close()
            self._label_info = None
        segmenter, self._segmenter = self._segmenter, None
        worker, self._worker = self._worker, None
        # One that a thread hangs in must not be touched; it goes with the thread.
        if segmenter is not None and (worker is None or not worker.alive):
            with contextlib.suppress(Exception):  # of a device that has failed
                segmenter.release()
        self._frame_queue = self._settings = None
        self._fixed = False
        del segmenter, worker
        gc.collect()
        give_freed_memory_back()

    def destroy_node(self) -> None:
        """Stop, and leave DDS and the library's log."""
        self.supervisor.ended.set()
        self.stop(timeout=0.1)
        self._log_handler.close()
        super().destroy_node()
        destroy_state_machine(self)

    # --- parameters -------------------------------------------------------------------------------

    def _check_parameters(self, changes: list[Any]) -> Any:
        fusion = default_fusion(self._segmenter.variant) if self._segmenter else None
        return self._table.check(changes, self._fixed, fusion)

    def _apply_parameters(self) -> None:
        with self._settings_lock:
            if self._settings is not None:
                self._apply(self._table.read())

    def _commit(self, used: NodeSettings) -> None:
        """Put the settings into force, with what was set while the node configured."""
        assert self._segmenter is not None
        with self._settings_lock:
            latest = self._table.read()
            late = changed_at_configure(used, latest)
            require(not late, f'{", ".join(late)} changed meanwhile; configure the node again.')
            latest.fusion(default_fusion(self._segmenter.variant))  # checks them
            self._apply(latest)

    def _apply(self, settings: NodeSettings) -> None:
        # The worker reads this once a frame, so a change is seen whole.
        self._settings = settings
        for camera in self._cameras.values():
            camera.rate_limit = settings.rate_limit

    # --- every second -----------------------------------------------------------------------------

    def _publish_diagnostics(self) -> None:
        self._watch_worker()
        if (subscriptions := self._camera_subscriptions) is not None:
            subscriptions.watch()
        self._diagnostics.publish(
            diagnostics.array(
                self.get_clock().now().to_msg(),
                self.get_fully_qualified_name(),
                state_of(self),
                self._segmenter,
                list(self._cameras.values()),
                self._failure,
            )
        )

    def _create_steady_timer(self, seconds: float, callback: Any) -> Any:
        # On the steady clock: a paused simulation must not silence it.
        return self.create_timer(
            seconds,
            callback,
            callback_group=self._own_group,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )
