"""What a recording holds, and what can be made of it: for `pdl_ros bag info`.

Of each topic of pictures the first one is decoded, and nothing else: whether it can be processed is
tried, not guessed. All else is what the recording's index says.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pdl_ros.bags.messages import deserialize, is_readable
from pdl_ros.bags.reader import open_bag
from pdl_ros.bags.storage import INDEX, ZSTD_MAGIC
from pdl_ros.bags.video import VIDEO_TYPES, VideoDecoder
from pdl_ros.errors import PdlError, printable
from pdl_ros.imaging.compressed import compressed_to_rgb
from pdl_ros.imaging.raw import to_rgb

if TYPE_CHECKING:
    from pdl_ros.bags.bag import Bag
    from pdl_ros.bags.storage import Topic

IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
_PICTURES = (IMAGE, COMPRESSED, *VIDEO_TYPES)
_INFO, _LABELS = 'sensor_msgs/msg/CameraInfo', 'pdl_ros/msg/LabelInfo'
_DEPTH = ('32FC1', '16UC1')
_TRIED = 300  # packets of a video until its first picture
_TRANSPORTS = re.compile(r'/(compressed|compressedDepth|ffmpeg|foxglove|h26[45]|video)$')


@dataclass(frozen=True)
class TopicContents:
    """A topic. rate: messages a second, 0 for fewer than two. width, height, format: of the first
    picture, 0 and '' where it is none. use: what it is for `bag run`: `image`, `depth`,
    `camera_info`, `result`, or ''; why_not: a sentence where a topic of pictures has none.
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
    times = {topic: bag.times([topic]) for topic in bag.topics}
    everything = np.sort(np.concatenate([np.empty(0, np.int64), *times.values()]))
    results = [t.name.rpartition('/')[0] for t in bag.topics if t.type == _LABELS]
    topics = [_look(bag, topic, times[topic], results) for topic in bag.topics]
    return BagContents(
        str(path),
        [file.name for file, _ in bag.files],
        sorted({_storage(file, storage) for file, storage in bag.files}),
        sum(file.stat().st_size for file, _ in bag.files),
        int(everything[0]) if len(everything) else 0,
        int(everything[-1] - everything[0]) / 1e9 if len(everything) else 0.0,
        len(everything),
        _with_points(topics),
        bag.damage,
    )


def _look(bag: Bag, topic: Topic, times: np.ndarray, results: list[str]) -> TopicContents:
    about: dict[str, Any] = {
        'name': printable(topic.name),
        'type': printable(topic.type),
        'encoding': printable(topic.encoding),
        'count': len(times),
        'rate': _rate(times),
    }
    if any(topic.name.startswith(f'{folder}/') for folder in results):
        return TopicContents(**about, use='result')
    if topic.type == _INFO:
        return TopicContents(**about, use='camera_info')
    if topic.type not in _PICTURES:
        return TopicContents(**about)
    return TopicContents(**{**about, **_first_picture(bag, topic)})


def _first_picture(bag: Bag, topic: Topic) -> dict[str, Any]:
    """Return what the first picture of a topic says of all: fields of TopicContents."""
    if not is_readable(topic):
        return {'why_not': f'It has {topic.contents}, which cannot be read.'}
    if not topic.count:
        return {'why_not': 'It has no messages.'}
    try:
        with contextlib.closing(_read(bag, topic)) as messages:
            first = next(messages)
            said = str(getattr(first, 'format', None) or getattr(first, 'encoding', ''))
            about = {'format': printable(said[:60])}
            if topic.type == IMAGE and said in _DEPTH:
                size = {'width': int(first.width), 'height': int(first.height)}
                return {**about, **size, 'use': 'depth'}
            if topic.type in VIDEO_TYPES:
                rgb = _first_of_video(first, messages, topic.name)
            else:
                rgb = to_rgb(first) if topic.type == IMAGE else compressed_to_rgb(first)
    except PdlError as error:
        return {'why_not': str(error)}
    return {**about, 'width': rgb.shape[1], 'height': rgb.shape[0], 'use': 'image'}


def _read(bag: Bag, topic: Topic) -> Generator[Any, None, None]:
    yield from map(deserialize, bag.messages([topic]))


def _first_of_video(first: Any, others: Iterator[Any], name: str) -> np.ndarray:
    decoder = VideoDecoder[None](name)
    for message in chain([first], islice(others, _TRIED)):
        for _, rgb in decoder.decode(message, None):
            return rgb
    for _, rgb in decoder.flush():
        return rgb
    raise PdlError('None of its first packets can be decoded: there is no whole key frame.')


def _rate(times: np.ndarray) -> float:
    """Return messages a second, over the whole of the topic."""
    span = int(times[-1] - times[0]) if len(times) else 0
    return (len(times) - 1) / span * 1e9 if span > 0 else 0.0


def _with_points(topics: list[TopicContents]) -> list[TopicContents]:
    """Say of each image which depth image belongs to it: that of the most folders in common."""
    infos = {topic.name for topic in topics if topic.use == 'camera_info' and topic.count}
    depth = [topic.name for topic in topics if topic.use == 'depth']
    found = []
    for topic in topics:
        if topic.use == 'image':
            folder = _TRANSPORTS.sub('', topic.name).rpartition('/')[0]
            info = next((i for i in infos if i == f'{folder}/camera_info'), '')
            near = max(depth, key=lambda name: _common(name, folder), default='')
            missing = [] if near else ['depth images']
            missing += [] if info else [f'{folder}/camera_info']
            points = '' if missing else near
            topic = TopicContents(
                **{
                    **asdict(topic),
                    'camera_info': info,
                    'points': points,
                    'no_points_without': ' and '.join(missing),
                }
            )
        found.append(topic)
    return found


def _common(name: str, folder: str) -> int:
    """Return how many folders the names of two topics begin with in common."""
    parts = zip(name.split('/'), folder.split('/'), strict=False)
    return next((n for n, (a, b) in enumerate(parts) if a != b), len(folder.split('/')))


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
