"""Recordings of drawn streets, for tests of what is made of recordings."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pdl_ros.bags.bag import Bag
from pdl_ros.bags.bag_messages import BagMessages
from pdl_ros.bags.messages import deserialize
from pdl_ros.bags.types import serialize
from pdl_ros.bags.writer import BagWriter
from pdl_ros.demo.scene import Scene

IMAGE = 'sensor_msgs/msg/Image'
MAKE = BagMessages()
START, PERIOD = 10**18, 10**8
"""Log time of the first image and between images, nanoseconds; stamps are 5 ms before."""
DELAY = 5_000_000
SIZE = (96, 128)


@functools.cache
def street(number: int, seed: int = 1, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A picture of a drawn street."""
    return Scene(seed, *size).frame(number).image


def image(rgb: np.ndarray, stamp: int, frame_id: str = 'camera') -> Any:
    """A picture as a raw message."""
    height, width, _ = rgb.shape
    header = MAKE.header(stamp, frame_id)
    fields = {'height': height, 'width': width, 'encoding': 'rgb8', 'step': 3 * width}
    return MAKE.new(IMAGE, header=header, data=rgb.reshape(-1), **fields)


def record_streets(
    folder: Path, topics: Sequence[str] = ('/image',), frames: Iterable[int] = range(8)
) -> Path:
    """Write a bag with a street of its own for each topic, at 10 Hz, one after the other."""
    with BagWriter(folder) as writer:
        numbers = {topic: writer.add_topic(topic, IMAGE) for topic in topics}
        for number in frames:
            for seed, (topic, key) in enumerate(numbers.items(), 1):
                time = START + number * PERIOD + seed * 1000
                frame_id = topic.strip('/').replace('/', '_')
                message = image(street(number, seed), time - DELAY, frame_id)
                writer.write(key, time, serialize(message))
    return folder


def read_all(bag: Path) -> Mapping[str, list[tuple[int, Any]]]:
    """Return log times and messages of a bag by topic."""
    opened = Bag(bag)
    found: dict[str, list[tuple[int, Any]]] = {topic.name: [] for topic in opened.topics}
    for message in opened.messages(opened.topics):
        found[message.topic.name].append((message.log_time, deserialize(message)))
    return found


def pixels(message: Any) -> np.ndarray:
    """Return the pixels of a label image."""
    dtype = {'mono8': np.uint8, '16UC1': np.uint16}[message.encoding]
    return message.data.view(dtype).reshape(message.height, message.width)
