"""Frames with labels, predicted or true, by their stamps: out of a bag or a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from pdl_ros.bags.files import is_bag
from pdl_ros.errors import PdlError, require
from pdl_ros.labels import LabelSet

if TYPE_CHECKING:
    from pdl_ros.bags.bag import Message
    from pdl_ros.bags.label_topics import LabelTopics

Numbers = Sequence[int] | np.ndarray


class Labels(NamedTuple):
    """What is said of one frame.

    panoptic: (H, W) integers, ``class * label_divisor + number``, 65535 = void. semantic: (H, W)
    train ids, 255 = void. scores: of things by their value in `panoptic`. tracks: ids of things
    that last over frames, by their value, none where nobody tracked. None: it is not known.
    """

    panoptic: np.ndarray
    semantic: np.ndarray | None = None
    scores: Mapping[int, float] | None = None
    tracks: Mapping[int, int] | None = None


class LabelFrames(Protocol):
    """Frames with labels. where: for people. stamps: (N,) int64 ns. label_set: None where it is not
    known. has_scores, has_semantic: what `Labels` will hold. is_whole: whether nothing is known to
    be missing. notes: what a person should know, a sentence each.
    """

    where: str
    stamps: np.ndarray
    label_set: LabelSet | None
    has_scores: bool
    has_semantic: bool
    notes: list[str]

    @property
    def is_whole(self) -> bool: ...

    def load(self, numbers: Numbers) -> Iterator[Callable[[], Labels]]:
        """Yield, in order, what decodes each frame, in any thread; the reading is done before."""
        ...


def open_predictions(path: Path, topic: str = '') -> LabelFrames:
    """Open a bag with the topics of the node, or a folder that `pdl_ros infer BAG` wrote."""
    return _open(path, topic, is_truth=False)


def open_truth(path: Path, topic: str = '') -> LabelFrames:
    """Open a bag with panoptic label images, or a folder of label PNGs that are named by stamp."""
    return _open(path, topic, is_truth=True)


def _open(path: Path, topic: str, is_truth: bool) -> LabelFrames:
    from pdl_ros.evaluation.recordings.folder import LabelFiles

    if is_bag(path):
        return BagFrames(path, topic, is_truth)
    if path.is_dir():
        require(not topic, f'{path} is a folder of images, which has no topic {topic}.')
        return LabelFiles(path)
    raise PdlError(
        f'{path} is neither a rosbag nor a folder of label images; give one of them.'
        if path.exists()
        else f'There is no {path}; give a rosbag or a folder of label images.'
    )


class BagFrames:
    """The results of one camera in a bag. A frame of which a part is missing is left out: its score
    would be that of the recorder.
    """

    def __init__(self, path: Path, topic: str = '', is_truth: bool = False) -> None:
        from pdl_ros.bags.label_topics import LabelTopics
        from pdl_ros.bags.reader import open_bag

        self._bag = open_bag(path)
        open_topics = LabelTopics.open_truth if is_truth else LabelTopics.open
        self._topics: LabelTopics = open_topics(self._bag, topic)
        panoptic, semantic, instances, self.label_set = (
            self._topics.panoptic,
            self._topics.semantic,
            self._topics.instances,
            self._topics.label_set,
        )
        self.topic = panoptic.name
        self.where = f'{path}:{panoptic.name}'
        self.has_semantic, self.has_scores = semantic is not None, instances is not None
        self.notes: list[str] = []
        kept = np.arange(len(panoptic.stamps))
        self._places = {'panoptic': kept}
        for name, part in (('semantic', semantic), ('instances', instances)):
            if part is None:
                continue
            places = find_stamps(panoptic.stamps, part.stamps)
            self._places[name] = places
            missing = int((places[kept] < 0).sum())
            if missing:
                self.notes.append(
                    f'{missing} of {len(kept)} frames on {panoptic.name} have no message on '
                    f'{part.name} and are left out.'
                )
            kept = kept[places[kept] >= 0]
        self._kept = kept
        self.stamps = panoptic.stamps[kept]

    @property
    def is_whole(self) -> bool:
        return self._bag.is_whole

    def load(self, numbers: Numbers) -> Iterator[Callable[[], Labels]]:
        """Read messages in order; each is decoded when it is called for."""
        topics = self._topics
        parts = (
            (topics.panoptic, self._places['panoptic']),
            (topics.semantic, self._places.get('semantic')),
            (topics.instances, self._places.get('instances')),
        )
        # One reader of all: messages of a frame lie in one chunk, which is unpacked once.
        with topics.panoptic.selection.open() as opened:
            for row in self._kept[np.asarray(numbers, np.int64)].tolist():
                yield _decoder(
                    *(
                        None
                        if topic is None or places is None
                        else opened.read(int(topic.places[places[row]]))
                        for topic, places in parts
                    )
                )


def find_stamps(wanted: np.ndarray, stamps: np.ndarray) -> np.ndarray:
    """Return for each wanted stamp the place of the first that is equal, -1 where none is."""
    if not len(stamps):
        return np.full(len(wanted), -1)
    order = np.argsort(stamps, kind='stable')
    place = np.searchsorted(stamps[order], wanted).clip(max=len(stamps) - 1)
    return np.where(stamps[order][place] == wanted, order[place], -1)


def _decoder(
    panoptic: Message | None, semantic: Message | None, instances: Message | None
) -> Callable[[], Labels]:
    from pdl_ros.bags.label_topics import decode_labels
    from pdl_ros.bags.messages import deserialize
    from pdl_ros.bags.stamped import header_of

    def decode() -> Labels:
        assert panoptic is not None
        try:
            maps = [decode_labels(m) if m is not None else None for m in (panoptic, semantic)]
            scores = tracks = None
            if instances is not None:
                things = deserialize(instances).instances
                scores = {int(t.panoptic_id): float(t.score) for t in things}
                tracks = {int(t.panoptic_id): int(t.track_id) for t in things if t.track_id}
        except PdlError as error:
            stamp = header_of(panoptic)[0]
            raise PdlError(f'{panoptic.topic.name}, the frame of {stamp}: {error}') from None
        assert maps[0] is not None
        return Labels(maps[0], maps[1], scores, tracks)

    return decode
