"""What the demo leaves behind: a contact sheet and a video."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from pdl_ros import visualization
from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import PANOPTIC_VOID

if TYPE_CHECKING:  # it imports rclpy, which a pip-only installation lacks
    from pdl_ros.demo.recorder import RecordedFrame

TITLES = ('camera', 'overlay', 'instances')
_PANEL_WIDTH = 640
_SHEET_ROWS = 6


class ContactSheet:
    """Collect recorded frames in bounded memory; use as a context manager.

    rate: frames a second of the video, which plays at the camera's rate however long the frames
    took.
    """

    def __init__(self, folder: Path, rate: float) -> None:
        self.folder, self.rate = folder, rate
        self.count = 0
        self._rows: list[tuple[np.ndarray, ...]] = []
        self._every = 1
        self._video: cv2.VideoWriter | None = None
        self._video_size = (0, 0)
        self._label_set: LabelSet | None = None

    def __enter__(self) -> ContactSheet:
        return self

    def __exit__(self, *_: object) -> None:
        if self._video is not None:
            self._video.release()

    def add(self, frame: RecordedFrame, label_set: LabelSet) -> None:
        """Add one frame to the video, and now and then to the sheet."""
        things = visualization.instances(frame.panoptic, label_set)
        panels = tuple(_shrink(image) for image in (frame.rgb, frame.overlay, things))
        if self.count % self._every == 0:
            counted = visualization.with_caption(panels[2], count_things(frame.panoptic, label_set))
            self._rows.append((*panels[:2], counted))
            if len(self._rows) == 4 * _SHEET_ROWS:
                # Thin out: the sheet stays evenly spread over any length, in bounded memory.
                self._rows, self._every = self._rows[::2], 2 * self._every
        self._add_to_video(np.hstack(panels))
        self.count += 1
        self._label_set = label_set

    def finish(self, caption: str) -> None:
        """Write the contact sheet, with a line of text under it; at least one frame was added."""
        assert self._label_set is not None
        picks = (
            np.linspace(0, len(self._rows) - 1, min(_SHEET_ROWS, len(self._rows)))
            .round()
            .astype(int)
        )
        rows = [self._rows[i] for i in picks]
        sheet = visualization.contact_sheet(rows, TITLES, caption=caption)
        sheet = visualization.with_legend(sheet, self._label_set)
        path = self.folder / 'contact_sheet.png'
        if not cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
            raise PdlError(f'{path} cannot be written; is the disk full or the folder read-only?')

    def _add_to_video(self, strip: np.ndarray) -> None:
        if self._video is None:
            self._video_size = (strip.shape[1], strip.shape[0])
            self._video = self._open_video()
        if (strip.shape[1], strip.shape[0]) != self._video_size:
            strip = cv2.resize(strip, self._video_size)  # pictures may change; a video cannot
        self._video.write(cv2.cvtColor(strip, cv2.COLOR_RGB2BGR))

    def _open_video(self) -> cv2.VideoWriter:
        path = self.folder / 'video.mp4'
        # What players and the codec take of rates.
        rate = min(max(round(self.rate, 1), 1.0), 120.0)
        video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), rate, self._video_size)
        if not video.isOpened():
            raise PdlError(f'{path} cannot be written; is the disk full or the folder read-only?')
        return video


def count_things(panoptic: np.ndarray, label_set: LabelSet) -> str:
    """Say how many things of each class are in a (H, W) panoptic map: `3 car, 1 person`."""
    found = np.unique(panoptic[panoptic != PANOPTIC_VOID]) // label_set.label_divisor
    counts = np.bincount(found, minlength=label_set.num_classes)
    told = (f'{counts[i]} {label_set.classes[i].name}' for i in label_set.thing_ids if counts[i])
    return ', '.join(told) or 'no things'


def _shrink(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    if width <= _PANEL_WIDTH:
        return image
    return cv2.resize(
        image, (_PANEL_WIDTH, round(height * _PANEL_WIDTH / width)), interpolation=cv2.INTER_AREA
    )
