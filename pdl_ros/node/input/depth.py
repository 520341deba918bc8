"""Depth images, matched by stamp with the frames of their camera."""

from __future__ import annotations

from collections import deque

from sensor_msgs.msg import Image

from pdl_ros.errors import PdlError
from pdl_ros.messages.stamps import stamp_of
from pdl_ros.node.input.serialized_image import ImageView, view_image

ALLOWED = 50_000_000
"""Nanoseconds that a frame and its depth image may be apart where their stamps are never equal."""
_KEPT = 8  # depth images that came before their frame was decoded
_FRAMES = 32  # stamps of frames, to see whether depth images have the same


class DepthImages:
    """The last depth images of one camera, serialized, and what they say about a frame's own.

    Where a depth image has exactly the stamp of a frame, the two cameras are synchronised, and only
    the same stamp will do: the one before would show another moment. Elsewhere the nearest counts,
    within `ALLOWED`. `frames_queued`: how many frames wait for the worker at most.
    """

    def __init__(self, topic: str, frames_queued: int = 1) -> None:
        self.topic = topic
        self._capacity = _KEPT + frames_queued
        self._images: deque[tuple[int, bytes]] = deque(maxlen=self._capacity)
        self._frames: deque[int] = deque(maxlen=_FRAMES + frames_queued)
        self._served = 0

    @property
    def has_room(self) -> bool:
        """Whether another may be added without the loss of one that a frame may still need."""
        images = self._images.copy()
        return len(images) < self._capacity or images[0][0] < self._served - ALLOWED

    def clear(self) -> None:
        """Forget them."""
        self._images.clear()
        self._served = 0
        self._frames.clear()

    def add(self, raw: bytes) -> None:
        """Keep a serialized depth image. Raises PdlError when it has no stamp."""
        self._images.append((stamp_of(raw), raw))

    def add_frame(self, stamp: int) -> None:
        """Note the stamp of a frame that came."""
        self._frames.append(stamp)

    def frame_taken(self, stamp: int) -> None:
        """Note that the frames before this one need no depth any more."""
        self._served = stamp

    def is_to_come(self, stamp: int) -> bool:
        """Tell whether a frame's own depth image is still to come: the newest is earlier, and by
        more than half of the time between two.
        """
        stamps = [at for at, _ in list(self._images)]
        steps = [later - at for at, later in zip(stamps, stamps[1:], strict=False) if later > at]
        # More than half: at half the rate of the camera there is nothing for each second frame.
        return not stamps or stamp - stamps[-1] > 0.6 * min(steps, default=0)

    def match(self, stamp: int) -> ImageView | Image:
        """Return the depth image of a frame. Raises PdlError, in a sentence, when there is none, or
        it cannot be read.
        """
        images = dict(list(self._images))
        if not images:
            raise PdlError(f'depth has not arrived on {self.topic}.')
        nearest = min(images, key=lambda at: abs(at - stamp))
        apart = abs(nearest - stamp)
        if apart > ALLOWED:
            side = 'before' if nearest < stamp else 'after'
            raise PdlError(
                f'depth arrives on {self.topic}, but the nearest is stamped {apart / 1e6:.0f} ms '
                f'{side} the image, more than the {ALLOWED / 1e6:.0f} ms allowed; synchronise the '
                'clocks of both cameras, or raise depth_wait_ms if depth is only late.'
            )
        if apart and not images.keys().isdisjoint(self._frames.copy()):
            raise PdlError(
                f'the depth image of this frame did not come on {self.topic}, or later than '
                'depth_wait_ms allows; other frames had theirs, with exactly their stamps.'
            )
        return view_image(images[nearest])
