"""Which topics of a recording are cameras, and what they are called in the result."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pdl_ros.bags.decoders import has_pictures
from pdl_ros.errors import PdlError, printable

if TYPE_CHECKING:
    from pdl_ros.bags.bag import Bag
    from pdl_ros.bags.storage import Topic

_NAME = re.compile(r'[A-Za-z]\w*(/[A-Za-z]\w*)*', re.ASCII)


@dataclass(frozen=True)
class BagCamera:
    """A topic of images and all that belongs to it.

    name: '' for an only camera, whose results have the names of a node's with one camera; else the
    folder of its results, as with the node's parameter `cameras`. parts: as the topic was recorded,
    in one or several encodings. infos, depths: its camera_info and its depth images.
    """

    name: str
    topic: str
    parts: tuple[Topic, ...]
    infos: tuple[Topic, ...] = ()
    depths: tuple[Topic, ...] = ()


def find_cameras(bag: Bag, wanted: Sequence[str] = ()) -> list[BagCamera]:
    """Return the cameras of a recording in the order of their names.

    wanted: topics, or ``name=/topic`` to give a camera its name; none: all topics with images that
    are no depth, label or overlay images. Raises PdlError where there are none.
    """
    images: dict[str, list[Topic]] = {}
    for topic in bag.topics:
        if has_pictures(topic) and topic.count:
            images.setdefault(topic.name, []).append(topic)
    given = dict(_named(text) for text in wanted)
    chosen = {_find(bag, images, topic): name for topic, name in given.items()}
    if not wanted:
        chosen = {topic: '' for topic in images if not is_result(topic)}
    if not chosen:
        raise PdlError(_no_images(bag))
    for name in chosen:
        types = sorted({part.type for part in images[name]})
        if len(types) > 1:
            raise PdlError(f'{bag.path} has two types on {name} ({" and ".join(types)}).')
    names = _names(chosen)
    return [
        BagCamera(names[topic], topic, tuple(images[topic]), *companions_of(bag, topic))
        for topic in sorted(chosen, key=lambda topic: names[topic])
    ]


def _named(text: str) -> tuple[str, str]:
    name, equals, topic = text.partition('=')
    if not equals:
        return text, ''
    if not _NAME.fullmatch(name):
        raise PdlError(
            f'The camera name {printable(name)[:60]!r} cannot be part of a topic; use letters, '
            'digits and _, and begin with a letter.'
        )
    return topic, name


def _find(bag: Bag, images: Iterable[str], name: str) -> str:
    for topic in images:  # tools other than ROS record names without a slash before them
        if topic.strip('/') == name.strip('/'):
            return topic
    known = printable(', '.join(images)[:300]) or 'none'
    others = ' and '.join(topic.contents for topic in bag.topics if topic.name == name)
    which = f'{name}, which has {others}' if others else name
    raise PdlError(f'{bag.path} has no images on {which}; its image topics: {known}.')


def is_result(topic: str) -> bool:
    """Tell whether images are not a camera's, by the names that everybody gives them."""
    words = set(topic.strip('/').lower().replace('_', '/').split('/'))
    return bool(words & {'depth', 'semantic', 'instance', 'panoptic', 'overlay', 'disparity'})


def _names(chosen: dict[str, str]) -> dict[str, str]:
    """Return the name of each camera by its topic: what was given, or the folder of the topic.

    Folders that all have in common tell nothing and are left out: /car/front/image_raw and
    /car/left/image_raw are `front` and `left`.
    """
    if len(chosen) == 1:
        return dict(chosen)
    words = {topic: _words(topic) for topic in chosen}
    common = _in_common(words.values())
    ends = _in_common(w[: common - 1 if common else None : -1] for w in words.values())
    short = {topic: w[common : len(w) - ends] for topic, w in words.items()}
    if any(not part for part in short.values()):
        short = {topic: w[common:] or w for topic, w in words.items()}
    names = {topic: name or '/'.join(short[topic]) for topic, name in chosen.items()}
    twice = {name for name in names.values() if list(names.values()).count(name) > 1}
    if twice:
        raise PdlError(f'Two cameras are called {", ".join(sorted(twice))}; give name=/topic.')
    return names


def _in_common(rows: Iterable[Sequence[str]]) -> int:
    """Return how many words rows have in common at their beginning."""
    together = zip(*rows, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda words: len(set(words)) == 1, together))


def _words(topic: str) -> tuple[str, ...]:
    parts = topic.strip('/').removesuffix('/compressed').split('/')
    # What ROS does not take in a name: a letter comes first, and only letters, digits and _ follow.
    words = [re.sub(r'\W', '_', part, flags=re.ASCII) for part in parts]
    return tuple(word if re.match('[A-Za-z]', word) else f'c{word}' for word in words)


def companions_of(bag: Bag, topic: str) -> tuple[tuple[Topic, ...], tuple[Topic, ...]]:
    """Return the camera_info and the depth images of a camera.

    Depth is that of the topic `depth` beside the images, as the node has it, or of the folder
    `aligned_depth_to_color` or `depth_registered` beside theirs, as common drivers name it.
    """
    folder = topic.removesuffix('/compressed').rpartition('/')[0]
    parent, _, _ = folder.rpartition('/')
    depths = [f'{folder}/depth', f'{parent}/aligned_depth_to_color/image_raw']
    depths += [f'{parent}/depth_registered/{end}' for end in ('image_raw', 'image', 'image_rect')]
    info = f'{folder}/camera_info'
    infos = tuple(
        t for t in bag.topics if t.name == info and t.type == 'sensor_msgs/msg/CameraInfo'
    )
    for name in depths:
        found = [t for t in bag.topics if t.name == name and t.type == 'sensor_msgs/msg/Image']
        if found:
            return infos, tuple(found)
    return infos, ()


def _no_images(bag: Bag) -> str:
    topics = ', '.join(f'{topic.name} ({topic.contents})' for topic in bag.topics if topic.count)
    if not bag.is_whole and not topics:
        return f'{bag.path} is damaged: nothing in it can be read.'
    known = printable(topics[:300]) or 'none, it is empty'
    return f'{bag.path} has no topic with images of a camera; its topics: {known}.'
