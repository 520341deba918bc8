"""What the demo leaves behind: a contact sheet, a video and a summary."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from pdl_ros import visualization
from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelSet

if TYPE_CHECKING:  # it imports rclpy, which a pip-only installation lacks
    from pdl_ros.demo.recorder import RecordedFrame

TITLES = ('camera', 'overlay', 'instances')
_VIDEO_RATE = 10.0  # frames a second; results are repeated so that the video runs in real time
_PANEL_WIDTH = 640
_SHEET_ROWS = 6


class ContactSheet:
    """Collect recorded frames in bounded memory; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        self._rows: list[tuple[np.ndarray, ...]] = []
        self._every = 1
        self._video: cv2.VideoWriter | None = None
        self._video_frames = 0
        self._first_stamp = 0.0
        self._last_strip: np.ndarray | None = None
        self._ages: list[float] = []
        self._instances: list[int] = []
        self._timing: Any = None
        self._label_set: LabelSet | None = None

    def __enter__(self) -> ContactSheet:
        return self

    def __exit__(self, *_: object) -> None:
        if self._video is not None:
            self._video.release()

    def add(self, frame: RecordedFrame, label_set: LabelSet) -> None:
        """Add one frame to the video and the statistics, and now and then to the sheet."""
        things = visualization.instances(frame.panoptic, label_set)
        panels = tuple(_shrink(image) for image in (frame.rgb, frame.overlay, things))
        if self.count % self._every == 0:
            self._rows.append(panels)
            if len(self._rows) == 4 * _SHEET_ROWS:
                # Thin out: the sheet stays evenly spread over any length, in bounded memory.
                self._rows, self._every = self._rows[::2], 2 * self._every
        self._add_to_video(np.hstack(panels), frame.timing.header.stamp)
        self.count += 1
        self._ages.append(frame.timing.age_ms)
        self._instances.append(len(frame.instances.instances))
        self._timing = frame.timing
        self._label_set = label_set

    def finish(self) -> None:
        """Write the contact sheet; at least one frame was added."""
        assert self._label_set is not None
        picks = (
            np.linspace(0, len(self._rows) - 1, min(_SHEET_ROWS, len(self._rows)))
            .round()
            .astype(int)
        )
        sheet = visualization.contact_sheet([self._rows[i] for i in picks], TITLES)
        legend = visualization.legend(self._label_set, columns=6)
        sheet = np.vstack([sheet, _pad_to_width(legend, sheet.shape[1])])
        path = self.folder / 'contact_sheet.png'
        if not cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
            raise PdlError(f'{path} cannot be written; is the disk full or the folder read-only?')

    def summary(self, frames_in: int) -> dict[str, float | int]:
        """Return what happened, latencies in milliseconds from the camera's stamp to the last
        result.
        """
        p50, p95 = np.percentile(self._ages, (50, 95))
        return {
            'frames_in': frames_in,
            'frames_segmented': self.count,
            'frames_dropped': self._timing.frames_dropped,
            'latency_p50_ms': float(p50),
            'latency_p95_ms': float(p95),
            'instances_per_frame': float(np.mean(self._instances)),
        }

    def _add_to_video(self, strip: np.ndarray, stamp: Any) -> None:
        seconds = stamp.sec + 1e-9 * stamp.nanosec
        if self._video is None or self._last_strip is None:
            self._video = self._open_video(strip)
            self._first_stamp, self._last_strip = seconds, strip
        due = round((seconds - self._first_stamp) * _VIDEO_RATE)
        while self._video_frames < due:  # the last result stays on the screen until now
            self._video.write(cv2.cvtColor(self._last_strip, cv2.COLOR_RGB2BGR))
            self._video_frames += 1
        if strip.shape != self._last_strip.shape:  # pictures may change their size; a video cannot
            strip = cv2.resize(strip, self._last_strip.shape[1::-1])
        self._last_strip = strip

    def _open_video(self, strip: np.ndarray) -> cv2.VideoWriter:
        path = self.folder / 'video.mp4'
        code = cv2.VideoWriter.fourcc(*'mp4v')
        video = cv2.VideoWriter(str(path), code, _VIDEO_RATE, strip.shape[1::-1])
        if not video.isOpened():
            raise PdlError(f'{path} cannot be written; is the disk full or the folder read-only?')
        return video


def _shrink(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    if width <= _PANEL_WIDTH:
        return image
    return cv2.resize(
        image, (_PANEL_WIDTH, round(height * _PANEL_WIDTH / width)), interpolation=cv2.INTER_AREA
    )


def _pad_to_width(image: np.ndarray, width: int) -> np.ndarray:
    if image.shape[1] > width:
        return cv2.resize(image, (width, round(image.shape[0] * width / image.shape[1])))
    white = (255, 255, 255)
    return cv2.copyMakeBorder(
        image, 0, 0, 0, width - image.shape[1], cv2.BORDER_CONSTANT, value=white
    )
