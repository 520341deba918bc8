"""A frame read where it lies in its message is the frame that ROS would have read."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from pdl_ros import visualization
from pdl_ros.errors import PdlError
from pdl_ros.imaging import masks
from pdl_ros.imaging.raw import to_rgb
from pdl_ros.labels import LabelSet
from pdl_ros.messages.images import ImageWriter
from pdl_ros.node.input.serialized_image import view_image
from pdl_ros.node.output.publishers import warm_up_outputs
from pdl_ros.node.output.ros_messages import ROS

_NAMES = st.text(st.characters(blacklist_characters='\0', blacklist_categories=['Cs']), max_size=40)


def message(frame_id: str = 'camera', encoding: str = 'rgb8', data: bytes = b'') -> Image:
    """An image whose numbers all differ."""
    header = Header(frame_id=frame_id)
    header.stamp.sec, header.stamp.nanosec = -5, 999_999_999
    return Image(
        header=header, height=7, width=2**31, encoding=encoding, is_bigendian=1, step=9, data=data
    )


@given(frame_id=_NAMES, encoding=_NAMES, data=st.binary(max_size=30))
def test_names_of_any_length_do_not_shift_what_follows(
    frame_id: str, encoding: str, data: bytes
) -> None:
    sent = message(frame_id, encoding, data)
    seen = view_image(serialize_message(sent))
    assert seen.header == sent.header
    for field in ('height', 'width', 'encoding', 'is_bigendian', 'step'):
        assert getattr(seen, field) == getattr(sent, field)
    assert bytes(seen.data) == data


def test_a_big_endian_machines_message_is_read():
    frame_id, encoding = b'cam\0', b'mono8\0'
    raw = b'\0\0\0\0' + struct.pack('>iII4s', 12, 34, len(frame_id), frame_id)
    raw += struct.pack('>III6sBxII', 1, 3, len(encoding), encoding, 0, 3, 3) + b'\1\2\3'
    seen = view_image(raw)
    assert (seen.header.stamp.sec, seen.header.frame_id) == (12, 'cam')
    np.testing.assert_array_equal(to_rgb(seen)[0, :, 0], [1, 2, 3])


def test_a_message_that_was_cut_anywhere_is_refused_in_one_sentence():
    raw = serialize_message(message(data=b'123456'))
    end = raw.index(b'123456') + 6
    for length in range(4, end):
        with pytest.raises(PdlError, match=r'message ends after \d+ bytes'):
            view_image(raw[:length])


def test_a_length_that_no_message_has_takes_no_memory_and_is_refused():
    raw = bytearray(serialize_message(message(data=b'123456')))
    at = raw.index(b'123456') - 4
    raw[at : at + 4] = b'\xff\xff\xff\xff'
    with pytest.raises(PdlError, match='announces 4294967295 bytes'):
        view_image(bytes(raw))


def test_the_first_frame_waits_for_no_compiler():
    label_set = LabelSet.load('camvid')
    warm_up_outputs(label_set)
    kernels = (visualization._find_edges, visualization._keep_things, visualization._draw_contours)
    before = [len(kernel.signatures) for kernel in (*kernels, masks._scan, masks._compress)]
    image = Image(height=4, width=6, encoding='rgb8', step=18, data=bytes(72))
    for rgb in (to_rgb(view_image(serialize_message(image))), np.zeros((4, 6, 3), np.uint8)):
        labels = torch.zeros(4, 6, dtype=torch.int32).numpy()
        _, picture = ImageWriter(ROS, 'rgb8').blank(4, 6, Header())
        visualization.overlay(rgb, labels, label_set, 0.5, picture)
        masks.coco_masks(labels, [0])
    assert before == [len(kernel.signatures) for kernel in (*kernels, masks._scan, masks._compress)]
