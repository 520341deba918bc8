"""Compressed camera frames are decoded as they were taken; bombs and wrecks are refused."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
import zlib
from array import array
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CompressedImage, Image

from pdl_ros.errors import PdlError
from pdl_ros.imaging.compressed import compressed_to_rgb
from pdl_ros.imaging.raw import to_rgb

PNG = b'\x89PNG\r\n\x1a\n'
GREY, COLOR, WITH_ALPHA = 0, 2, 6


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def png(pixels: np.ndarray, color: int, extra: bytes = b'', size: Any = None) -> bytes:
    """Write (H, W, ...) uint8 or uint16 samples by the PNG specification; `size` (width, height) is
    what the header claims instead of the truth.
    """
    height, width = pixels.shape[:2]
    depth = 8 * pixels.itemsize
    big_endian = pixels.astype(pixels.dtype.newbyteorder('>'))
    lines = b''.join(b'\0' + line.tobytes() for line in big_endian)
    header = struct.pack('>IIBBBBB', *(size or (width, height)), depth, color, 0, 0, 0)
    body = chunk(b'IDAT', zlib.compress(lines)) + chunk(b'IEND', b'')
    return PNG + chunk(b'IHDR', header) + extra + body


def jpeg(rgb: np.ndarray, *parameters: int) -> bytes:
    done, data = cv2.imencode('.jpg', rgb[..., ::-1] if rgb.ndim == 3 else rgb, parameters)
    assert done
    return data.tobytes()


def decode(data: Any, text: str = '') -> np.ndarray:
    return compressed_to_rgb(CompressedImage(format=text, data=data))


def segment(kind: int, body: bytes) -> bytes:
    """Return a JPEG segment."""
    return bytes([0xFF, kind]) + struct.pack('>H', len(body) + 2) + body


@pytest.fixture
def scene() -> np.ndarray:
    """A (48, 80, 3) picture that JPEG keeps well, different in every corner and channel."""
    y, x = np.mgrid[0:48, 0:80]
    return np.stack((3 * x, 5 * y, 255 - 2 * x - y), -1).astype(np.uint8)


@pytest.mark.parametrize(
    'text', ['rgb8; jpeg compressed bgr8', 'bgr8; jpeg compressed bgr8', 'jpeg', 'JPEG', 'jpg', '',
             'yuv422_yuy2; jpeg compressed bgr8', 'bayer_rggb8; jpeg compressed bgr8', 'mjpeg',
             'rgb8; jpeg compressed rgb8'],
)  # fmt: skip
def test_the_colours_of_a_jpeg_are_those_of_the_file_whatever_wrote_its_format(
    scene: np.ndarray, text: str
) -> None:
    difference = np.abs(decode(jpeg(scene, cv2.IMWRITE_JPEG_QUALITY, 98), text) - scene.astype(int))
    assert difference.max() <= 12
    assert difference.mean() < 2


@pytest.mark.parametrize('text', ['bgr8; png compressed bgr8', 'rgb8; png compressed rgb8', 'png'])
def test_a_png_is_decoded_exactly(scene: np.ndarray, text: str) -> None:
    np.testing.assert_array_equal(decode(png(scene, COLOR), text), scene)


def test_a_png_of_16_bits_keeps_the_upper_8_like_a_raw_image(scene: np.ndarray) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (7, 9, 3), np.uint16)
    np.testing.assert_array_equal(
        decode(png(deep, COLOR), 'rgb16; png compressed bgr16'), deep >> 8
    )
    grey = decode(png(deep[..., 0], GREY), 'mono16; png compressed ')
    np.testing.assert_array_equal(grey, (deep[..., :1] >> 8).repeat(3, 2))


def test_transparency_is_dropped_and_grey_is_grey(scene: np.ndarray) -> None:
    with_alpha = np.dstack((scene, scene[..., 0]))
    np.testing.assert_array_equal(decode(png(with_alpha, WITH_ALPHA)), scene)
    np.testing.assert_array_equal(decode(png(scene[..., 1], GREY)), scene[..., 1:2].repeat(3, 2))
    assert np.ptp(decode(jpeg(scene[..., 1])), axis=2).max() == 0


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_a_mosaic_that_was_stored_as_it_is_gets_its_colours(pattern: str, dtype: type) -> None:
    mosaic = np.random.default_rng(1).integers(0, np.iinfo(dtype).max + 1, (12, 14), dtype)
    name = f'bayer_{pattern}{8 * mosaic.itemsize}'
    step = 14 * mosaic.itemsize
    raw = Image(height=12, width=14, encoding=name, step=step, data=mosaic.tobytes())
    expected = to_rgb(raw)
    np.testing.assert_array_equal(decode(png(mosaic, GREY), f'{name}; png compressed '), expected)
    grey = decode(png(mosaic, GREY), f'{name}; png compressed mono8')
    upper = (mosaic >> 8 * (mosaic.itemsize - 1))[..., None]
    np.testing.assert_array_equal(grey, upper.repeat(3, 2))


def test_a_mark_that_asks_viewers_to_rotate_does_not_turn_the_camera(scene: np.ndarray) -> None:
    orientation = struct.pack('<HHIHH', 0x0112, 3, 1, 6, 0)  # a quarter turn
    exif = b'Exif\0\0II*\0' + struct.pack('<IH', 8, 1) + orientation + bytes(4)
    data = jpeg(scene)
    marked = data[:2] + segment(0xE1, exif) + data[2:]
    assert cv2.imdecode(np.frombuffer(marked, np.uint8), cv2.IMREAD_COLOR).shape == (80, 48, 3)
    np.testing.assert_array_equal(decode(marked), decode(data))


@pytest.mark.parametrize('holder', [bytes, list, lambda d: array('B', d)])
def test_the_bytes_may_come_in_any_holder(scene: np.ndarray, holder: Any) -> None:
    np.testing.assert_array_equal(decode(holder(png(scene, COLOR))), scene)


def test_a_progressive_jpeg_and_one_with_rubbish_after_its_end_are_read(scene: np.ndarray) -> None:
    plain = decode(jpeg(scene))
    progressive = decode(jpeg(scene, cv2.IMWRITE_JPEG_PROGRESSIVE, 1))
    assert np.abs(progressive - plain.astype(int)).max() <= 2
    np.testing.assert_array_equal(decode(jpeg(scene) + bytes(500)), plain)


TINY = np.zeros((2, 2, 3), np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
FRAME = jpeg(np.zeros((16, 16, 3), np.uint8))
SIZE_AT = FRAME.index(b'\xff\xc0') + 5
BOMB = FRAME[:SIZE_AT] + struct.pack('>HH', 65500, 65500) + FRAME[SIZE_AT + 4 :]
SCAN = FRAME[FRAME.index(b'\xff\xda') : -2]
ANIMATION = chunk(b'acTL', struct.pack('>II', 2, 0))
HOSTILE: dict[str, tuple[str, bytes]] = {
    'is a depth image (compressedDepth)': ('16UC1; compressedDepth png', PNG),
    "Encoding '16UC1' carries depth or labels": ('16UC1; png compressed ', png(TINY, COLOR)),
    "Encoding '32FC1' carries depth or labels": ('32FC1; tiff compressed ', b'II*\0'),
    "Format 'h264;bgr8;yuv420p' is video": ('h264;bgr8;yuv420p', b'\0\0\0\1'),
    "Format 'H.265' is video": ('H.265', b''),
    "(format 'jpeg', 0 bytes) is neither JPEG nor PNG": ('jpeg', b''),
    "(format 'rgb8; tiff compressed ', 4 bytes) is neither": ('rgb8; tiff compressed ', b'II*\0'),
    "(format 'webp', 12 bytes) is neither": ('webp', b'RIFF\0\0\0\0WEBP'),
    'says that it is 60000x60000; it must have 1 to 67108864 pixels': (
        'png', png(TINY, COLOR, size=(60000, 60000))),
    'says that it is 65500x65500': ('jpeg', BOMB),
    'it has no proper header.': ('png', png(TINY, COLOR, size=(0, 7))),
    'damaged and cannot be decoded': ('png', png(TINY, COLOR, size=(200, 200))),
    'is an animation': ('png', png(TINY, COLOR, extra=ANIMATION)),
    'supported kind: it has no proper header.': (
        'png', PNG + chunk(b'IDAT', b'') + chunk(b'IEND', b'')),
    'kind: it has no proper header.': ('png', PNG),
    'image file is truncated.': ('png', png(NOISE, COLOR)[:-900]),
    'no proper header': ('jpeg', FRAME[:2]),
    'image file is truncated (': ('jpeg', FRAME[:-2]),
    'proper header': ('jpeg', FRAME[:2] + b'rubbish' + FRAME[2:]),
    'no JPEG file has so many scans': ('jpeg', FRAME[:-2] + 200 * SCAN + FRAME[-2:]),
}  # fmt: skip


@pytest.mark.parametrize('sentence', HOSTILE)
def test_what_is_no_picture_is_refused_in_one_sentence_before_memory_is_taken(
    sentence: str,
) -> None:
    text, data = HOSTILE[sentence]
    tracemalloc.start()
    try:
        with pytest.raises(PdlError) as error:
            decode(data, text)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sentence in str(error.value)
    assert '\n' not in str(error.value)
    assert peak < 1_000_000


def test_two_sizes_in_one_jpeg_cannot_smuggle_the_larger_past_the_limit() -> None:
    small, large = (
        segment(0xC0, b'\x08' + struct.pack('>HH', size, size) + FRAME[SIZE_AT + 4 : SIZE_AT + 14])
        for size in (16, 65500)
    )
    before, after = FRAME[: SIZE_AT - 5], FRAME[SIZE_AT + 14 :]
    assert decode(before + small + after).shape == (16, 16, 3)
    for twice in (small + large, large + small):
        with pytest.raises(PdlError, match=r'says that it is 65500|damaged'):
            decode(before + twice + after)


def test_a_large_camera_is_told_the_limit_it_may_raise(scene: np.ndarray) -> None:
    message = CompressedImage(format='png', data=png(scene, COLOR))
    assert compressed_to_rgb(message, max_pixels=48 * 80).shape == scene.shape
    with pytest.raises(PdlError, match='says that it is 80x48; it must have 1 to 3839 pixels'):
        compressed_to_rgb(message, max_pixels=48 * 80 - 1)


def test_a_raw_image_is_bounded_too(scene: np.ndarray) -> None:
    raw = Image(height=48, width=80, encoding='rgb8', step=240, data=scene.tobytes())
    np.testing.assert_array_equal(to_rgb(raw, max_pixels=48 * 80), scene)
    with pytest.raises(PdlError, match=r'says that it is 80x48; .* max_image_pixels'):
        to_rgb(raw, max_pixels=48 * 80 - 1)


@settings(max_examples=300)
@given(
    data=st.sampled_from([FRAME, png(np.arange(48, dtype=np.uint8).reshape(4, 4, 3), COLOR)]),
    place=st.integers(0, 2000),
    value=st.binary(min_size=0, max_size=4),
    end=st.integers(0, 2000),
)
def test_a_frame_that_was_damaged_anywhere_is_an_image_or_refused(
    data: bytes, place: int, value: bytes, end: int
) -> None:
    place %= len(data)
    broken = (data[:place] + value + data[place + len(value) :])[: max(end, 1)]
    with contextlib.suppress(PdlError):
        rgb = decode(broken, 'jpeg')
        assert rgb.ndim == 3 and rgb.dtype == np.uint8
