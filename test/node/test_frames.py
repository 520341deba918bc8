"""A frame comes in with all that belongs to it, and goes out whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import HistoryPolicy, QoSProfile
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from pdl_ros.errors import PdlError
from pdl_ros.messages import frame_messages
from pdl_ros.messages.point_cloud import POINT
from pdl_ros.node.input.age_limit import AgeLimit
from pdl_ros.node.input.depth import DepthImages
from pdl_ros.node.throttle import Throttle
from pdl_ros.pipeline import Segmenter

from .in_process import NodeInProcess, calibration, depth_image, in_process
from .test_topics import message_of

MS = 1_000_000
HEIGHT, WIDTH = 97, 141


def header(nanoseconds: int, frame_id: str = 'camera') -> Header:
    made = Header(frame_id=frame_id)
    made.stamp.sec, made.stamp.nanosec = divmod(nanoseconds, 10**9)
    return made


def serialized_depth(nanoseconds: int, metres: float = 1.0) -> bytes:
    return serialize_message(depth_image(header(nanoseconds), metres, 2, 3))


def with_depth(node: NodeInProcess) -> Any:
    """Calibrate the camera; return the publisher of its depth images."""
    depths = node.world.create_publisher(Image, 'depth', 50)
    node.listen('semantic/image', 'points', 'timing')
    node.wait(lambda: depths.get_subscription_count() > 0)
    node.infos.publish(calibration(HEIGHT, WIDTH))
    node.wait(lambda: node.camera._camera_info(0) is not None)
    return depths


def metres_of(cloud: Any) -> set[float]:
    return set(np.frombuffer(bytes(cloud.data), POINT)['z'].tolist())


# --- depth ----------------------------------------------------------------------------------------


def test_points_are_of_the_depth_image_of_their_frame_also_when_it_comes_after_the_next_image(
    segmenter: Segmenter, domain: int, rgb: np.ndarray
) -> None:
    with in_process(segmenter, domain, points='dense', depth_wait_ms=1000.0) as node:
        depths = with_depth(node)
        start = 1000 * 10**9
        for number in range(1, 5):
            stamp = start + number * 33 * MS
            node.send(message_of(rgb, 'rgb8', header(stamp)))
            depths.publish(depth_image(header(stamp), number, HEIGHT, WIDTH))
            node.wait(lambda n=number: len(node.received['points']) == n)
        assert [metres_of(cloud) for cloud in node.received['points']] == [{1}, {2}, {3}, {4}]
        assert [c.header.stamp for c in node.received['points']] == [
            i.header.stamp for i in node.received['semantic/image']
        ]
        assert node.errors == []


def test_every_frame_of_a_bag_has_its_own_depth_although_the_node_is_slower(
    segmenter: Segmenter, domain: int, rgb: np.ndarray
) -> None:
    bag = {'points': 'dense', 'depth_wait_ms': 1000.0, 'policy': 'every_frame', 'queue_size': 2}
    with in_process(segmenter, domain, **bag) as node:
        everything = QoSProfile(depth=0, history=HistoryPolicy.KEEP_ALL)
        images, depths = (
            node.world.create_publisher(Image, topic, everything) for topic in ('image', 'depth')
        )
        node.listen('points')
        for publisher in (images, depths):
            node.wait(lambda p=publisher: p.get_subscription_count() > 0)
        node.infos.publish(calibration(HEIGHT, WIDTH))
        node.wait(lambda: bool(node.camera._infos))
        for number in range(1, 41):
            stamp = header(10**12 + number * 33 * MS)
            images.publish(message_of(rgb, 'rgb8', stamp))
            depths.publish(depth_image(stamp, number, HEIGHT, WIDTH))
        node.wait(lambda: len(node.received['points']) == 40)
        assert [metres_of(cloud) for cloud in node.received['points']] == [
            {number} for number in range(1, 41)
        ]
        assert node.errors == []


def test_a_frame_whose_depth_never_comes_is_out_without_points_and_says_so(
    segmenter: Segmenter, domain: int, rgb: np.ndarray
) -> None:
    with in_process(segmenter, domain, points='dense', depth_wait_ms=50.0) as node:
        depths = with_depth(node)
        start = 1000 * 10**9
        depths.publish(depth_image(header(start), 1.0, HEIGHT, WIDTH))
        node.wait(lambda: not node.camera._depth.is_to_come(start))
        node.send(message_of(rgb, 'rgb8', header(start)))
        node.wait(lambda: len(node.received['points']) == 1)
        node.send(message_of(rgb, 'rgb8', header(start + 33 * MS)))
        node.wait(lambda: len(node.received['timing']) == 2)
        assert len(node.received['semantic/image']) == 2
        (said,) = node.errors
        assert '/image: no points: the depth image of this frame did not come on /depth' in said
        level, message, values = node.condition()
        assert (level, message) == (DiagnosticStatus.WARN, said)
        assert values['frames without depth'] == '1'
        assert node.received['timing'][-1].frames_processed == 2
        assert len(node.received['points']) == 1, 'the depth of another moment'


def test_nobody_waits_for_a_depth_camera_that_was_never_started(
    segmenter: Segmenter, domain: int, rgb: np.ndarray
) -> None:
    with in_process(segmenter, domain, points='dense', depth_wait_ms=1000.0) as node:
        node.listen('points', 'timing')
        node.send(message_of(rgb, 'rgb8', header(10**12)))
        node.wait(lambda: bool(node.received['timing']))
        assert node.received['timing'][0].queue_age_ms < 900
        assert node.errors == ['/image: no points: depth has not arrived on /depth.']


def test_a_depth_camera_with_another_clock_is_told_from_one_that_is_silent() -> None:
    depth = DepthImages('/depth')
    with pytest.raises(PdlError, match='depth has not arrived on /depth'):
        depth.match(10**12)
    for frame in range(20):  # some stamps are equal by chance
        depth.add(serialized_depth(10**12 + (50 * frame - 500) * MS))
        depth.add_frame(10**12 + 50 * frame * MS)
    with pytest.raises(PdlError) as error:
        depth.match(10**12 + 950 * MS)
    assert str(error.value).startswith(
        'depth arrives on /depth, but the nearest is stamped 500 ms before the image, more than '
        'the 50 ms allowed; synchronise the clocks'
    )


def test_depth_of_a_camera_that_is_not_synchronised_is_the_nearest_and_not_one_too_early() -> None:
    depth = DepthImages('/depth')
    for stamp in (0, 100 * MS):
        depth.add(serialized_depth(stamp))
    assert not depth.is_to_come(100 * MS)
    assert not depth.is_to_come(120 * MS), 'the next one would be further away'
    assert depth.is_to_come(170 * MS)
    assert depth.match(120 * MS).header.stamp.nanosec == 100 * MS
    depth.add(serialized_depth(200 * MS))
    assert not depth.is_to_come(170 * MS)
    assert depth.match(170 * MS).header.stamp.nanosec == 200 * MS


def test_depth_at_half_the_rate_of_the_camera_holds_no_frame_up() -> None:
    depth = DepthImages('/depth')
    for stamp in (0, 66 * MS):
        depth.add_frame(stamp)
        depth.add(serialized_depth(stamp))
    assert not depth.is_to_come(99 * MS)
    assert depth.is_to_come(132 * MS)


def test_a_depth_message_without_a_stamp_is_refused_in_a_sentence() -> None:
    for length in range(12):
        with pytest.raises(PdlError, match='before its stamp'):
            DepthImages('/depth').add(serialized_depth(0)[:length])


def test_a_frame_has_the_camera_info_of_its_own_stamp(domain: int, rgb: np.ndarray) -> None:
    with in_process(None, domain) as node:
        node.wait(lambda: node.infos.get_subscription_count() > 0)
        for zoom in range(1, 5):
            info = calibration(HEIGHT, WIDTH)
            info.header, info.k[0] = header(zoom * 33 * MS), 100.0 * zoom
            node.infos.publish(info)
            node.wait(lambda n=zoom: len(node.camera._infos) == n)
        node.wait(lambda: node.images.get_subscription_count() > 0)
        node.send(message_of(rgb, 'rgb8', header(2 * 33 * MS)))
        frame = node.camera.decode(node.frame_queue.take()[''], 0.0)
        assert frame.camera_info.k[0] == 200


@pytest.mark.parametrize(
    ('transport', 'remapped', 'expected'),
    [
        ('raw', 'image:=/cam/image_raw', '/cam/camera_info'),
        ('compressed', 'image/compressed:=/cam/image_raw/compressed', '/cam/camera_info'),
        ('compressed', 'depth:=/cam/depth', '/camera_info'),
    ],
)
def test_camera_info_is_looked_for_beside_the_image_that_is_subscribed_to(
    domain: int, transport: str, remapped: str, expected: str
) -> None:
    arguments = {'transport': transport, 'points': 'dense'}
    with in_process(None, domain, remapped, **arguments) as node:
        topics = {s.topic_name for s in node.node.subscriptions}
        assert expected in topics
        assert ('/cam/depth' in topics) == remapped.startswith('depth')


# --- one verdict ----------------------------------------------------------------------------------


@pytest.mark.parametrize('sec', [-(2**31), -1, 0, 2**31 - 1])
def test_a_frame_of_any_stamp_is_out_with_its_timing_and_its_instances(
    segmenter: Segmenter, domain: int, rgb: np.ndarray, sec: int
) -> None:
    with in_process(segmenter, domain, tracking=True) as node:
        node.listen('semantic/image', 'instances', 'timing')
        image = message_of(rgb, 'rgb8', Header(frame_id='camera'))
        image.header.stamp.sec, image.header.stamp.nanosec = sec, 5
        node.send(image)
        node.wait(lambda: bool(node.received['timing']))
        for name in ('semantic/image', 'instances', 'timing'):
            (message,) = node.received[name]
            assert message.header == image.header
        age = node.received['timing'][0].age_ms
        assert age == pytest.approx(1e3 * (time.time() - sec), rel=1e-4)
        assert node.errors == []
        assert node.camera.counts == (1, 1, 0)


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({}, 'the image is 141x97, but its camera_info is of 64x48'),
        ({'roi': [0, 0, 140, 90]}, 'the image is 141x97, but its camera_info is of 64x48'),
    ],
)
def test_a_camera_info_that_does_not_fit_costs_itself_and_not_the_frame(
    segmenter: Segmenter, domain: int, rgb: np.ndarray, changes: dict[str, Any], sentence: str
) -> None:
    with in_process(segmenter, domain, **changes) as node:
        node.listen('semantic/image', 'semantic/camera_info', 'timing')
        node.infos.publish(calibration(48, 64))
        node.wait(lambda: node.camera._camera_info(0) is not None)
        node.send(message_of(rgb, 'rgb8', header(10**12)))
        node.wait(lambda: bool(node.received['timing']))
        assert len(node.received['semantic/image']) == 1
        assert node.camera.counts == (1, 1, 0)
        (said,) = node.errors
        assert f'/image: no camera_info: {sentence}' in said
        node.infos.publish(calibration(HEIGHT, WIDTH))
        node.wait(lambda: node.camera._camera_info(0).height == HEIGHT)
        node.send(message_of(rgb, 'rgb8', header(10**12 + 1)))
        node.wait(lambda: bool(node.received['semantic/camera_info']))
        assert node.received['semantic/camera_info'][0].header == header(10**12 + 1)
        assert len(node.errors) == 1


def out_of_memory(*_: Any, **__: Any) -> None:
    raise MemoryError('no memory')


BROKEN: dict[str, Callable[[pytest.MonkeyPatch, NodeInProcess], None]] = {
    'the overlay': lambda patch, node: patch.setattr(frame_messages, 'overlay', out_of_memory),
    'the list of things': lambda patch, node: patch.setattr(
        frame_messages, 'instance_array', out_of_memory
    ),
    'a label image': lambda patch, node: patch.setattr(
        node.outputs._messages.writers['instance'], 'fill', out_of_memory
    ),
    'the tracks': lambda patch, node: patch.setattr(node.outputs._tracker, 'update', out_of_memory),
}


@pytest.mark.parametrize('what', BROKEN)
def test_a_frame_of_which_something_cannot_be_made_is_skipped_whole(
    segmenter: Segmenter,
    domain: int,
    rgb: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    with in_process(segmenter, domain, tracking=True) as node:
        names = ('semantic/image', 'instance/image', 'instances', 'overlay/image', 'timing')
        node.listen(*names)
        with monkeypatch.context() as patch:
            BROKEN[what](patch, node)
            node.send(message_of(rgb, 'rgb8', header(10**12)))
            node.wait(lambda: bool(node.errors))
        assert node.errors == ['/image: frame skipped: MemoryError: no memory']
        good = header(10**12 + 33 * MS)
        node.send(message_of(rgb, 'rgb8', good))
        node.wait(lambda: all(node.received[name] for name in names))
        for name in names:
            assert [m.header for m in node.received[name]] == [good], f'{name} of a skipped frame'
        assert node.camera.counts == (2, 1, 1)


def test_a_topic_that_cannot_be_published_keeps_a_frame_from_no_other(
    segmenter: Segmenter, domain: int, rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    with in_process(segmenter, domain) as node:
        node.listen('semantic/image', 'instances', 'timing')
        monkeypatch.setattr(node.outputs._publishers['semantic'], 'publish', out_of_memory)
        node.send(message_of(rgb, 'rgb8', header(10**12)))
        node.wait(lambda: bool(node.received['timing'] and node.received['instances']))
        assert node.errors == ['~/semantic is not published, MemoryError: no memory']
        assert node.camera.counts == (1, 1, 0)


def test_what_one_camera_repeats_hides_nothing_of_another_and_not_its_own_other_errors() -> None:
    said: list[str] = []
    throttle = Throttle(said.append, seconds=0.2)
    sentences = ['/a: no points: x', '/a: frame skipped: y', '/b: no points: z']
    for sentence in sentences * 3:
        throttle(sentence)
    assert said == sentences
    time.sleep(0.25)
    throttle('/a: no points: another reason')
    assert len(said) == 4


# --- ages -----------------------------------------------------------------------------------------


def test_a_driver_that_stamps_nothing_is_named_where_frames_have_a_limit_of_age(
    segmenter: Segmenter, domain: int, rgb: np.ndarray, capfd: pytest.CaptureFixture
) -> None:
    with in_process(segmenter, domain, max_frame_age=5.0) as node:
        node.listen('semantic/image')
        for _ in range(5):
            node.send(message_of(rgb, 'rgb8', Header()))
            node.wait(lambda: node.camera.statistics.too_old == node.camera.received)
        level, message, values = node.condition()
        assert level == DiagnosticStatus.ERROR
        assert message == (
            'every frame of /image is older than max_frame_age (5 s) and dropped: its stamps are '
            '0; have the driver stamp its images, or set max_frame_age to 0.'
        )
        assert values['frames too old'] == '5'
        said = message
        fresh = message_of(rgb, 'rgb8', Header())
        fresh.header.stamp = node.node.get_clock().now().to_msg()
        node.send(fresh)
        node.wait(lambda: bool(node.received['semantic/image']))
        level, message, values = node.condition()
        assert (level, message) == (DiagnosticStatus.OK, 'segmenting')
        assert 0 <= float(values['frame age (ms)']) < 5000
        assert said in capfd.readouterr().err


@pytest.mark.parametrize(
    ('stamp', 'age', 'waited', 'sentence'),
    [
        (10**12, 1.7e9, 0.1, '(are they the time since boot?); synchronise'),
        (17 * 10**17, 3600.0, 0.0, 'its stamps are 3600.0 s behind the clock of this node; sync'),
        (17 * 10**17, 7.0, 6.5, 'they wait 6.5 s for the device'),
        (17 * 10**17, -90.0, 0.0, 'stamped 90.0 s ahead of the clock of this node'),
    ],
)
def test_a_clock_that_is_not_the_nodes_is_told_from_frames_that_wait_too_long(
    stamp: int, age: float, waited: float, sentence: str
) -> None:
    limit = AgeLimit('/image')
    for count in range(1, 7):
        assert limit.is_too_old(stamp, age, waited, 5.0) == (age > 0)
        assert bool(limit.problem) == (count >= 5)
    assert sentence in limit.problem
    assert limit.drops_all == (age > 0)
    assert not limit.is_too_old(stamp, 1.0, 0.0, 5.0)
    assert not limit.problem


def test_without_a_limit_frames_of_any_age_are_segmented_and_nothing_is_said() -> None:
    limit = AgeLimit('/image')
    for age in (1.7e9, -1e9) * 5:
        assert not limit.is_too_old(0, age, 0.0, 0.0)
        assert not limit.problem
