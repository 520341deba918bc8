"""Messages that belong to an image by their stamps: its camera_info, its depth image."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import numpy as np

from pdl_ros.bags.bag import Bag, Message, OpenSelection
from pdl_ros.bags.bag_messages import like_ros2
from pdl_ros.bags.messages import deserialize
from pdl_ros.bags.storage import Topic
from pdl_ros.messages.stamps import stamp_of

ALLOWED = 50_000_000
"""Nanoseconds that an image and its depth may be apart where their stamps are never equal."""
_AROUND = 8  # messages before and after the image, by log time, that are looked at
_COMPARED = 32  # stamps, to see whether both cameras have the same


class Companions:
    """The messages of a topic, found by the stamp of an image: the nearest one in stamp among
    those that were recorded about the same time.

    What is found depends on the recording alone, not on what was looked for before. Raises PdlError
    where a message is damaged.
    """

    def __init__(self, bag: Bag, topics: Iterable[Topic]) -> None:
        selection = bag.select(list(topics))
        self._times = selection.times
        self._opened: OpenSelection = selection.open()
        self._kept: OrderedDict[int, tuple[int, Message]] = OrderedDict()

    def close(self) -> None:
        """Close the files of the recording."""
        self._opened.__exit__()

    def nearest(self, stamp: int, log_time: int) -> tuple[int, Any] | None:
        """Return the stamp and the message, of ROS 2's types, nearest to a stamp; None without."""
        middle = int(np.searchsorted(self._times, log_time))
        places = range(max(middle - _AROUND, 0), min(middle + _AROUND, len(self._times)))
        found = [self._read(place) for place in places]
        if not found:
            return None
        # Of several with the same stamp the last: as from a driver that calibrates anew.
        at, message = min(reversed(found), key=lambda pair: abs(pair[0] - stamp))
        read = deserialize(message)
        return at, like_ros2(read) if message.topic.encoding == 'ros1' else read

    def first_stamps(self) -> set[int]:
        """Return the stamps of the first messages."""
        return {self._read(place)[0] for place in range(min(_COMPARED, len(self._times)))}

    def _read(self, place: int) -> tuple[int, Message]:
        if place not in self._kept:
            message = self._opened.read(place)
            self._kept[place] = stamp_of(message.data, message.topic.encoding), message
            while len(self._kept) > 4 * _AROUND:
                self._kept.popitem(last=False)
        return self._kept[place]


class DepthCompanions(Companions):
    """The depth images of a camera.

    Where depth images have exactly the stamps of images, the two cameras are synchronised, and only
    the same stamp will do: the one before would show another moment. Elsewhere the nearest counts,
    within `ALLOWED`. As in the node.
    """

    def __init__(self, bag: Bag, topics: Iterable[Topic], images: Iterable[Topic]) -> None:
        super().__init__(bag, topics)
        cameras = Companions(bag, images)
        self._exact = bool(self.first_stamps() & cameras.first_stamps())
        cameras.close()

    def nearest(self, stamp: int, log_time: int) -> tuple[int, Any] | None:
        found = super().nearest(stamp, log_time)
        allowed = 0 if self._exact else ALLOWED
        return found if found and abs(found[0] - stamp) <= allowed else None
