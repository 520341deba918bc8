"""Recordings of video for tests: real H.264 and H.265 of pictures that differ."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from pdl_ros.bags.types import message_class, serialize

from .recordings import PERIOD, START, McapFile

VIDEO, PACKET = 'foxglove_msgs/msg/CompressedVideo', 'ffmpeg_image_transport_msgs/msg/FFMPEGPacket'
GROUP = 5
ENCODERS = {'h264': 'libx264', 'h265': 'libx265'}


class Packet(NamedTuple):
    """number: of the picture, in the order in which they were taken."""

    number: int
    is_key: bool
    data: bytes


def picture(number: int, size: tuple[int, int] = (96, 64)) -> np.ndarray:
    """A picture that tells its number: its brightness, and where its square is."""
    width, height = size
    rgb = np.full((height, width, 3), 40 + 8 * number, np.uint8)
    rgb[20:36, 2 * number : 2 * number + 16] = 255
    return rgb


def number_of(rgb: np.ndarray) -> int:
    """Return the number of a decoded picture."""
    return round((float(np.median(rgb)) - 40) / 8)


def encode(
    codec: str = 'h264',
    count: int = 20,
    bframes: int = 0,
    size: tuple[int, int] = (96, 64),
    more: str = '',
) -> list[Packet]:
    """Encode pictures in closed groups of GROUP; return the packets as an encoder sends them.

    more: rules of the encoder that go before others.
    """
    import av

    rules = f'keyint={GROUP}:min-keyint={GROUP}:scenecut=0:bframes={bframes}:b-adapt=0{more}'
    context = av.CodecContext.create(ENCODERS[codec], 'w')
    context.width, context.height, context.pix_fmt = *size, 'yuv420p'
    context.time_base, context.framerate = Fraction(1, 30), Fraction(30)
    context.options = {
        'preset': 'veryfast',
        'crf': '12',
        **(
            {'x264-params': rules}
            if codec == 'h264'
            else {'x265-params': f'{rules}:open-gop=0:repeat-headers=1:log-level=none:pools=1'}
        ),
    }
    packets = []
    for number in range(count):
        frame = av.VideoFrame.from_ndarray(picture(number, size), format='rgb24')
        frame.pts = number
        packets += context.encode(frame)
    packets += context.encode(None)
    return [Packet(packet.pts, packet.is_keyframe, bytes(packet)) for packet in packets]


def video_message(packet: Packet, codec: str = 'h264', kind: str = VIDEO):
    """A packet as a message whose stamp, in nanoseconds, is the number of its picture."""
    stamp = message_class('builtin_interfaces/msg/Time')(sec=1, nanosec=packet.number)
    data = np.frombuffer(packet.data, np.uint8)
    if kind == VIDEO:
        return message_class(VIDEO)(stamp, 'camera', data, codec)
    header = message_class('std_msgs/msg/Header')(stamp=stamp, frame_id='camera')
    encoding = {'h264': 'libx264', 'h265': 'hevc;yuv420p;bgr8;bgr8'}[codec]
    return message_class(PACKET)(
        header, 96, 64, encoding, packet.number, int(packet.is_key), False, data
    )


def record_video(
    path: Path,
    packets: list[Packet],
    codec: str = 'h264',
    kind: str = VIDEO,
    schema: str = '',
) -> Path:
    """Write an MCAP with a topic /video of packets, at 10 Hz; schema: another name of the type."""
    file = McapFile(path)
    channel = file.topic('/video', schema or kind)
    for place, packet in enumerate(packets):
        data = serialize(video_message(packet, codec, kind))
        file.write(channel, START + place * PERIOD, data)
    return file.finish()


def pixels(rgb: np.ndarray) -> np.ndarray:
    """Return a picture small and smooth, so that a codec's noise does not count."""
    return cv2.resize(rgb, (24, 16), interpolation=cv2.INTER_AREA).astype(int)


def protobuf_message(packet: Packet, codec: str = 'h264') -> bytes:
    """A packet as Foxglove's tools record it; its stamp is 1 s and the number of its picture."""
    stamp = _field(1, 1) + _field(2, packet.number)
    parts = [_field(1, stamp), _field(2, b'camera'), _field(3, packet.data)]
    return b''.join([*parts, _field(4, codec.encode()), _field(9, 300)])  # one of a later version


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])
