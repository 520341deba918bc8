"""Record topics to MCAP without rosbag2: messages as they come over the wire."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from pdl_ros.bags.buffered_writer import BufferedWriter
from pdl_ros.bags.qos import OfferedQos
from pdl_ros.bags.writer import BagWriter
from pdl_ros.errors import PdlError, printable, require
from pdl_ros.node.events import subscribe_with_events
from pdl_ros.node.message_definitions import describe, message_type
from pdl_ros.node.ros_log import with_possible_log
from pdl_ros.node.shared_memory import configure_shared_memory
from pdl_ros.runtime.memory import keep_freed_memory, share_one_heap

_LOOK = 0.25  # seconds until topics that are new are found
_DEPTH = 100  # messages of a topic that wait with DDS while another one is taken
_RELIABLE, _BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
_KEPT, _VOLATILE = DurabilityPolicy.TRANSIENT_LOCAL, DurabilityPolicy.VOLATILE


@dataclass(frozen=True)
class RecorderSettings:
    """out: folder of the new recording. topics: full names, or patterns as of files (``/front/*``).
    buffer: bytes of messages that may wait for the disk. duration: seconds, 0 without end.
    compression: of chunks, none, lz4 or zstd. split: bytes of a file, 0: one file.
    """

    out: Path
    topics: tuple[str, ...]
    buffer: int = 256 << 20
    duration: float = 0.0
    compression: str = 'none'
    split: int = 0

    def __post_init__(self) -> None:
        require(bool(self.topics), 'Give the names of topics to record, or patterns such as "/*".')
        require(
            self.compression in ('none', 'lz4', 'zstd'),
            f'The compression is {self.compression!r}; it must be none, lz4 or zstd.',
        )
        require(
            self.buffer > 0 and self.duration >= 0 and self.split >= 0,
            'The buffer must be larger than 0, duration and split at least 0.',
        )
        require(not self.out.exists(), f'{self.out} is there already; give another folder.')


@dataclass(frozen=True)
class Recorded:
    """What became of the messages, by topic: written; dropped for want of memory; lost on the way.

    bytes: of all that was written.
    """

    written: Counter[str]
    dropped: Counter[str]
    lost: Counter[str]
    bytes: int

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing that is known of."""
        return not self.dropped and not self.lost


def record(
    settings: RecorderSettings,
    say: Callable[[str], object],
    on_progress: Callable[[Recorded], object] = lambda _: None,
) -> Recorded:
    """Be a recorder process until Ctrl-C, SIGTERM, or the end of the duration.

    Raises PdlError where no topic was found, and where the disk refuses.
    """
    configure_shared_memory()
    share_one_heap()  # the writer's thread frees what the receiver's took
    keep_freed_memory()
    stopped = threading.Event()
    # With rclpy's own handlers Ctrl-C would be an exception anywhere, also inside of a write.
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    rclpy.init(args=with_possible_log([]), signal_handler_options=SignalHandlerOptions.NO)
    for number in before:
        signal.signal(number, lambda *_: stopped.set())
    recorder = TopicRecorder(settings, say)
    try:
        _spin(recorder, stopped, settings.duration, on_progress)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        recorder.destroy_node()
        rclpy.try_shutdown()
        result = recorder.finish()
    return result


def _spin(
    recorder: TopicRecorder,
    stopped: threading.Event,
    duration: float,
    on_progress: Callable[[Recorded], object],
) -> None:
    executor = SingleThreadedExecutor()
    executor.add_node(recorder)
    end = time.monotonic() + duration if duration else float('inf')
    told = time.monotonic()
    try:
        while rclpy.ok() and not stopped.is_set() and time.monotonic() < end:
            executor.spin_once(timeout_sec=0.1)
            if recorder.failed:
                return
            if time.monotonic() - told > 1:
                told = time.monotonic()
                on_progress(recorder.state)
    except ExternalShutdownException:
        pass
    finally:
        executor.shutdown(timeout_sec=0.5)


class TopicRecorder(Node):
    """Subscribe to all topics whose names match, as soon as they have a publisher, and hand their
    serialized messages to a `BufferedWriter`.

    The QoS is what all publishers of a topic can serve. The recording is made with its first topic.
    """

    def __init__(
        self, settings: RecorderSettings, say: Callable[[str], object], **arguments: Any
    ) -> None:
        super().__init__('bag_recorder', start_parameter_services=False, **arguments)
        self._settings, self._say = settings, say
        self._writer: BufferedWriter | None = None
        self._lost: Counter[str] = Counter()
        self._topics: dict[str, _Topic] = {}
        self._refused: set[tuple[str, str]] = set()
        self.create_timer(_LOOK, self.look)
        self.look()

    @property
    def state(self) -> Recorded:
        """What was recorded until now."""
        writer = self._writer
        if writer is None:
            return Recorded(Counter(), Counter(), self._lost, 0)
        return Recorded(writer.written, writer.dropped, self._lost, writer.written_bytes)

    @property
    def failed(self) -> bool:
        """Whether nothing can be written any more."""
        return self._writer is not None and self._writer.failure is not None

    def finish(self) -> Recorded:
        """Write all that was received, and the index. Raises PdlError where it cannot be."""
        if self._writer is None:
            wanted = ', '.join(self._settings.topics)
            raise PdlError(f'No topic was found for {wanted}; nothing was recorded.')
        self._writer.close()
        return self.state

    def look(self) -> None:
        """Subscribe to topics that are new, and follow publishers whose QoS no longer fits."""
        for name, types in self.get_topic_names_and_types():
            if not _is_wanted(name, self._settings.topics):
                continue
            offers = self.get_publishers_info_by_topic(name)
            if not offers:
                continue
            if name not in self._topics:
                self._add(name, types[0], offers)
            else:
                self._follow(self._topics[name], offers)
            for other in types:
                if name in self._topics and other != self._topics[name].type:
                    self._refuse(name, other, 'another type of the same topic is recorded')

    def _add(self, name: str, kind: str, offers: list[Any]) -> None:
        try:
            message = message_type(kind)
        except PdlError as error:
            self._refuse(name, kind, str(error))
            return
        if self._writer is None:
            settings = self._settings
            bag = BagWriter(settings.out, settings.split, settings.compression)
            self._writer = BufferedWriter(bag, settings.buffer)
        described = describe(kind, _type_hash(offers))
        number = self._writer.add_topic(
            name, kind, [_offered(offer) for offer in offers], described
        )
        topic = _Topic(name, kind, message, number, _adapted(offers))
        self._topics[name] = topic
        self._subscribe(topic)
        self._say(f'Recording {name} ({kind}, {topic.qos.reliability.name.lower()}).')

    def _follow(self, topic: _Topic, offers: list[Any]) -> None:
        """Ask for less where a publisher came that offers less; never for more."""
        wanted = _adapted(offers)
        less = wanted.reliability == _BEST_EFFORT and topic.qos.reliability == _RELIABLE
        less |= wanted.durability == _VOLATILE and topic.qos.durability == _KEPT
        if less:
            self.destroy_subscription(topic.subscription)
            topic.qos = wanted
            self._subscribe(topic)
            self._say(f'{topic.name}: a publisher offers less; it is recorded as well now.')

    def _subscribe(self, topic: _Topic) -> None:
        def received(data: bytes, info: dict[str, int]) -> None:
            assert self._writer is not None
            now = info.get('received_timestamp') or time.time_ns()
            self._writer.put(topic.number, now, data, info.get('source_timestamp') or now)

        def lost(count: int) -> None:
            self._lost[topic.name] += count

        topic.subscription = subscribe_with_events(
            lambda event_callbacks: self.create_subscription(
                topic.message,
                topic.name,
                received,  # type: ignore[arg-type]  # rclpy takes two arguments as well
                topic.qos,
                event_callbacks=event_callbacks,
                raw=True,
            ),
            lost,
            lambda: None,  # `look` sees it too
        )

    def _refuse(self, name: str, kind: str, why: str) -> None:
        if (name, kind) not in self._refused:
            self._refused.add((name, kind))
            self._say(f'{printable(name)} ({printable(kind)}) is not recorded: {why}.')


@dataclass
class _Topic:
    name: str
    type: str
    message: Any
    number: int
    qos: QoSProfile
    subscription: Any = None


def _is_wanted(name: str, patterns: Iterable[str]) -> bool:
    """Tell whether a name is meant. What ROS hides (`/x/_action/status`) a pattern has to name."""
    hidden = '/_' in name
    return any(
        fnmatchcase(name, f'/{pattern.lstrip("/")}') and (not hidden or '/_' in pattern)
        for pattern in patterns
    )


def _adapted(offers: Iterable[Any]) -> QoSProfile:
    """Return the most that all publishers offer."""
    profiles = [offer.qos_profile for offer in offers]
    reliable = all(profile.reliability == _RELIABLE for profile in profiles)
    kept = all(profile.durability == _KEPT for profile in profiles)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=_DEPTH,
        reliability=_RELIABLE if reliable else _BEST_EFFORT,
        durability=_KEPT if kept else _VOLATILE,
    )


def _offered(offer: Any) -> OfferedQos:
    profile = offer.qos_profile
    return OfferedQos(
        profile.reliability.name.lower(),
        profile.durability.name.lower(),
        profile.history.name.lower(),
        profile.depth,
    )


def _type_hash(offers: list[Any]) -> str:
    """Return what the publishers say of their type, '' where they do not (Humble)."""
    said = getattr(offers[0], 'topic_type_hash', None)
    value = bytes(getattr(said, 'value', b'') or b'')
    return f'RIHS{said.version:02d}_{value.hex()}' if said is not None and any(value) else ''
