"""What goes in through a topic comes out through topics exactly as the pipeline says."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from sensor_msgs.msg import Image

from pdl_ros import visualization
from pdl_ros.msg import PanopticInstance
from pdl_ros.pipeline import Segmenter

from .harness import OUTPUTS, Harness, running

CONVERSIONS = {
    'rgb8': None,
    'bgr8': cv2.COLOR_RGB2BGR,
    'rgba8': cv2.COLOR_RGB2RGBA,
    'bgra8': cv2.COLOR_RGB2BGRA,
    'mono8': cv2.COLOR_RGB2GRAY,
}


@pytest.fixture(scope='module')
def node(
    parameters: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, module_domain: int
) -> Iterator[Harness]:
    """One node with every output listened to."""
    log = tmp_path_factory.mktemp('node') / 'log.txt'
    with running({**parameters, 'label_info_period': 0.5}, log, module_domain) as harness:
        harness.listen()
        yield harness


def message_of(pixels: np.ndarray, encoding: str, header: Any, padding: int = 0) -> Image:
    """Pack pixels as a camera driver does, each row followed by `padding` bytes of rubbish."""
    rows = pixels.reshape(pixels.shape[0], -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=171)
    return Image(header=header, height=pixels.shape[0], width=pixels.shape[1], encoding=encoding,
                 step=padded.shape[1], data=padded.tobytes())  # fmt: skip


def pixels_of(message: Image) -> np.ndarray:
    """Read a label image the way its encoding says."""
    dtype, channels = {'mono8': (np.uint8, 1), '16UC1': (np.uint16, 1), 'rgb8': (np.uint8, 3)}[
        message.encoding
    ]
    assert message.is_bigendian == (sys.byteorder == 'big')
    assert message.step == message.width * channels * np.dtype(dtype).itemsize
    pixels = np.frombuffer(message.data, dtype).reshape(message.height, message.width, channels)
    return pixels[..., 0] if channels == 1 else pixels


def assert_label_images_equal(
    outputs: dict[str, Any], segmenter: Segmenter, rgb: np.ndarray
) -> None:
    result = segmenter(rgb)
    np.testing.assert_array_equal(pixels_of(outputs['semantic/image']), result.semantic.numpy())
    np.testing.assert_array_equal(pixels_of(outputs['instance/image']), result.instance.numpy())
    np.testing.assert_array_equal(pixels_of(outputs['panoptic/image']), result.panoptic.numpy())
    overlay = visualization.overlay(rgb, result.panoptic.numpy(), segmenter.label_set, 0.5)
    np.testing.assert_array_equal(pixels_of(outputs['overlay/image']), overlay)


@pytest.mark.parametrize('padding', [0, 13])
@pytest.mark.parametrize('encoding', CONVERSIONS)
def test_node_gives_the_pixels_of_the_pipeline_for_every_encoding_and_row_padding(
    node: Harness, segmenter: Segmenter, rgb: np.ndarray, encoding: str, padding: int
) -> None:
    if encoding == 'mono8':
        rgb = cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    conversion = CONVERSIONS[encoding]
    pixels = rgb if conversion is None else cv2.cvtColor(rgb, conversion)
    outputs = node.send(message_of(pixels, encoding, node.header(), padding))
    assert_label_images_equal(outputs, segmenter, rgb)
    encodings = {name: m.encoding for name, m in outputs.items() if isinstance(m, Image)}
    assert encodings == {'semantic/image': 'mono8', 'instance/image': '16UC1',
                         'panoptic/image': '16UC1', 'overlay/image': 'rgb8'}  # fmt: skip


def test_the_size_may_change_from_frame_to_frame(
    node: Harness, segmenter: Segmenter, rgb: np.ndarray
) -> None:
    for size in ((160, 96), (64, 200), (33, 41)):
        resized = cv2.resize(rgb, size)
        outputs = node.send(message_of(resized, 'rgb8', node.header()))
        assert_label_images_equal(outputs, segmenter, resized)


def test_every_output_carries_the_stamp_and_frame_of_its_image(
    node: Harness, rgb: np.ndarray
) -> None:
    for frame_id in ('front', 'robot/left_optical'):
        header = node.header(frame_id)
        outputs = node.send(message_of(rgb, 'rgb8', header))
        assert set(outputs) == set(OUTPUTS)
        for name, message in outputs.items():
            assert message.header == header, name


def test_instances_say_of_each_thing_what_the_message_comments_say(
    node: Harness, segmenter: Segmenter, rgb: np.ndarray
) -> None:
    outputs = node.send(message_of(rgb, 'rgb8', node.header()))
    message, labels = outputs['instances'], segmenter.label_set
    instance_map = pixels_of(outputs['instance/image'])
    panoptic_map = pixels_of(outputs['panoptic/image'])
    assert (message.height, message.width) == rgb.shape[:2]
    assert (message.label_set, message.label_divisor) == (labels.name, labels.label_divisor)
    assert len(message.instances) >= 3, (
        'the random weights must find things for this test to mean anything'
    )
    assert {i.id for i in message.instances} == set(np.unique(instance_map)) - {0}
    scores = [i.score for i in message.instances]
    assert scores == sorted(scores, reverse=True)
    for instance in message.instances:
        mask = instance_map == instance.id
        assert labels.classes[instance.class_id].name == instance.class_name
        assert labels.classes[instance.class_id].is_thing
        assert (panoptic_map[mask] == instance.panoptic_id).all()
        assert instance.panoptic_id // labels.label_divisor == instance.class_id
        assert instance.area == mask.sum()
        assert instance.score == pytest.approx(instance.objectness * instance.class_score, rel=1e-5)
        assert 0 < instance.class_score <= 1
        assert (instance.track_id, instance.track_age) == (0, 0)
        assert_box_and_mask(instance, mask)


def assert_box_and_mask(instance: PanopticInstance, mask: np.ndarray) -> None:
    ys, xs = np.nonzero(mask)
    box = instance.box
    assert (box.x_offset, box.y_offset) == (xs.min(), ys.min())
    assert (box.width, box.height) == (np.ptp(xs) + 1, np.ptp(ys) + 1)
    assert instance.mask_encoding == 'coco_rle'
    rle = {'size': list(mask.shape), 'counts': bytes(instance.mask_data)}
    np.testing.assert_array_equal(coco_mask.decode(rle).astype(bool), mask)


def test_stuff_segments_cover_exactly_what_the_panoptic_image_shows(
    node: Harness, segmenter: Segmenter, rgb: np.ndarray
) -> None:
    outputs = node.send(message_of(rgb, 'rgb8', node.header()))
    panoptic_map = pixels_of(outputs['panoptic/image'])
    stuff = outputs['instances'].stuff
    assert stuff
    shown = {int(v) for v in np.unique(panoptic_map) if v % 1000 == 0}
    assert {s.panoptic_id for s in stuff} == shown
    for segment in stuff:
        assert segment.area == (panoptic_map == segment.panoptic_id).sum()
        assert segment.class_name == segmenter.label_set.classes[segment.class_id].name
        assert not segment.is_thing


def test_a_late_subscriber_learns_the_labels_at_once_and_a_bag_again_and_again(
    node: Harness, segmenter: Segmenter
) -> None:
    kept = node.label_info()
    node.wait(lambda: len(kept) >= 3)
    message, labels = kept[0], segmenter.label_set
    assert message.label_set == labels.name
    assert message.class_names == [c.name for c in labels.classes]
    assert list(message.is_thing) == [c.is_thing for c in labels.classes]
    assert bytes(message.colors) == labels.colors[: labels.num_classes].tobytes()
    assert message.label_divisor == labels.label_divisor
    assert (message.semantic_void, message.instance_void, message.panoptic_void) == (255, 0, 65535)


def test_a_burst_is_answered_with_the_newest_frame_and_every_drop_is_counted(
    node: Harness, rgb: np.ndarray
) -> None:
    before = node.send(message_of(rgb, 'rgb8', node.header()))['timing']
    burst = [message_of(rgb, 'rgb8', node.header()) for _ in range(40)]
    for image in burst:
        node.camera.publish(image)
        time.sleep(0.005)
    newest = burst[-1].header.stamp
    node.wait(lambda: node.received['timing'][-1].header.stamp == newest)
    node.spin(1.0)
    after = node.received['timing'][-1]
    assert after.header.stamp == newest, 'a stale frame was published after a newer one'
    received = after.frames_received - before.frames_received
    processed = after.frames_processed - before.frames_processed
    dropped = after.frames_dropped - before.frames_dropped
    # With its queue of one, DDS itself replaces frames that the node has not taken yet.
    assert 0 < processed < received <= len(burst)
    assert processed + dropped == received
    stamps = [t.header.stamp.sec for t in node.received['timing']]
    assert stamps == sorted(stamps)


def test_timing_adds_up(node: Harness, rgb: np.ndarray) -> None:
    stages = ('queue_age', 'decode', 'preprocess', 'network', 'fusion', 'readback', 'publish')
    missing = []
    for _ in range(10):  # a busy machine may take the processor away between two stages
        timing = node.send(message_of(rgb, 'rgb8', node.header()))['timing']
        times = [getattr(timing, f'{stage}_ms') for stage in stages]
        assert all(t >= 0 for t in times)
        assert timing.network_ms > 0
        missing.append(abs(timing.total_ms - sum(times)) / timing.total_ms)
        if missing[-1] < 0.1:
            return
    raise AssertionError(f'stages are not the whole: {missing}')
