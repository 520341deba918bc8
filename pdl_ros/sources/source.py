"""Where frames come from: a file, a folder or a rosbag."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pdl_ros.bags.files import is_bag
from pdl_ros.errors import PdlError
from pdl_ros.imaging.files import IMAGE_SUFFIXES, list_images, read_rgb

if TYPE_CHECKING:
    import numpy as np

STILL_FPS = 10.0
"""Frames per second of images, and of a video that does not say."""


class RecordedFrame(NamedTuple):
    """A frame of a recording. rgb: (H, W, 3) uint8. stamp: of its header, and log_time: when it was
    recorded, in nanoseconds.
    """

    rgb: np.ndarray
    stamp: int
    frame_id: str
    log_time: int


@dataclass(frozen=True)
class Source:
    """Frames in order: iterate for (H, W, 3) uint8 RGB; every iteration starts again.

    `length` is the number of frames, None if they never end or the file does not say. Images of a
    folder may differ in size. `recorded`: the same frames with their stamps, of a rosbag only; what
    it takes is told, in a sentence, of each frame that cannot be had, and the others follow.
    `is_whole`: nothing is known to be missing of the rosbag.
    """

    name: str
    fps: float
    length: int | None
    frames: Callable[[], Iterator[np.ndarray]]
    recorded: Callable[[Callable[[str], None]], Iterator[RecordedFrame]] | None = None
    is_whole: bool = True

    def __iter__(self) -> Iterator[np.ndarray]:
        return self.frames()


def open_source(source: str) -> Source:
    """Open a video file, an image file, a folder of images, or a rosbag.

    A rosbag with several image topics is followed by one of them: ``drive.mcap:/front/image``.
    """
    path = Path(source).expanduser()
    bag, colon, topic = source.rpartition(':/')
    if colon and is_bag(Path(bag).expanduser()):
        return _bag(Path(bag).expanduser(), f'/{topic}')
    if is_bag(path):
        return _bag(path)
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise PdlError(
            f'No file or folder {source!r}; a source is a video, an image, a folder of images or a '
            'rosbag.'
        )
    if path.suffix.lower() in IMAGE_SUFFIXES:
        image = read_rgb(path)
        return Source(path.name, STILL_FPS, 1, lambda: iter([image]))
    return _video(path)


# What reads bags and videos is imported where there is one.
def _bag(path: Path, topic: str = '') -> Source:
    from pdl_ros.bags.reader import ImageTopic
    from pdl_ros.messages.stamps import nanoseconds

    images = ImageTopic.open(path, topic)

    def recorded(lost: Callable[[str], None]) -> Iterator[RecordedFrame]:
        for rgb, header, message in images.pictures(lost):
            stamp, frame_id = nanoseconds(header.stamp), str(header.frame_id)
            yield RecordedFrame(rgb, stamp, frame_id, message.log_time)

    return Source(
        images.topic,
        images.rate,
        images.count,
        lambda: iter(images),
        recorded,
        images.bag.is_whole,
    )


def _folder(path: Path) -> Source:
    files = list_images(path)
    if not files:
        raise PdlError(f'Folder {path} holds no images ({", ".join(IMAGE_SUFFIXES)}).')
    return Source(path.name or str(path), STILL_FPS, len(files), lambda: map(read_rgb, files))


def _video(path: Path) -> Source:
    from pdl_ros.sources.video import Video

    video = Video.open(path)
    return Source(path.name, video.fps or STILL_FPS, video.length, video.frames)
