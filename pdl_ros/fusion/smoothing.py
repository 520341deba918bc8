"""Against flicker: the class logits of a camera, averaged over time where its picture is still."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from pdl_ros.network.heads import HeadOutputs

STILL = 3
"""Most by which the brightness of a sample of the heads that does not change differs, of 255."""
SHARE = 0.5
"""What a new frame counts where the picture is still; what came before counts the rest."""


class Smoother:
    """Average the semantic logits of one camera's frames, sample by sample.

    Where the brightness of a sample's part of the picture is that of the frame before, within
    `STILL`, its logits are `SHARE` of what the network says now and the rest of the average so far;
    where it is not, they are those of now. So what moves is never late, and what only the network
    is undecided about stays. Both values were chosen on CamVid's validation drive, see
    docs/benchmarks.md. Centres and offsets stay as they are.
    """

    def __init__(self) -> None:
        self._before: tuple[np.ndarray, Tensor] | None = None

    def __call__(self, heads: HeadOutputs, rgb: np.ndarray, valid: tuple[int, int]) -> HeadOutputs:
        """Return the heads of the next frame (N = 1) with averaged logits, float32.

        rgb: (H, W, 3) uint8, the frame. valid: the (height, width) of the network's input that
        shows it; the rest is padding, which is not averaged.
        """
        logits = heads.semantic.float()
        grey = _brightness(rgb, tuple(-(-edge // heads.stride) for edge in valid))
        before, total = self._before, logits
        if before is not None and before[1].shape == logits.shape and before[0].shape == grey.shape:
            still = np.zeros(logits.shape[-2:], np.bool_)
            part = still[: grey.shape[0], : grey.shape[1]]
            part[:] = (cv2.absdiff(grey, before[0]) <= STILL)[: part.shape[0], : part.shape[1]]
            where = torch.from_numpy(still).to(logits.device)
            # A sample that was no number once must not be none forever.
            where = where & before[1].isfinite().all(1)
            total = torch.where(where[:, None], torch.lerp(before[1], logits, SHARE), logits)
        # A network on a GPU writes the next frame's heads where it wrote these.
        self._before = grey, total.clone() if total is heads.semantic else total
        return heads._replace(semantic=total)


def _brightness(rgb: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return the (h, w) uint8 mean brightness of what each sample of the heads sees."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (size[1], size[0]), interpolation=cv2.INTER_AREA)
