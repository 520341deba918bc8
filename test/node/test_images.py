"""What a camera sends is what the network sees, and what is no image is refused in one sentence."""

from __future__ import annotations

import contextlib
import tracemalloc
from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.typesys.stores.ros2_jazzy import sensor_msgs__msg__Image as BagImage
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from pdl_ros.errors import PdlError
from pdl_ros.imaging.encodings import ENCODINGS
from pdl_ros.imaging.raw import to_rgb
from pdl_ros.messages.images import ImageWriter
from pdl_ros.node.output.ros_messages import ROS

CHANNELS = {
    'rgb': [0, 1, 2],
    'bgr': [2, 1, 0],
    'rgba': [0, 1, 2],
    'bgra': [2, 1, 0],
    'mono': [0, 0, 0],
}
"""For each packed colour format, which channel is red, green and blue."""
SAME_AS = {'8UC1': 'mono8', '8UC3': 'bgr8', '8UC4': 'bgra8'}
PACKED = [*(f'{name}{depth}' for name in CHANNELS for depth in (8, 16)), *SAME_AS]
BAYER = [f'bayer_{p}{depth}' for p in ('rggb', 'bggr', 'gbrg', 'grbg') for depth in (8, 16)]
YUV422 = {'yuv422': 'uyvy', 'uyvy': 'uyvy', 'yuv422_yuy2': 'yuyv', 'yuyv': 'yuyv'}
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


class Wire:
    """How a driver puts samples into a message: bytes after each row, byte order, and whether the
    last row is padded too.
    """

    def __init__(self, padding: int, big_endian: bool, padded_end: bool) -> None:
        self.padding, self.big_endian, self.padded_end = padding, big_endian, padded_end

    def __repr__(self) -> str:
        return str(vars(self))

    def message(
        self, encoding: str, height: int, width: int, planes: list[np.ndarray], steps: int = 1
    ) -> Image:
        """Pack planes of (rows, samples) uint8 or uint16; a row of the last is `steps` steps."""
        row = planes[0].shape[1] * planes[0].itemsize
        data = b''
        for plane in planes:
            stored = plane.astype(plane.dtype.newbyteorder('>' if self.big_endian else '<'))
            padding = self.padding * (steps if plane is planes[-1] else 1)
            for line in stored:
                data += line.tobytes() + bytes([171]) * padding
        if self.padding and not self.padded_end:
            data = data[:-padding]
        return Image(height=height, width=width, encoding=encoding, step=row + self.padding,
                     is_bigendian=self.big_endian, data=data)  # fmt: skip


WIRES = st.builds(Wire, st.integers(0, 7), st.booleans(), st.booleans())


def noise(shape: tuple[int, ...], dtype: type = np.uint8) -> np.ndarray:
    """Pixels that differ, the same ones for the same shape."""
    return np.random.default_rng(shape).integers(0, np.iinfo(dtype).max + 1, shape, dtype)


@pytest.mark.parametrize('encoding', PACKED)
@given(size=SIZES, wire=WIRES)
def test_each_colour_of_each_packed_format_arrives_in_its_channel(
    encoding: str, size: tuple[int, int], wire: Wire
) -> None:
    name = SAME_AS.get(encoding, encoding)
    deep = name.endswith('16')
    channels = CHANNELS[name.rstrip('0123456789')]
    count = {'mono': 1, 'rgb': 3, 'bgr': 3}.get(name.rstrip('0123456789'), 4)
    samples = noise((*size, count), np.uint16 if deep else np.uint8)
    message = wire.message(encoding, *size, [samples.reshape(size[0], -1)])
    expected = (samples >> 8 if deep else samples)[..., channels]
    np.testing.assert_array_equal(to_rgb(message), expected)
    assert to_rgb(message).dtype == np.uint8
    assert to_rgb(message).flags.c_contiguous


