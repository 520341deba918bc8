"""The street of one seed and the camera in it: world to picture."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pdl_ros.demo.scene.colors import SKIES, Color, jitter

SKY, BUILDING, TREE, PAVEMENT, ROAD, CAR, PERSON = range(7)
UP = np.array([0.0, 0.0, 1.0, 1.0])
FAR = 75.0  # metres; where the street ends in a row of houses and trees

Numbers = np.ndarray | float


class Street(NamedTuple):
    """Camera and street of one seed.

    The world is in metres from the ground under the camera: x right, y up, z ahead.
    """

    height: int
    width: int
    focal: float  # pixels
    horizon: float
    center: float  # column of the vanishing point
    eye: float  # height of the camera
    left: float  # x of the kerbs, middle of the carriageway, width of the pavements
    middle: float
    right: float
    pavement: float
    parking: int  # side on which cars are parked: -1, 0 or 1
    zebra: float  # z of the crossing
    spacing: float  # between cars of a lane
    density: float  # probability of each place for a car or a person to be taken
    clock: float  # seconds into the traffic at frame 0
    sun: int  # side from which the sun shines
    haze: Color

    @classmethod
    def draw(cls, rng: np.random.Generator, height: int, width: int) -> Street:
        parking = int(rng.integers(-1, 2))
        middle, lane = rng.uniform(-0.9, 0.9), rng.uniform(3.0, 3.5)
        left, right = (middle + side * (lane + 2.1 * (parking == side)) for side in (-1, 1))
        haze = jitter(rng, SKIES[rng.integers(len(SKIES))], 12)
        return cls(
            height,
            width,
            focal=height * rng.uniform(1.45, 1.75),
            horizon=height * rng.uniform(0.38, 0.46),
            center=width * rng.uniform(0.43, 0.57),
            eye=rng.uniform(2.7, 3.3),
            left=left,
            middle=middle,
            right=right,
            pavement=rng.uniform(2.6, 3.4),
            parking=parking,
            zebra=rng.uniform(12.0, 14.5),
            spacing=rng.uniform(13.5, 17.0),
            density=rng.uniform(0.7, 0.9),
            clock=rng.uniform(0, 1000),
            sun=int(rng.choice((-1, 1))),
            haze=haze,
        )

    def project(self, x: Numbers, y: Numbers, z: Numbers) -> np.ndarray:
        """Return (N, 2) picture coordinates (column, row); the first pixel covers 0..1.

        What is behind the camera is held one metre before it, out of the picture.
        """
        scale = self.focal / np.maximum(z, 1.0)
        points = np.empty((np.broadcast(x, y, z).size, 2))
        points[:, 0] = self.center + scale * x
        points[:, 1] = self.horizon + scale * (self.eye - y)
        return points
