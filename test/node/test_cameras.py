"""Cameras as they are: several, fast, silent, late, killed, compressed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from pdl_ros.messages.point_cloud import POINT
from pdl_ros.msg import FrameTiming
from pdl_ros.pipeline import Segmenter

from .harness import Harness, running
from .test_topics import message_of, pixels_of

EVERYTHING = QoSProfile(depth=0, history=HistoryPolicy.KEEP_ALL)


def hear(node: Harness, topic: str, kind: type) -> list[Any]:
    """Subscribe to any topic, wait for its publisher, and return the list that fills."""
    kept: list[Any] = []
    node.node.create_subscription(kind, topic, kept.append, QoSProfile(depth=200))
    node.wait(lambda: node.node.count_publishers(topic) > 0, 120)
    node.spin(0.5)
    return kept


def stamps(images: list[Image]) -> list[int]:
    return [i.header.stamp.sec for i in images]


def test_two_cameras_of_different_kinds_share_one_network_and_none_waits_for_the_other(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray, segmenter: Segmenter
) -> None:
    two = {**parameters, 'cameras': '[front, left]'}
    with running(two, tmp_path / 'log.txt', domain) as node:
        front = node.node.create_publisher(Image, 'front/image', 10)
        left = node.node.create_publisher(Image, 'left/image', 10)
        seen = {
            name: hear(node, f'/panoptic_node/{name}/panoptic/image', Image)
            for name in ('front', 'left')
        }
        node.wait(lambda: front.get_subscription_count() + left.get_subscription_count() == 2)
        small = np.ascontiguousarray(rgb[:60, :80])
        front.publish(message_of(rgb, 'rgb8', node.header('front_camera')))
        left.publish(message_of(small[..., ::-1], 'bgr8', node.header('left_camera')))
        node.wait(lambda: all(seen.values()))
        for name, picture in (('front', rgb), ('left', small)):
            assert seen[name][0].header.frame_id == f'{name}_camera'
            expected = segmenter(picture).panoptic.numpy()
            np.testing.assert_array_equal(pixels_of(seen[name][0]), expected)
        for count in (2, 3, 4):  # the left camera is dead now
            front.publish(message_of(rgb, 'rgb8', node.header('front_camera')))
            node.wait(lambda n=count: len(seen['front']) == n)
        assert len(seen['left']) == 1


def test_a_part_of_a_camera_upside_down_comes_at_the_asked_size_with_its_calibration(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray, segmenter: Segmenter
) -> None:
    turned = {**parameters, 'rotate': 180, 'roi': '[11, 7, 96, 80]', 'output_size': '48x40'}
    with running(turned, tmp_path / 'log.txt', domain) as node:
        calibrations = node.node.create_publisher(CameraInfo, 'camera_info', 10)
        node.listen('semantic/image', 'overlay/image')
        info = hear(node, '/panoptic_node/semantic/camera_info', CameraInfo)
        node.wait(lambda: calibrations.get_subscription_count() > 0)
        size = {'height': rgb.shape[0], 'width': rgb.shape[1]}
        pinhole = [100.0, 0.0, 70.0, 0.0, 100.0, 48.0, 0.0, 0.0, 1.0]
        calibrations.publish(CameraInfo(header=node.header('lens'), k=pinhole, **size))
        node.spin(1.0)
        header = node.header()
        outputs = node.send(message_of(rgb, 'rgb8', header))
        view = np.ascontiguousarray(rgb[7:87, 11:107][::-1, ::-1])
        expected = segmenter.timed(view, (40, 48))[0].semantic.numpy()
        np.testing.assert_array_equal(pixels_of(outputs['semantic/image']), expected)
        assert pixels_of(outputs['overlay/image']).shape == (40, 48, 3)
        node.wait(lambda: bool(info))
        assert info[0].header == header
        assert (info[0].height, info[0].width) == (40, 48)
        assert info[0].k[0] == pytest.approx(50)
        # The principal point was 70 - 11 = 59 from the left of the roi, so 95 - 59 in the turned.
        assert info[0].k[2] == pytest.approx((95 - 59) / 2, abs=0.5)

        node.camera.publish(message_of(rgb[:50], 'rgb8', node.header()))
        node.wait_for_log('The roi of 96x80 pixels at (11, 7) reaches outside the 141x50 image')


def test_tracked_things_keep_their_ids_and_the_images_agree_with_the_list(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray
) -> None:
    with running({**parameters, 'tracking': True}, tmp_path / 'log.txt', domain) as node:
        node.listen('instance/image', 'instances')
        first = node.send(message_of(rgb, 'rgb8', node.header()))
        # The same picture upside down numbers its things in another order.
        second = node.send(message_of(rgb, 'rgb8', node.header()))
        third = node.send(message_of(rgb[::-1], 'rgb8', node.header()))
        for outputs, age in ((first, 0), (second, 1)):
            listed = outputs['instances'].instances
            assert len({i.track_id for i in listed}) == len(listed) > 3
            assert {i.id for i in listed} == {i.track_id for i in listed}
            assert {i.track_age for i in listed} == {age}
            areas = np.bincount(pixels_of(outputs['instance/image']).ravel(), minlength=9)
            assert all(areas[i.track_id] == i.area for i in listed)
        assert bytes(first['instance/image'].data) == bytes(second['instance/image'].data)
        assert third['instances'].instances
        image = message_of(rgb, 'rgb8', node.header())
        image.header.stamp.sec -= 500  # a bag begins again
        node.send(image)
        node.wait_for_log('Tracking starts anew')


def depth_camera(node: Harness, height: int, width: int) -> tuple[Any, list[Any]]:
    """Calibrate the node's camera; return a publisher of depth and the list of clouds that fills.

    The focal length is 100 pixels, the principal point (70, 48).
    """
    calibrations = node.node.create_publisher(CameraInfo, 'camera_info', 10)
    depths = node.node.create_publisher(Image, 'depth', 10)
    clouds = hear(node, '/panoptic_node/points', PointCloud2)
    for publisher in (calibrations, depths):
        node.wait(lambda p=publisher: p.get_subscription_count() > 0)
    pinhole = [100.0, 0.0, 70.0, 0.0, 100.0, 48.0, 0.0, 0.0, 1.0]
    calibrations.publish(CameraInfo(k=pinhole, height=height, width=width))
    return depths, clouds


def test_a_depth_camera_gets_labelled_points(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray
) -> None:
    with running({**parameters, 'points': 'dense'}, tmp_path / 'log.txt', domain) as node:
        node.listen('semantic/image')
        height, width = rgb.shape[:2]
        depths, clouds = depth_camera(node, height, width)
        metres = np.full((height, width), np.nan, np.float32)
        metres[20, 30], metres[60, 90] = 2.0, 4.0
        depth = Image(height=height, width=width, encoding='32FC1', step=4 * width)
        depth.data = metres.tobytes()
        depth.header = node.header('depth_frame')
        depths.publish(depth)
        node.spin(1.0)
        image = message_of(rgb, 'rgb8', depth.header)
        semantic = pixels_of(node.send(image)['semantic/image'])
        node.wait(lambda: bool(clouds))
        points = np.frombuffer(bytes(clouds[0].data), POINT)
        assert clouds[0].header == depth.header
        assert points['z'].tolist() == [2.0, 4.0]
        assert points['x'].tolist() == pytest.approx([2 * (30 - 70) / 100, 4 * (90 - 70) / 100])
        assert points['class_id'].tolist() == [semantic[20, 30], semantic[60, 90]]


def test_a_camera_that_floods_gets_its_newest_frames_segmented_in_order(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray
) -> None:
    with running(parameters, tmp_path / 'log.txt', domain) as node:
        node.listen('panoptic/image', 'timing')
        image, end, sent = message_of(rgb, 'rgb8', node.header()), time.monotonic() + 3, 0
        while time.monotonic() < end:  # several hundred a second
            image.header = node.header()
            node.camera.publish(image)
            sent += 1
            node.executor.spin_once(timeout_sec=0.002)
        last = image.header.stamp.sec
        node.wait(lambda: stamps(node.received['panoptic/image'])[-1] == last)
        node.wait(lambda: stamps(node.received['timing'])[-1] == last)
        seen = stamps(node.received['panoptic/image'])
        assert seen == sorted(set(seen))
        assert sent > 100
        assert len(seen) < sent
        timing = node.received['timing'][-1]
        assert timing.frames_processed + timing.frames_dropped == timing.frames_received


def test_every_frame_of_a_bag_is_segmented_even_if_it_is_played_at_once(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray
) -> None:
    bag = {**parameters, 'policy': 'every_frame', 'queue_size': 3}
    with running(bag, tmp_path / 'log.txt', domain) as node:
        camera = node.node.create_publisher(Image, 'image', EVERYTHING)
        seen = hear(node, '/panoptic_node/panoptic/image', Image)
        node.wait(lambda: camera.get_subscription_count() > 0)
        sent = []
        for _ in range(60):
            message = message_of(rgb, 'rgb8', node.header())
            sent.append(message.header.stamp.sec)
            camera.publish(message)
        node.wait(lambda: len(seen) == 60, 120)
        assert stamps(seen) == sent


def test_a_jpeg_camera_is_decoded_in_the_node(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray, segmenter: Segmenter
) -> None:
    with running({**parameters, 'transport': 'compressed'}, tmp_path / 'log.txt', domain) as node:
        camera = node.node.create_publisher(CompressedImage, 'image/compressed', 10)
        seen = hear(node, '/panoptic_node/panoptic/image', Image)
        node.wait(lambda: camera.get_subscription_count() > 0)
        _, png = cv2.imencode('.png', rgb[..., ::-1])
        camera.publish(CompressedImage(header=node.header(), format='png', data=png.tobytes()))
        node.wait(lambda: len(seen) == 1)
        np.testing.assert_array_equal(pixels_of(seen[0]), segmenter(rgb).panoptic.numpy())
        camera.publish(CompressedImage(header=node.header(), format='jpeg', data=b'\xff\xd8no'))
        node.wait_for_log('frame skipped')
        _, jpeg = cv2.imencode('.jpg', rgb[..., ::-1])
        camera.publish(CompressedImage(header=node.header(), format='jpeg', data=jpeg.tobytes()))
        node.wait(lambda: len(seen) == 2)


def test_frames_that_are_too_old_or_too_many_are_dropped_and_counted(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray
) -> None:
    with running(parameters, tmp_path / 'log.txt', domain) as node:
        node.listen('timing')
        assert node.set_parameters(max_frame_age=5.0) == ['']
        node.camera.publish(message_of(rgb, 'rgb8', node.header()))  # stamped decades ago
        node.spin(1.0)
        assert not node.received['timing']
        fresh = message_of(rgb, 'rgb8', node.header())
        fresh.header.stamp = node.node.get_clock().now().to_msg()
        timing = node.send(fresh)['timing']
        assert (timing.frames_received, timing.frames_processed, timing.frames_dropped) == (2, 1, 1)
        assert node.set_parameters(max_frame_age=0.0, rate_limit=2.0) == ['', '']
        end, count = time.monotonic() + 3, len(node.received['timing'])
        while time.monotonic() < end:
            node.camera.publish(message_of(rgb, 'rgb8', node.header()))
            node.spin(0.02)
        assert 4 <= len(node.received['timing']) - count <= 8


def test_diagnostics_tell_the_state_the_rates_and_the_last_error(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray
) -> None:
    with running(parameters, tmp_path / 'log.txt', domain) as node:
        heard: list[DiagnosticArray] = []
        node.node.create_subscription(DiagnosticArray, '/diagnostics', heard.append, 10)
        node.listen('timing')

        def status(wanted: Any) -> DiagnosticStatus:
            heard.clear()
            node.wait(lambda: bool(heard) and wanted(heard[-1].status[-1]))
            return heard[-1].status[-1]

        idle = status(lambda s: s.level != DiagnosticStatus.OK or s.message == 'ready')
        assert idle.name == '/panoptic_node: camera'
        node.send(message_of(rgb, 'rgb8', node.header()))
        good = status(lambda s: s.message == 'segmenting')
        values = {pair.key: pair.value for pair in good.values}
        assert values['topic'] == '/image'
        assert values['frames processed'] == '1'
        assert float(values['latency p50 (ms)']) > 0
        state = {pair.key: pair.value for pair in heard[-1].status[0].values}
        assert (state['state'], state['variant']) == ('active', 'scene_tiny')
        node.camera.publish(Image(header=node.header(), encoding='yuv999'))
        bad = status(lambda s: s.level == DiagnosticStatus.ERROR)
        assert "Encoding 'yuv999' is not supported" in bad.message
        silent = status(lambda s: s.level == DiagnosticStatus.WARN)
        assert silent.message == 'no image on /image'


def test_a_silent_topic_is_explained_by_who_publishes_there_and_how(
    parameters: dict[str, Any], tmp_path: Path, domain: int
) -> None:
    with running(parameters, tmp_path / 'log.txt', domain) as node:
        best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        node.node.create_publisher(Image, 'image', best_effort)
        node.wait_for_log('the QoS of a publisher is incompatible; requested is reliable', 120)
        node.wait_for_log('No image on /image for 5 s', 60)
        # Of a publisher that is seconds old DDS may know what it offers, but not yet whose it is.
        assert '/harness offers sensor_msgs/msg/Image, best_effort, volatile' in node.log()


@pytest.mark.parametrize('offered', [ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT])
def test_automatic_qos_suits_whatever_the_camera_offers(
    parameters: dict[str, Any],
    tmp_path: Path,
    domain: int,
    rgb: np.ndarray,
    offered: ReliabilityPolicy,
) -> None:
    with running({**parameters, 'image_qos': 'auto'}, tmp_path / 'log.txt', domain) as node:
        qos = QoSProfile(depth=5, reliability=offered, durability=DurabilityPolicy.VOLATILE)
        node.node.destroy_publisher(node.camera)
        camera = node.node.create_publisher(Image, 'image', qos)
        timings = hear(node, '/panoptic_node/timing', FrameTiming)

        def answered() -> bool:
            camera.publish(message_of(rgb, 'rgb8', node.header()))
            node.spin(0.3)
            return bool(timings)

        node.wait(answered, 60)


def test_listeners_may_come_and_go(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray
) -> None:
    with running(parameters, tmp_path / 'log.txt', domain) as node:
        node.listen('timing')
        for i in range(60):
            listener = node.node.create_subscription(
                Image, '/panoptic_node/overlay/image', lambda _: None, 1
            )
            if i % 6 == 0:
                node.send(message_of(rgb, 'rgb8', node.header()))
            node.node.destroy_subscription(listener)
        assert node.send(message_of(rgb, 'rgb8', node.header()))
        assert 'Traceback' not in node.log()