def bilinear(mosaic: np.ndarray, pattern: str) -> np.ndarray:
    """Give each pixel its own sample, and of the other colours the rounded mean of the samples in
    the 3x3 pixels around it; the outermost pixels repeat their inner neighbours.
    """
    height, width = mosaic.shape
    color = np.array([['rgb'.index(pattern[2 * (y % 2) + x % 2]) for x in range(width)]
                      for y in range(height)])  # fmt: skip
    rgb = np.zeros((height, width, 3), np.uint8)
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            samples = mosaic[y - 1 : y + 2, x - 1 : x + 2].astype(int)
            colors = color[y - 1 : y + 2, x - 1 : x + 2]
            for c in range(3):
                near = samples[colors == c] if c != color[y, x] else samples[1:2, 1]
                rgb[y, x, c] = (2 * near.sum() + len(near)) // (2 * len(near))
    return np.pad(rgb[1:-1, 1:-1], ((1, 1), (1, 1), (0, 0)), mode='edge')


@pytest.mark.parametrize('encoding', BAYER)
@given(size=st.tuples(st.integers(3, 8), st.integers(3, 40)), wire=WIRES)
def test_a_raw_colour_camera_is_demosaicked_by_the_pattern_it_names(
    encoding: str, size: tuple[int, int], wire: Wire
) -> None:
    deep = encoding.endswith('16')
    mosaic = noise(size, np.uint16 if deep else np.uint8)
    expected = bilinear((mosaic >> 8).astype(np.uint8) if deep else mosaic, encoding[6:10])
    np.testing.assert_array_equal(to_rgb(wire.message(encoding, *size, [mosaic])), expected)


@pytest.mark.parametrize('encoding', BAYER)
def test_a_red_wall_seen_through_any_bayer_pattern_stays_red(encoding: str) -> None:
    wall = {'r': 200, 'g': 30, 'b': 10}
    tile = np.array([wall[c] for c in encoding[6:10]]).reshape(2, 2)
    mosaic = np.tile(tile, (4, 5))
    mosaic = (mosaic * 256 + 7).astype(np.uint16) if encoding.endswith('16') else mosaic
    message = Wire(0, False, True).message(
        encoding, 8, 10, [mosaic.astype(np.uint16 if encoding.endswith('16') else np.uint8)]
    )
    assert (to_rgb(message) == (200, 30, 10)).all()


def bt601(y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) RGB of (H, W) video-range samples by the standard's formula."""
    luma, blue, red = 255 / 219 * (y - 16.0), u - 128.0, v - 128.0
    channels = (luma + 1.596 * red, luma - 0.392 * blue - 0.813 * red, luma + 2.017 * blue)
    return np.clip(np.stack(channels, -1), 0, 255)


def assert_close_to_bt601(rgb: np.ndarray, y: np.ndarray, u: np.ndarray, v: np.ndarray) -> None:
    assert rgb.shape == (*y.shape, 3)
    # OpenCV cuts luma below 16 off, and rounds its coefficients.
    assert np.abs(rgb - bt601(np.maximum(y, 16), u, v)).max() <= 1.5


