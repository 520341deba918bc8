"""What a recording says of the frames of one camera: label images, things, and the label set.

The topics are those of the node (`~/panoptic/image`, and beside it `semantic/image`, `instances`
and `label_info`); a truth of a bag's maker has at least the first of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pdl_ros.bags.messages import deserialize, is_readable
from pdl_ros.bags.stamped import StampedTopic, open_stamped
from pdl_ros.errors import PdlError, printable
from pdl_ros.imaging.label_images import compressed_to_labels, to_labels
from pdl_ros.labels.messages import label_set_of

if TYPE_CHECKING:
    from pdl_ros.bags.bag import Bag, Message
    from pdl_ros.bags.storage import Topic
    from pdl_ros.labels import LabelSet

_DECODERS: dict[str, Callable[[Any], np.ndarray]] = {
    'sensor_msgs/msg/Image': to_labels,
    'sensor_msgs/msg/CompressedImage': compressed_to_labels,
}
INSTANCES, LABEL_INFO = 'pdl_ros/msg/PanopticInstanceArray', 'pdl_ros/msg/LabelInfo'
_PANOPTIC, _PACKED = 'panoptic/image', '/compressed'


@dataclass(frozen=True)
class LabelTopics:
    """The topics of one camera's results. semantic, instances, label_set: None where the recording
    has none.
    """

    panoptic: StampedTopic
    semantic: StampedTopic | None
    instances: StampedTopic | None
    label_set: LabelSet | None

    @classmethod
    def open(cls, bag: Bag, topic: str = '') -> LabelTopics:
        """Find the panoptic images of a name, or the only ones, and what belongs to them."""
        by_name = _by_name(bag)
        name = _choose(bag, by_name, topic)
        beside = _beside(name, 'semantic/image')[0]
        semantic = by_name.get(f'{beside}{_PACKED}') or by_name.get(beside) or []
        instances = by_name.get(_beside(name, 'instances')[0]) or []
        parts = [
            by_name[name],
            semantic if semantic and semantic[0].type in _DECODERS else [],
            instances if instances and instances[0].type == INSTANCES else [],
        ]
        found = iter(open_stamped(bag, *(part for part in parts if part)))
        topics = [next(found) if part else None for part in parts]
        assert topics[0] is not None
        labels = _label_set(bag, by_name, _beside(name, 'label_info'))
        return cls(topics[0], topics[1], topics[2], labels)

    @classmethod
    def open_truth(cls, bag: Bag, topic: str = '') -> LabelTopics:
        """Find panoptic images, and only what their numbers mean."""
        by_name = _by_name(bag)
        name = _choose(bag, by_name, topic)
        labels = _label_set(bag, by_name, _beside(name, 'label_info'))
        return cls(open_stamped(bag, by_name[name])[0], None, None, labels)


def decode_labels(message: Message) -> np.ndarray:
    """Return the (H, W) numbers of a label image, raw or PNG."""
    return _DECODERS[message.topic.type](deserialize(message))


def _by_name(bag: Bag) -> dict[str, list[Topic]]:
    topics: dict[str, list[Topic]] = {}
    for topic in bag.topics:
        if topic.count and is_readable(topic):
            topics.setdefault(topic.name, []).append(topic)
    return topics


def _choose(bag: Bag, by_name: dict[str, list[Topic]], name: str) -> str:
    images = [n for n, parts in by_name.items() if parts[0].type in _DECODERS]
    found = [n for n in images if n.removesuffix(_PACKED).endswith(_PANOPTIC)]
    if name:
        matching = [n for n in images if n.strip('/') == name.strip('/')]
        if not matching:
            raise PdlError(
                f'{bag.path} has no images on {name}; its label images: {_listed(found)}.'
            )
        return matching[0]
    if not found:
        raise PdlError(
            f'{bag.path} has no panoptic label images ({_PANOPTIC}); its image topics: '
            f'{_listed(images)}.'
        )
    # What a network found has its things beside it; a truth in the same bag has not.
    with_things = [n for n in found if _beside(n, 'instances')[0] in by_name]
    for kept in (with_things, found):
        # Of an image and its packed twin the packed one is read: it is smaller.
        places = {n.removesuffix(_PACKED): n for n in sorted(kept)}
        if len(places) == 1:
            return places.popitem()[1]
    raise PdlError(f'{bag.path} has several label images ({_listed(found)}); name one of them.')


def _beside(name: str, sibling: str) -> list[str]:
    """Return names beside that of panoptic images: in its folder, and in that above, which all
    cameras of a node share.
    """
    place = name.removesuffix(_PACKED)
    inside = place.endswith(_PANOPTIC)
    folder = place.removesuffix(_PANOPTIC) if inside else f'{place.rpartition("/")[0]}/'
    above = folder.rstrip('/').rpartition('/')[0]
    return [f'{folder}{sibling}', *([f'{above}/{sibling}'] if above else [])]


def _label_set(bag: Bag, by_name: dict[str, list[Topic]], names: Sequence[str]) -> LabelSet | None:
    for name in names:
        parts = by_name.get(name)
        if parts and parts[0].type == LABEL_INFO:
            try:
                with bag.select(parts).open() as opened:
                    return label_set_of(deserialize(opened.read(0)))
            except PdlError as error:
                raise PdlError(f'{bag.path}, {name}: {error}') from None
    return None


def _listed(names: Iterable[str]) -> str:
    return printable(', '.join(names)[:300]) or 'none'
