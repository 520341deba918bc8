"""A drawn street with exact ground truth, frame by frame, and many of them as a data set."""

from __future__ import annotations

import numpy as np

from pdl_ros.datasets.record import Sample, Segment
from pdl_ros.demo.scene.background import develop, draw_background, film
from pdl_ros.demo.scene.drawing import paint_sprite, visible
from pdl_ros.demo.scene.street import Street
from pdl_ros.demo.scene.traffic import draw_traffic
from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelSet

FPS = 15.0
"""Frames per second of a scene."""


class Scene:
    """An endless street at 15 frames per second; the same seed and index give the same frame.

    Cars wait while people cross. An object keeps its instance id for as long as it exists; ids
    count up from 1 per class and are used again only after some hundred others.
    """

    def __init__(self, seed: int, height: int = 384, width: int = 640) -> None:
        if height < 32 or width < 32:
            raise PdlError(f'A scene of {width}x{height} is too small; ask for 32x32 at least.')
        self.seed, self.height, self.width = int(seed), int(height), int(width)
        self.label_set = LabelSet.load('scene')
        self.street = Street.draw(np.random.default_rng([self.seed, 0]), self.height, self.width)
        self._background, self._labels, self._trees = draw_background(self.street, self.seed)
        self._tone, self._grain = film(np.random.default_rng([self.seed, 1]), height, width)

    def frame(self, index: int) -> Sample:
        """Draw a frame: image (H, W, 3) uint8 RGB and its labels, in which no pixel is void."""
        objects = [o for o in draw_traffic(self.street, self.seed, index / FPS) if o is not None]
        sprites = sorted([*objects, *self._trees], key=lambda s: s.depth)
        image = self._background.copy()
        panoptic = self._labels.astype(np.int32) * self.label_set.label_divisor
        for sprite in reversed(visible(sprites, image.shape[:2])):
            paint_sprite(image, panoptic, sprite)
        rng = np.random.default_rng([self.seed, 2, index])
        image = develop(image, self._tone, self._grain, rng)
        ids = np.flatnonzero(np.bincount(panoptic.ravel()))
        segments = tuple(Segment(int(i), int(i) // self.label_set.label_divisor) for i in ids)
        return Sample(f'scene{self.seed}_{index:06d}', image, panoptic, segments)


class SceneDataset:
    """One frame of each of `count` streets, of seeds `first_seed` onwards, at any time.

    A sample is drawn when it is first asked for and kept.
    """

    def __init__(self, count: int, height: int, width: int, first_seed: int = 0) -> None:
        self.label_set = LabelSet.load('scene')
        self.count, self.height, self.width, self.first_seed = count, height, width, first_seed
        self._drawn: dict[int, Sample] = {}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.count:
            raise IndexError(f'sample {index} of {self.count}')
        if index not in self._drawn:
            seed = self.first_seed + index
            moment = np.random.default_rng([seed, 3]).integers(0, 36000)
            self._drawn[index] = Scene(seed, self.height, self.width).frame(int(moment))
        return self._drawn[index]
