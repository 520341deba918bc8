"""What passes from the input to the worker, and on to the output."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sensor_msgs.msg import CameraInfo, Image

from pdl_ros.node.input.serialized_image import ImageView


class Received(NamedTuple):
    """An image message as it came over the wire, and when: steady clock, seconds. Its stamp, in
    nanoseconds, is read where depth is to be found for it.
    """

    raw: bytes
    at: float
    stamp: int = 0


class Frame(NamedTuple):
    """A decoded image with all that belongs to it, ready to be segmented.

    rgb: (H, W, 3) uint8, cropped and turned. image_size: (height, width) as the camera sent it.
    age: seconds from its stamp to its decoding, on the node's clock. camera_info: the calibration
    of the image as it was sent, None before the first. depth: its depth image; where there is none,
    `no_depth` says why, or is empty where nobody asked. The other times are on the steady clock,
    seconds.
    """

    rgb: np.ndarray
    header: Any
    topic: str
    image_size: tuple[int, int]
    received_at: float
    started_at: float
    decoded_at: float
    age: float = 0.0
    camera_info: CameraInfo | None = None
    depth: ImageView | Image | None = None
    no_depth: str = ''


def camera_info_topic(image: str) -> str:
    """Return the topic beside an image's full name, raw or compressed, as drivers name it."""
    return f'{image.removesuffix("/compressed").rpartition("/")[0]}/camera_info'
