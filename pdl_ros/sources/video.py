"""Frames of a video file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pdl_ros.errors import PdlError


@dataclass(frozen=True)
class Video:
    """A video file whose first frame can be read.

    fps: frames a second, and length: their number; None where the file does not say.
    """

    path: Path
    fps: float | None
    length: int | None

    @classmethod
    def open(cls, path: Path) -> Video:
        """Look at a file; raise PdlError where it is no video that can be read."""
        capture = _open(path)
        fps, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        readable = capture.read()[0]
        capture.release()
        if not readable:
            raise PdlError(
                f'{path} opens as a video, but its first frame cannot be read; it may be '
                'damaged or of an unsupported codec.'
            )
        return cls(
            path, float(fps) if 0 < fps <= 1000 else None, int(count) if 0 < count < 1e9 else None
        )

    def frames(self) -> Iterator[np.ndarray]:
        """Yield the frames as (H, W, 3) uint8 RGB, then complain if far fewer came than the file
        promised.

        Some containers only estimate their number of frames, so two or 2 % may be missing.
        """
        capture, count = _open(self.path), 0
        try:
            while True:
                there, frame = capture.read()
                if not there:
                    break
                count += 1
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        finally:
            capture.release()
        if self.length is not None and count < self.length - max(2, 0.02 * self.length):
            raise PdlError(
                f'{self.path} is damaged: it ends after {count} of {self.length} frames.'
            )


def _open(path: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise PdlError(
            f'{path} cannot be read as a video; it may be damaged or of an unsupported format.'
        )
    return capture
