"""A semantic teacher: how probable each class of a label set is at each pixel of a picture."""

from __future__ import annotations

import cv2
import numpy as np

from pdl_ros.errors import PdlError, require
from pdl_ros.labels import LabelSet
from pdl_ros.teachers.description import SEMANTIC
from pdl_ros.teachers.network import Teacher


class SemanticTeacher:
    """A teacher whose classes are those of a label set, summed where it merges them."""

    def __init__(self, teacher: Teacher, label_set: LabelSet) -> None:
        d = teacher.description
        require(d.kind == SEMANTIC, f'{d.name} is no semantic teacher, but one of {d.kind}.')
        shape, count = teacher.output_shape, len(d.classes)
        require(
            len(shape) == 4 and shape[1] == count,
            f'The teacher {d.name} gives {list(shape)} instead of [1, {count}, height, width]; '
            'its description names other classes than it has.',
        )
        self._teacher, self._merge = teacher, np.zeros((label_set.num_classes, count), np.float32)
        for index, ids in enumerate(d.targets(label_set)):
            if len(ids) > 1:
                raise PdlError(
                    f'The description of {d.name} makes {d.classes[index]!r} one of several; '
                    'a class of a semantic teacher becomes one.'
                )
            self._merge[list(ids), index] = 1

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """Return the (C, H, W) float32 probabilities of the label set's classes, averaged with
        those of the mirror image.

        They add up to at most 1: the rest is what the label set has no class for.
        """
        merged = (self._merged(rgb) + self._merged(rgb[:, ::-1])[..., ::-1]) / 2
        size = (rgb.shape[1], rgb.shape[0])
        planes = [cv2.resize(np.ascontiguousarray(p), size) for p in merged]
        return np.stack(planes)

    def _merged(self, rgb: np.ndarray) -> np.ndarray:
        """Return the (C, h, w) probabilities at the size that the picture has in the network."""
        logits = self._teacher(np.ascontiguousarray(rgb))[0]
        high, wide = self._teacher.description.size
        height, width = self._teacher.place(rgb.shape)
        logits = logits[
            :, : -(-height * logits.shape[1] // high), : -(-width * logits.shape[2] // wide)
        ]
        exps = np.exp(logits - logits.max(0))
        probabilities = exps / exps.sum(0)
        return np.tensordot(self._merge, probabilities, 1)
