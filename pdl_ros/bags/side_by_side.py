"""A recording and its results as a video: each image beside its overlay and its instances."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import cv2
import numpy as np

from pdl_ros import visualization
from pdl_ros.bags.cameras import find_cameras
from pdl_ros.bags.label_topics import LabelTopics, decode_labels
from pdl_ros.bags.reader import ImageTopic, open_bag
from pdl_ros.errors import PdlError, printable, require, require_package
from pdl_ros.messages.stamps import nanoseconds
from pdl_ros.runtime.files import atomic_write

if TYPE_CHECKING:
    from pdl_ros.bags.bag import Bag
    from pdl_ros.labels import LabelSet

_CLOCK = Fraction(1, 90_000)  # the one of MPEG: any stamp is shown within 0.01 ms
_LONGEST = 3_600  # seconds between two images, which is no camera's pause


@dataclass(frozen=True)
class VideoSettings:
    """images: the recording with the images. results: with their label images, empty: the same one.
    topic, labels: which topics, empty: the only ones. width: pixels of each panel at most.
    alpha: of the overlay.
    """

    images: Path
    results: Path
    topic: str = ''
    labels: str = ''
    width: int = 640
    alpha: float = 0.5

    def __post_init__(self) -> None:
        require(16 <= self.width <= 4096, f'The width is {self.width}; it must be 16 to 4096.')
        require(0 <= self.alpha <= 1, f'The alpha is {self.alpha}; it must be in 0..1.')


@dataclass(frozen=True)
class Shown:
    """frames: in the video; without_labels: images that have no label image of their stamp;
    out_of_order: whose stamps are not after the one before. lost: why images cannot be read, a
    sentence each. whole: nothing is known to be missing of the recordings. seconds: how long the
    video is.
    """

    frames: int
    without_labels: int
    out_of_order: int
    lost: tuple[str, ...]
    whole: bool
    seconds: float


def write_video(
    settings: VideoSettings,
    path: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Shown:
    """Write an MP4 (H.264) of image, overlay and instances beside each other, timed by the stamps.

    Raises PdlError where no image has its labels.
    """
    require_package('av', 'video')
    source = _Labelled(settings)
    counts = {'frames': 0, 'without': 0, 'order': 0}
    last = -1
    with atomic_write(path) as file:
        video: _Mp4 | None = None
        first = 0
        for number, (stamp, rgb, panoptic) in enumerate(source, 1):
            progress(number, source.count)
            if panoptic is None:
                counts['without'] += 1
                continue
            strip = _panels(rgb, panoptic, source.label_set, settings)
            if video is None:
                video, first = _Mp4(file, strip.shape[:2]), stamp
            at = round(Fraction(stamp - first, 10**9) / _CLOCK)
            if not last < at <= last + _LONGEST / _CLOCK:
                counts['order'] += 1
                at = last + round(Fraction(1, 30) / _CLOCK)
            video.add(strip, at)
            counts['frames'], last = counts['frames'] + 1, at
        if video is None:
            raise PdlError(
                f'No image of {source.topic} has a label image of its stamp on {source.labels}.'
            )
        video.close()
    seconds, lost = float(last * _CLOCK), tuple(source.lost)
    return Shown(counts['frames'], counts['without'], counts['order'], lost, source.whole, seconds)


class _Labelled:
    """Images with the label images of their stamps: stamp, (H, W, 3) uint8 RGB, (H, W) or None."""

    def __init__(self, settings: VideoSettings) -> None:
        images = open_bag(settings.images)
        self._images = ImageTopic.of(images, _camera(images, settings.topic))
        same = settings.results == settings.images
        results = images if same else open_bag(settings.results)
        self._found = LabelTopics.open(results, settings.labels)
        self.whole = images.is_whole and results.is_whole
        self.topic, self.labels = self._images.topic, self._found.panoptic.name
        self.count = self._images.count
        if self._found.label_set is None:
            raise PdlError(
                f'{settings.results} does not say what its labels mean: it has no label_info '
                f'beside {self.labels}.'
            )
        self.label_set: LabelSet = self._found.label_set
        self.lost: list[str] = []

    def __iter__(self) -> Iterator[tuple[int, np.ndarray, np.ndarray | None]]:
        labels = self._found.panoptic
        place_of = {int(stamp): place for place, stamp in enumerate(labels.stamps)}
        with labels.selection.open() as opened:
            for picture in self._images.pictures(self.lost.append):
                stamp = nanoseconds(picture.header.stamp)
                place = place_of.get(stamp)
                panoptic = None
                if place is not None:
                    try:
                        panoptic = decode_labels(opened.read(int(labels.places[place])))
                    except PdlError as error:
                        self.lost.append(f'{self.labels}, stamp {stamp}: {error}')
                        continue
                yield stamp, picture.rgb, panoptic


def _camera(bag: Bag, wanted: str) -> str:
    """Return the topic of the camera that is meant."""
    try:
        cameras = find_cameras(bag, (wanted,) if wanted else ())
    except PdlError as error:
        raise PdlError(
            f'{error} The images may be in the recording that was segmented: give that one, and '
            'this as --results.'
        ) from None
    if len(cameras) > 1:
        names = printable(', '.join(camera.topic for camera in cameras)[:300])
        raise PdlError(
            f'{bag.path} has {len(cameras)} cameras ({names}); name one with --topic, and its '
            'label images with --labels.'
        )
    return cameras[0].topic


def _panels(
    rgb: np.ndarray, panoptic: np.ndarray, label_set: LabelSet, settings: VideoSettings
) -> np.ndarray:
    """Return image, overlay and instances beside each other, of an even size."""
    height, width = rgb.shape[:2]
    panoptic = visualization.labels_at_size(panoptic, (height, width))
    pictures = (
        rgb,
        visualization.overlay(rgb, panoptic, label_set, settings.alpha),
        visualization.instances(panoptic, label_set),
    )
    wide = min(width, settings.width) // 2 * 2
    high = max(round(height * wide / width) // 2 * 2, 2)
    return np.hstack(
        [cv2.resize(picture, (wide, high), interpolation=cv2.INTER_AREA) for picture in pictures]
    )


class _Mp4:
    """An MP4 of pictures of one size, each shown from its own time on."""

    def __init__(self, file: BinaryIO, size: tuple[int, int]) -> None:
        import av
        from av.error import FFmpegError

        self._height, self._width = size
        self._container: Any = av.open(file, 'w', format='mp4')
        try:
            self._stream: Any = self._container.add_stream('libx264', rate=30)
        except (FFmpegError, ValueError):
            raise PdlError('This PyAV has no H.264 encoder; install the one of PyPI.') from None
        self._stream.width, self._stream.height = self._width, self._height
        self._stream.pix_fmt = 'yuv420p'
        self._stream.time_base = self._stream.codec_context.time_base = _CLOCK
        self._stream.options = {'crf': '20', 'preset': 'veryfast'}

    def add(self, rgb: np.ndarray, at: int) -> None:
        """Show a picture from a time on, in `_CLOCK`."""
        from av import VideoFrame

        if rgb.shape[:2] != (self._height, self._width):  # cameras may change; a video cannot
            rgb = cv2.resize(rgb, (self._width, self._height), interpolation=cv2.INTER_AREA)
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format='rgb24')
        frame.pts, frame.time_base = at, _CLOCK
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what the encoder holds back, and the index."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
