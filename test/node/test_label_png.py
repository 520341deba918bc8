"""Label images as PNG: the same pixels in a twentieth of the bytes, for whoever asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from pdl_ros.errors import PdlError
from pdl_ros.messages.images import ImageWriter, PngWriter
from pdl_ros.node.output.ros_messages import ROS
from pdl_ros.node.parameters import TABLE, NodeSettings

from .harness import OUTPUTS, running
from .test_cameras import hear
from .test_topics import message_of, pixels_of

LABELS = ('semantic', 'instance', 'panoptic')
EDGES = np.array([[0, 1, 254], [255, 256, 65535], [257, 4369, 32768]], np.int32)
DEFAULTS = {row.name: row.default for row in TABLE}


@pytest.mark.parametrize('encoding', ['mono8', '16UC1'])
def test_every_value_survives_a_reader_that_decodes_as_opencv_does(encoding: str) -> None:
    dtype = np.uint8 if encoding == 'mono8' else np.uint16
    pixels, header = EDGES % (np.iinfo(dtype).max + 1), Header(frame_id='lens')
    message = PngWriter(ROS, encoding).fill(pixels, header)
    assert message.header == header
    # What compressed_image_transport writes for images without colour, the space included.
    assert message.format == f'{encoding}; png compressed '
    decoded = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded.dtype == dtype
    np.testing.assert_array_equal(decoded, pixels)


def test_a_message_that_is_kept_does_not_change_with_the_next_frame() -> None:
    writer = PngWriter(ROS, '16UC1')
    first = writer.fill(EDGES, Header())
    kept = bytes(first.data)
    writer.fill(EDGES[::-1], Header())
    assert bytes(first.data) == kept


def test_the_png_topics_say_what_the_raw_ones_say_and_32_bit_ids_are_the_same_ids(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray
) -> None:
    asked = {**parameters, 'compressed_labels': True, 'panoptic_encoding': '32SC1'}
    with running(asked, tmp_path / 'log.txt', domain) as node:
        node.listen(*(name for name in OUTPUTS if name.partition('/')[0] in LABELS))
        png = {
            name: hear(node, f'/panoptic_node/{name}/image/compressed', CompressedImage)
            for name in LABELS
        }
        header = node.header()
        raw = node.send(message_of(rgb, 'rgb8', header))
        node.wait(lambda: all(png.values()))
        wide = raw['panoptic/image']
        assert (wide.encoding, wide.step) == ('32SC1', 4 * wide.width)
        ids = np.frombuffer(wide.data, np.int32).reshape(wide.height, wide.width)
        assert len(np.unique(ids)) > 3
        assert (ids >= 0).all()
        assert (ids <= 65535).all(), 'void stays 65535'
        expected = {name: pixels_of(raw[f'{name}/image']) for name in ('semantic', 'instance')}
        for name, pixels in {**expected, 'panoptic': ids}.items():
            (message,) = png[name]
            assert message.header == header
            decoded = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(decoded, pixels, name)
        # An output that is switched off is off as PNG too.
        assert node.set_parameters(outputs=['semantic']) == ['']
        node.camera.publish(message_of(rgb, 'rgb8', node.header()))
        node.wait(lambda: len(png['semantic']) == 2)
        node.spin(0.5)
        assert (len(png['instance']), len(png['panoptic'])) == (1, 1)


def test_a_png_alone_is_reason_enough_to_segment_and_nobody_gets_what_was_not_asked_for(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray
) -> None:
    with running({**parameters, 'compressed_labels': True}, tmp_path / 'log.txt', domain) as node:
        seen = hear(node, '/panoptic_node/panoptic/image/compressed', CompressedImage)
        node.wait(lambda: node.camera.get_subscription_count() > 0)
        node.camera.publish(message_of(rgb, 'rgb8', node.header()))
        node.wait(lambda: len(seen) == 1)
    with running(parameters, tmp_path / 'log2.txt', domain) as node:
        node.listen('panoptic/image')
        names = {name for name, _ in node.node.get_topic_names_and_types()}
        assert not [name for name in names if name.endswith('image/compressed')]


def test_32_bit_panoptic_images_hold_void_as_65535() -> None:
    message: Image = ImageWriter(ROS, '32SC1').fill(EDGES, Header())
    assert (message.encoding, message.step) == ('32SC1', 12)
    np.testing.assert_array_equal(np.frombuffer(message.data, np.int32).reshape(3, 3), EDGES)


def test_an_encoding_that_cannot_carry_the_ids_is_refused() -> None:
    with pytest.raises(PdlError, match="panoptic_encoding is 'mono8'; it can be 16UC1 or 32SC1"):
        NodeSettings.from_values({**DEFAULTS, 'panoptic_encoding': 'mono8'})
