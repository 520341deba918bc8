"""Frames of video topics: H.264 and H.265, a packet a message, decoded by PyAV without ROS.

A packet is no picture by itself: it needs those before it, back to a key frame, and with B-frames
the picture of a packet comes out after that of a later one. So a decoder belongs to a topic, and
hands each picture back with what came with its own packet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from pdl_ros.bags.h264_gaps import FrameNumbers
from pdl_ros.bags.video_types import VIDEO_DEFINITIONS
from pdl_ros.errors import PdlError, printable, require_package
from pdl_ros.imaging.decoding import check_size

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext


Tag = TypeVar('Tag')

VIDEO_TYPES = tuple(VIDEO_DEFINITIONS)
"""Types of messages of which each holds a packet of a video."""

MAX_PIXELS = 35_651_584
"""Of a picture: what level 6.2 allows, the highest of both standards (8192x4352)."""

# What publishers call the codecs: by their standard, or by the encoder that they used. In an
# FFMPEGPacket pixel formats may follow: `h264;yuv420p;bgr8;bgr8`.
_CODECS = {'h264': re.compile(r'[hx]\.?264|avc'), 'hevc': re.compile(r'[hx]\.?265|hevc')}
_UNIT = re.compile(rb'\x00\x00\x01(..)', re.DOTALL)  # Annex B: a start code, a NAL unit's head
_RECOVERY_POINT = 6
_HELD_BACK = 32  # packets; a decoder may hold back 16 pictures
_WORDS = {'h264': 'H.264', 'hevc': 'H.265'}


class Start(Enum):
    """Whether decoding can begin with a packet: with an open group, pictures that are shown before
    its key frame need the group before.
    """

    NONE = 'none'
    OPEN = 'open'
    CLOSED = 'closed'


class VideoDecoder(Generic[Tag]):
    """The decoder of one topic: packets in recorded order -> (H, W, 3) uint8 RGB pictures.

    Pictures come in the order in which they are shown, each with the tag of its own packet. Where
    the packets before the first key frame are missing, and after a damaged packet, what cannot be
    decoded rightly is skipped up to the next key frame.

    skipped: packets before the first key frame. lost: pictures that damage cost. told: sentences
    about both, each with the number of pictures that were lost; whoever reads them empties it.
    """

    def __init__(self, max_pixels: int = MAX_PIXELS) -> None:
        require_package('av', 'video')
        self.skipped = self.lost = 0
        self.told: list[tuple[str, int]] = []
        self._max_pixels = max_pixels
        self._packets = 0
        self._codec = ''
        self._context: VideoCodecContext | None = None
        self._waits, self._began = True, False
        self._damage, self._cost = '', 0
        self._numbers = FrameNumbers()
        self._forgotten = 0
        self._leading = range(0)  # packets of pictures that may need what came before the start
        self._pending: dict[int, Tag] = {}

    def forget(self) -> None:
        """Say nothing of what has happened: it was told by whoever decoded it first."""
        self.told.clear()
        self._cost = 0
        self._forgotten = self._packets

    def start_of(self, message: Any) -> Start:
        """Tell whether decoding can begin with a message. Raises PdlError for another codec."""
        return _look_at(bytes(message.data), _codec_of(message))[1]

    def decode(self, message: Any, tag: Tag) -> list[tuple[Tag, np.ndarray]]:
        """Take a deserialized message; return the pictures that are complete now, perhaps none.

        Raises PdlError for a message of another codec.
        """
        self._packets += 1
        data = bytes(message.data)
        done = self._switch(_codec_of(message))
        has_picture, start = _look_at(data, self._codec)
        is_key = start != Start.NONE
        if self._codec == 'h264' and self._misses(data) and not (self._waits or is_key):
            self._damage = f'before packet {self._packets} others are missing.'
            done += self._drain()
        if has_picture and self._waits:
            if not is_key:
                self._skip()
                return done
            self._start(start)
        if has_picture:
            self._pending[self._packets] = tag
        try:
            check_size(*_said_size(message), 'The video', self._max_pixels)
            done += self._send(data)
        except (PdlError, _failures()) as error:
            if has_picture:  # H.264 calls it a failure where parameter sets come alone
                done += self._break_off(error)
        return done

    def flush(self) -> list[tuple[Tag, np.ndarray]]:
        """Return the pictures that were held back, at the end of the topic."""
        done = self._drain()
        if self._cost:
            self._tell_cost('up to the end')
        self._give_up(0)
        if not self._began and self.skipped:
            said = f'there is no key frame in {self.skipped} packets of video.'
            self.told.append((said, self.skipped))
        return done

    def _switch(self, codec: str) -> list[tuple[Tag, np.ndarray]]:
        """Have a decoder for a codec; return what the one before held back."""
        if codec == self._codec:
            return []
        from av.codec.context import CodecContext
        from av.logging import PANIC, set_level

        set_level(PANIC)  # it would write its own words to stderr, which a file can choose
        done = self._drain()
        context: Any = CodecContext.create(codec, 'r')
        # Slices, not frames: what is wrong with a packet is said when it is sent.
        context.thread_type = 'SLICE'
        context.options = {'err_detect': 'explode', 'max_pixels': str(self._max_pixels)}
        self._codec, self._context, self._waits = codec, context, True
        return done

    def _send(self, data: bytes | None) -> list[tuple[Tag, np.ndarray]]:
        from av.packet import Packet

        assert self._context is not None
        packet = None
        if data is not None:
            packet = Packet(data)
            packet.pts = packet.dts = self._packets
        pictures = []
        for frame in self._context.decode(packet):
            if frame.pts not in self._pending:  # what is left of a damaged packet
                continue
            tag = self._pending.pop(frame.pts)
            if frame.is_corrupt:
                self._add_loss()
                continue
            pictures.append((tag, frame.to_ndarray(format='rgb24')))
        self._give_up(_HELD_BACK)
        return pictures

    def _give_up(self, most: int) -> None:
        """Expect no picture of packets of which so many newer ones wait."""
        late = list(self._pending)[: max(len(self._pending) - most, 0)]
        for number in late:
            del self._pending[number]
        late = [number for number in late if number > self._forgotten]
        early = [number for number in late if number in self._leading]
        if early:
            self.skipped += len(early)
            said = f'pictures that need what came before the first key frame: {len(early)}.'
            self.told.append((said, 0))
        if lost := len(late) - len(early):
            self.lost += lost
            self.told.append((f'packets that gave no picture: {lost}.', lost))

    def _drain(self) -> list[tuple[Tag, np.ndarray]]:
        """Return the pictures that are held back; the decoder needs a key frame then."""
        if self._context is None:
            return []
        try:
            return self._send(None)
        except _failures():
            return []
        finally:
            self._context.flush_buffers()
            self._waits = True

    def _break_off(self, error: Exception) -> list[tuple[Tag, np.ndarray]]:
        """Wait for the next key frame after a packet that cannot be decoded."""
        del self._pending[self._packets]
        done = self._drain()
        if not self._damage:
            reason = f': {error}' if isinstance(error, PdlError) else ' and cannot be decoded.'
            self._damage = f'packet {self._packets} is damaged, or too large{reason}'
        self.lost += 1 + len(self._pending)
        self._cost += 1 + len(self._pending)
        self._pending.clear()
        return done

    def _misses(self, data: bytes) -> bool:
        """Tell whether packets before one of H.264 are missing, by its first slice."""
        for (head, _), place in _units(data):
            if self._numbers.is_gap(data[place : place + 512]):
                return True
            if 1 <= head & 31 <= 5:
                break
        return False

    def _add_loss(self) -> None:
        self.lost += 1
        self._cost += 1

    def _skip(self) -> None:
        """Leave out a packet that a missing key frame came before."""
        if self._damage:
            self._add_loss()
        else:
            self.skipped += 1

    def _start(self, start: Start) -> None:
        """Begin at a key frame, and say what was left out before it."""
        if not self._began and start == Start.OPEN:
            self._leading = range(self._packets + 1, self._packets + _HELD_BACK)
        if not self._began and self.skipped:
            said = (
                'it starts in the middle of a group of pictures; packets before the first key '
                f'frame, which are skipped: {self.skipped}.'
            )
            self.told.append((said, 0))
        if self._cost:
            self._tell_cost('up to the next key frame')
        self._waits, self._began = False, True

    def _tell_cost(self, until: str) -> None:
        what = self._damage or 'some packets gave no whole picture.'
        self.told.append((f'{what} Frames lost {until}: {self._cost}.', self._cost))
        self._damage, self._cost = '', 0


def _codec_of(message: Any) -> str:
    """Return the decoder's name. Raises PdlError for a codec that is not decoded."""
    said = str(getattr(message, 'format', None) or getattr(message, 'encoding', ''))
    first = said.partition(';')[0].lower()
    for codec, names in _CODECS.items():
        if names.search(first):
            return codec
    raise PdlError(
        f'The video is {printable(said[:40])!r}; {" and ".join(_WORDS.values())} can be decoded.'
    )


def _said_size(message: Any) -> tuple[int, int]:
    """Return the width and height that a message says, 1 and 1 where it says none."""
    return int(getattr(message, 'width', 0)) or 1, int(getattr(message, 'height', 0)) or 1


def _units(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the two bytes that a NAL unit begins with, and its place."""
    for match in _UNIT.finditer(data):
        yield match[1], match.start(1)


def _look_at(data: bytes, codec: str) -> tuple[bool, Start]:
    """Tell whether a packet has (part of) a picture, and whether decoding can begin with it."""
    start = Start.NONE
    for (head, follows), _ in _units(data):
        if codec == 'h264':
            kind = head & 31
            if kind == 6 and follows == _RECOVERY_POINT:
                start = Start.OPEN
            if 1 <= kind <= 5:
                return True, Start.CLOSED if kind == 5 else start
        else:
            kind = head >> 1 & 63
            if kind < 32:
                closed, can = kind in (19, 20), 16 <= kind <= 23
                return True, Start.CLOSED if closed else Start.OPEN if can else Start.NONE
    return False, Start.NONE


def _failures() -> type[Exception]:
    """Return what PyAV raises: for a size that is too large it is a MemoryError of its own."""
    from av.error import FFmpegError

    return FFmpegError
