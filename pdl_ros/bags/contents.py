"""What a recording holds, and what can be made of it: for `pdl_ros bag info`.

Of each topic of pictures the first one is decoded, and nothing else: whether it can be processed is
tried, not guessed. All else is what the recording's index says.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pdl_ros.bags.cameras import companions_of, is_result
from pdl_ros.bags.decoders import DECODERS
from pdl_ros.bags.messages import deserialize, is_readable
from pdl_ros.bags.reader import open_bag
from pdl_ros.bags.storage import INDEX, ZSTD_MAGIC
from pdl_ros.errors import PdlError, printable
from pdl_ros.imaging.label_images import compressed_to_labels

if TYPE_CHECKING:
    from pdl_ros.bags.bag import Bag, Message
    from pdl_ros.bags.storage import Topic

IMAGE, _INFO = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CameraInfo'
_COMPRESSED = 'sensor_msgs/msg/CompressedImage'
_DEPTH = ('32FC1', '16UC1')
_TRIED = 300  # packets of a video until its first picture


@dataclass(frozen=True)
class TopicContents:
    """A topic. rate: messages a second, 0 for fewer than two. width, height, format: of the first
    picture, 0 and '' where it is none. use: what it is for `bag run`: `image`, `depth`,
    `camera_info`, `labels`,
    `result`, or ''; why_not: a sentence where a topic of pictures has none.
    points: of an image, the depth topic with which labelled points can be made;
    no_points_without: what is missing for them.
    """

    name: str
    type: str
    encoding: str
    count: int
    rate: float
    width: int = 0
    height: int = 0
    format: str = ''
    use: str = ''
    why_not: str = ''
    camera_info: str = ''
    points: str = ''
    no_points_without: str = ''


@dataclass(frozen=True)
class BagContents:
    """A recording. start: nanoseconds; duration: seconds; size: bytes. storage: formats and their
    compression. damage: a sentence for each file of which something is missing.
    """

    path: str
    files: list[str]
    storage: list[str]
    size: int
    start: int
    duration: float
    messages: int
    topics: list[TopicContents]
    damage: list[str]

    @property
    def images(self) -> list[TopicContents]:
        """The topics that can be processed."""
        return [topic for topic in self.topics if topic.use == 'image']

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)


def contents_of(path: Path) -> BagContents:
    """Look into a recording. Raises PdlError where nothing can be read."""
    bag = open_bag(path)
    selection = bag.select(bag.topics)  # one look at the index, however many topics there are
    found, owners = selection.topics()
    everything = selection.times
    times = {topic: everything[owners == number] for number, topic in enumerate(found)}
    topics = [_look(bag, topic, times.get(topic, everything[:0])) for topic in bag.topics]
    return BagContents(
        str(path),
        [file.name for file, _ in bag.files],
        sorted({_storage(file, storage) for file, storage in bag.files}),
        sum(file.stat().st_size for file, _ in bag.files),
        int(everything[0]) if len(everything) else 0,
        int(everything[-1] - everything[0]) / 1e9 if len(everything) else 0.0,
        len(everything),
        _with_points(bag, topics),
        bag.damage,
    )


def _look(bag: Bag, topic: Topic, times: np.ndarray) -> TopicContents:
    about: dict[str, Any] = {
        'name': printable(topic.name),
        'type': printable(topic.type),
        'encoding': printable(topic.encoding),
        'count': len(times),
        'rate': _mean_rate(times),
    }
    if topic.type == _INFO:
        return TopicContents(**about, use='camera_info')
    if topic.type not in DECODERS:
        is_ours = topic.type.startswith('pdl_ros/')
        return TopicContents(**about, use='result' if is_ours else '')
    found = {**about, **_first_picture(bag, topic)}
    is_depth = found.get('use') == 'depth' and 'depth' in topic.name.lower()
    if found.get('use') and is_result(topic.name) and not is_depth:
        found['use'] = 'result' if 'overlay' in topic.name.lower() else 'labels'
    return TopicContents(**found)


def _first_picture(bag: Bag, topic: Topic) -> dict[str, Any]:
    """Return what the first picture of a topic says of all: fields of TopicContents."""
    if not is_readable(topic):
        return {'why_not': f'It has {topic.contents}, which cannot be read.'}
    if not topic.count:
        return {'why_not': 'It has no messages.'}
    try:
        messages = islice(bag.messages([topic]), _TRIED)
        first = next(messages)
        read = deserialize(first)
        said = str(getattr(read, 'format', None) or getattr(read, 'encoding', ''))
        about = {'format': printable(said[:60])}
        shape = _shape_of_labels(topic, read)
        if shape is not None:
            return {**about, 'height': shape[0], 'width': shape[1], 'use': 'labels'}
        if topic.type == IMAGE and said in _DEPTH:
            size = {'width': int(read.width), 'height': int(read.height)}
            return {**about, **size, 'use': 'depth'}
        height, width = _decode_one(topic, chain([first], messages)).shape[:2]
    except PdlError as error:
        return {'why_not': str(error)}
    return {**about, 'width': width, 'height': height, 'use': 'image'}


def _shape_of_labels(topic: Topic, message: Any) -> tuple[int, int] | None:
    """Return the (H, W) of labels that were packed as PNG, whose numbers may be no brightness."""
    is_depth = 'depth' in topic.name.lower()
    if topic.type != _COMPRESSED or not is_result(topic.name) or is_depth:
        return None
    try:
        height, width = compressed_to_labels(message).shape
    except PdlError:  # an overlay
        return None
    return height, width


def _decode_one(topic: Topic, messages: Iterable[Message]) -> np.ndarray:
    """Return the first picture."""
    decoder = DECODERS[topic.type]()
    for message in messages:
        for picture in decoder.decode(message):
            return picture.rgb
    for picture in decoder.finish():
        return picture.rgb
    raise PdlError('None of its first packets can be decoded: there is no whole key frame.')


def _mean_rate(times: np.ndarray) -> float:
    """Return messages a second, over the whole of the topic."""
    span = int(times[-1] - times[0]) if len(times) else 0
    return (len(times) - 1) / span * 1e9 if span > 0 else 0.0


def _with_points(bag: Bag, topics: list[TopicContents]) -> list[TopicContents]:
    """Say of each image whether labelled points can be made, and with what."""
    filled = {topic.name: topic for topic in topics if topic.count}
    found = []
    for topic in topics:
        if topic.use == 'image':
            infos, depths = companions_of(bag, topic.name)
            info, depth = (
                next((t.name for t in n if t.name in filled), '') for n in (infos, depths)
            )
            missing = [] if depth else ['depth images']
            missing += [] if info else ['camera_info']
            topic = replace(
                topic,
                camera_info=info,
                points='' if missing else depth,
                no_points_without=' and '.join(missing),
            )
        found.append(topic)
    return found


def _storage(file: Path, storage: Any) -> str:
    """Say how a file is stored: its format, its blocks, its messages, the file itself."""
    words = [str(storage.format)]
    with contextlib.suppress(Exception):  # a damaged file is reported elsewhere
        if _has_packed_messages(storage):
            words.append('zstd messages')
    with file.open('rb') as opened:
        if opened.read(4) == ZSTD_MAGIC:
            words.append('zstd file')
    return ', '.join(words)


def _has_packed_messages(storage: Any) -> bool:
    topics: Mapping[int, Topic] = storage.topics
    number = next(
        (n for n, topic in topics.items() if topic.count and topic.encoding == 'cdr'), None
    )
    if number is None:
        return False
    entry = dict(zip(INDEX.names or (), storage.index([number])[0].tolist(), strict=True))
    with contextlib.closing(storage.open()) as opened:
        return bool(opened.read(entry['block'], entry['offset']).startswith(ZSTD_MAGIC))