@pytest.mark.parametrize('encoding', YUV422)
@given(size=st.tuples(st.integers(1, 5), st.integers(1, 20)), wire=WIRES)
def test_a_webcam_that_sends_yuv_422_shows_its_true_colours(
    encoding: str, size: tuple[int, int], wire: Wire
) -> None:
    height, width = size[0], 2 * size[1]
    y, u, v = noise((height, width)), noise((height, width // 2)), noise((height, width // 2, 1))
    v = v[..., 0]
    order = {'uyvy': (u, y[:, ::2], v, y[:, 1::2]), 'yuyv': (y[:, ::2], u, y[:, 1::2], v)}
    packed = np.stack(order[YUV422[encoding]], -1).reshape(height, -1)
    rgb = to_rgb(wire.message(encoding, height, width, [packed]))
    assert_close_to_bt601(rgb, y, u.repeat(2, 1), v.repeat(2, 1))


@pytest.mark.parametrize('encoding', ['nv12', 'nv21'])
@given(size=st.tuples(st.integers(1, 5), st.integers(1, 20)), wire=WIRES)
def test_a_phone_camera_that_sends_yuv_420_in_two_planes_shows_its_true_colours(
    encoding: str, size: tuple[int, int], wire: Wire
) -> None:
    height, width = 2 * size[0], 2 * size[1]
    y, u, v = noise((height, width)), noise(size), noise((*size, 1))[..., 0]
    pairs = np.stack((u, v) if encoding == 'nv12' else (v, u), -1).reshape(size[0], -1)
    rgb = to_rgb(wire.message(encoding, height, width, [y, pairs]))
    assert_close_to_bt601(rgb, y, *(c.repeat(2, 0).repeat(2, 1) for c in (u, v)))


@given(size=SIZES, wire=WIRES)
def test_full_resolution_chroma_is_not_thinned(size: tuple[int, int], wire: Wire) -> None:
    y, u, v = noise(size), noise((*size, 1))[..., 0], noise((*size, 2))[..., 0]
    pairs = np.stack((u, v), -1).reshape(size[0], -1)
    rgb = to_rgb(wire.message('nv24', *size, [y, pairs], steps=2))
    assert_close_to_bt601(rgb, y, u, v)


def test_every_encoding_that_is_listed_as_supported_is_tested_here() -> None:
    assert set(ENCODINGS) == {*PACKED, *BAYER, *YUV422, 'nv12', 'nv21', 'nv24'}


@pytest.mark.parametrize('holder', [bytes, list, bytearray, lambda d: np.frombuffer(d, np.uint8),
                                    lambda d: array('B', d), memoryview])  # fmt: skip
def test_a_bag_readers_message_is_read_like_rclpys(holder: Any) -> None:
    pixels = noise((4, 5, 3))
    message = BagImage(None, 4, 5, 'bgr8', 0, 15, holder(pixels.tobytes()))
    np.testing.assert_array_equal(to_rgb(message), pixels[..., ::-1])


def test_rgb8_of_full_rows_costs_no_copy_and_padded_rows_cost_one() -> None:
    message = Wire(0, False, True).message('rgb8', 4, 5, [noise((4, 15))])
    assert np.shares_memory(to_rgb(message), np.frombuffer(message.data, np.uint8))
    padded = Wire(3, False, True).message('rgb8', 4, 5, [noise((4, 15))])
    assert to_rgb(padded).flags.c_contiguous


HUGE = 4_000_000_000
HOSTILE: dict[str, dict[str, Any]] = {
    "Encoding 'h264' is not supported; supported are: rgb8, bgr8,": {'encoding': 'h264'},
    "Encoding '16UC1' carries depth or labels": {'encoding': '16UC1', 'step': 16},
    "Encoding '32FC1' carries depth or labels": {'encoding': '32FC1', 'step': 32},
    "Encoding '32SC1' carries depth or labels": {'encoding': '32SC1', 'step': 32},
    "Encoding '8UC2' is not supported": {'encoding': '8UC2'},
    "Encoding '' is not supported": {'encoding': ''},
    rf"Encoding 'a\nb{'c' * 37}' is not supported": {'encoding': 'a\nb' + 'c' * 100_000},
    'The image is empty (8x0)': {'height': 0},
    'The image is empty (0x8)': {'width': 0},
    'a step of 0 bytes, but a row of 8 rgb8 pixels takes 24': {'step': 0},
    'a step of 23 bytes, but a row of 8 rgb8 pixels takes 24': {'step': 23},
    'a step of 24 bytes, but a row of 8 rgba16 pixels takes 64': {'encoding': 'rgba16'},
    'a step of 7 bytes, but a row of 8 nv12 pixels takes 8': {'encoding': 'nv12', 'step': 7},
    'a step of 7 bytes, but a row of 8 nv24 pixels takes 8': {'encoding': 'nv24', 'step': 7},
    'a step of 24 bytes, but a row of 4000000 rgb8 pixels takes 12000000': {'width': 4_000_000},
    f'says that it is {HUGE}x8; it must have 1 to 67108864 pixels': {'width': HUGE},
    'holds 192 bytes, but 8x8 rgb8 with step 4294967295 takes 30064771089': {'step': 2**32 - 1},
    'holds 192 bytes, but 8x4000000 rgb8 with step 24 takes 96000000': {'height': 4_000_000},
    f'says that it is 8x{HUGE}; it must have 1 to': {'height': HUGE},
    f'says that it is {HUGE}x{HUGE}; it must have 1 to': {
        'height': HUGE, 'width': HUGE, 'step': HUGE, 'encoding': 'mono8'},
    'holds 191 bytes, but 8x8 rgb8 with step 24 takes 192': {'data': bytes(191)},
    'holds 0 bytes, but 8x8 rgb8': {'data': b''},
    'holds 192 bytes, but 8x8 nv24 with step 24 takes 544': {'encoding': 'nv24'},
    'holds 192 bytes, but 8x8 nv12 with step 24 takes 272': {'encoding': 'nv12'},
    'The image is 7x8, but yuv422 stores one colour for neighbouring pixels and takes a width of '
    'even size': {'encoding': 'yuv422', 'width': 7},
    'The image is 7x8, but nv12 stores one colour for neighbouring pixels and takes width and '
    'height of even size': {'encoding': 'nv12', 'width': 7},
    'The image is 8x7, but nv21': {'encoding': 'nv21', 'height': 7},
    'A Bayer image of 8x2 pixels has no colours': {'encoding': 'bayer_rggb8', 'height': 2},
}  # fmt: skip


@pytest.mark.parametrize('sentence', HOSTILE)
def test_a_hostile_message_costs_one_sentence_and_no_memory(sentence: str) -> None:
    fields = {'height': 8, 'width': 8, 'encoding': 'rgb8', 'step': 24, 'data': bytes(192)}
    message = Image(**{**fields, **HOSTILE[sentence]})
    tracemalloc.start()
    try:
        with pytest.raises(PdlError) as error:
            to_rgb(message)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sentence in str(error.value)
    assert '\n' not in str(error.value)
    assert len(str(error.value)) < 500
    assert peak < 200_000, 'memory was taken before the message was checked'


@given(
    encoding=st.sampled_from(sorted(ENCODINGS)),
    height=st.integers(0, 12),
    width=st.integers(0, 12),
    step=st.integers(0, 60),
    size=st.integers(0, 900),
)
def test_a_message_of_any_numbers_is_an_image_of_its_size_or_refused(
    encoding: str, height: int, width: int, step: int, size: int
) -> None:
    message = Image(height=height, width=width, encoding=encoding, step=step, data=bytes(size))
    with contextlib.suppress(PdlError):
        assert to_rgb(message).shape == (height, width, 3)


def test_a_written_image_is_read_back_and_the_next_one_takes_no_new_memory() -> None:
    writer, pixels = ImageWriter(ROS, 'rgb8'), noise((6, 7, 3))
    first = writer.fill(pixels, Header(frame_id='camera'))
    np.testing.assert_array_equal(to_rgb(first), pixels)
    assert (first.header.frame_id, first.encoding) == ('camera', 'rgb8')
    data = first.data
    second = writer.fill(pixels[::-1], Header(frame_id='left'))
    assert second.data is data
    np.testing.assert_array_equal(to_rgb(second), pixels[::-1])
    third = writer.fill(pixels[:4, :5], Header())
    np.testing.assert_array_equal(to_rgb(third), pixels[:4, :5])


def test_labels_beyond_a_byte_survive_the_wire() -> None:
    labels = noise((5, 6), np.uint16)
    message = deserialize_message(
        serialize_message(ImageWriter(ROS, '16UC1').fill(labels.astype(np.int32), Header())), Image
    )
    assert (message.encoding, message.step) == ('16UC1', 12)
    np.testing.assert_array_equal(np.frombuffer(message.data, np.uint16).reshape(5, 6), labels)
