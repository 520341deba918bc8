"""Flicker: pixels whose predicted class changes from one frame to the next while the picture does
not.

A pixel of the picture does not change where the brightness of two successive frames, each blurred
by a Gaussian of 5x5 pixels against the noise of the camera, differs by at most 4 of 255. Frames are
successive when at most a second lies between them. Flicker is the share of such pixels that have
another class (or void instead of one) than in the frame before. A camera that moves leaves few of
them, mostly sky and road; how many is reported beside it. Nothing of this needs a truth.
"""

from __future__ import annotations

import cv2
import numpy as np

STILL = 4
"""Most by which the brightness of a pixel that does not change differs, of 255."""
LONGEST = 10**9
"""Nanoseconds between two frames that are compared, at most."""
_BLUR = (5, 5)


def brightness(rgb: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return the blurred (H, W) uint8 brightness of a picture, at the (H, W) size of its labels."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    if grey.shape != size:
        grey = cv2.resize(grey, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(grey, _BLUR, 0)


class FlickerCounter:
    """Compare each frame with the one before."""

    def __init__(self) -> None:
        self._before: tuple[int, np.ndarray, np.ndarray] | None = None

    def update(self, stamp: int, classes: np.ndarray, grey: np.ndarray) -> tuple[int, int, int]:
        """Add a frame; return pixels that did not change since the last, those of them whose class
        did, and all that were compared.

        classes: (H, W) predicted train ids; grey: (H, W) of `brightness`.
        """
        before, self._before = self._before, (stamp, classes, grey)
        if before is None or before[1].shape != classes.shape:
            return 0, 0, 0
        if not 0 < stamp - before[0] <= LONGEST:
            return 0, 0, 0
        still = cv2.absdiff(grey, before[2]) <= STILL
        changed = still & (classes != before[1])
        return int(np.count_nonzero(still)), int(np.count_nonzero(changed)), classes.size
