"""Where frames come from: a file, a folder or a rosbag."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pdl_ros.bags.reader import ImageTopic, is_bag
from pdl_ros.errors import PdlError
from pdl_ros.imaging.files import IMAGE_SUFFIXES, list_images, read_rgb

STILL_FPS = 10.0
"""Frames per second of images, and of a video that does not say."""


@dataclass(frozen=True)
class Source:
    """Frames in order: iterate for (H, W, 3) uint8 RGB; every iteration starts again.

    `length` is the number of frames, None if they never end or the file does not say. Images of a
    folder may differ in size.
    """

    name: str
    fps: float
    length: int | None
    frames: Callable[[], Iterator[np.ndarray]]

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
    return _video(path, path.name)


def _bag(path: Path, topic: str = '') -> Source:
    images = ImageTopic.open(path, topic)
    return Source(images.topic, images.rate, images.count, lambda: iter(images))


def _folder(path: Path) -> Source:
    files = list_images(path)
    if not files:
        raise PdlError(f'Folder {path} holds no images ({", ".join(IMAGE_SUFFIXES)}).')
    return Source(path.name or str(path), STILL_FPS, len(files), lambda: map(read_rgb, files))


def _video(path: Path, name: str) -> Source:
    capture = _open(path)
    fps, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    readable = capture.read()[0]
    capture.release()
    if not readable:
        raise PdlError(
            f'{path} opens as a video, but its first frame cannot be read; it may be '
            'damaged or of an unsupported codec.'
        )
    length = int(count) if 0 < count < 1e9 else None
    fps = float(fps) if 0 < fps <= 1000 else STILL_FPS
    return Source(name, fps, length, lambda: _video_frames(path, length))


def _open(path: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise PdlError(
            f'{path} cannot be read as a video; it may be damaged or of an unsupported format.'
        )
    return capture


def _video_frames(path: Path, length: int | None) -> Iterator[np.ndarray]:
    """Yield the frames, then complain if far fewer came than the file promised.

    Some containers only estimate their number of frames, so two or 2 % may be missing.
    """
    capture, count = _open(path), 0
    try:
        while True:
            there, frame = capture.read()
            if not there:
                break
            count += 1
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()
    if length is not None and count < length - max(2, 0.02 * length):
        raise PdlError(f'{path} is damaged: it ends after {count} of {length} frames.')
