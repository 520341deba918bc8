"""Engines that take a given time, for the tests of who chooses between them."""

from __future__ import annotations

import torch

from pdl_ros.engines.trial import fastest
from pdl_ros.network.heads import HeadOutputs

IMAGES = torch.zeros(1, 3, 8, 8)
HEADS = HeadOutputs(torch.ones(1, 5, 2, 2), torch.ones(1, 1, 2, 2), torch.ones(1, 2, 2, 2), 4)


class Bench:
    """Engines that take a given time, on a clock that only they move."""

    def __init__(self, seconds: dict, building: float = 0.0) -> None:
        self.now, self.seconds, self.building = 0.0, seconds, building
        self.made: list = []
        self.alive: list = []
        self.most_alive = 0
        self.heads = dict.fromkeys(seconds, HEADS)
        self.calls_before_failure: dict = {}

    def make(self, key, **_) -> Fake:
        self.now += self.building
        self.made.append(key)
        if isinstance(self.seconds[key], Exception):
            raise self.seconds[key]
        self.alive.append(key)
        self.most_alive = max(self.most_alive, len(self.alive))
        return Fake(self, key)

    def fastest(self, budget: float = 15.0):
        keys = list(self.seconds)
        return fastest(keys, self.make, IMAGES, HEADS, budget, lambda: self.now)


class Fake:
    name, precision, device = 'fake', 'fp32', torch.device('cpu')

    def __init__(self, bench: Bench, key) -> None:
        self.bench, self.key, self.calls = bench, key, 0

    def __call__(self, images):
        self.calls += 1
        if self.calls > self.bench.calls_before_failure.get(self.key, self.calls):
            raise RuntimeError('worn out')
        self.bench.now += self.bench.seconds[self.key]
        return self.bench.heads[self.key]

    def release(self):
        self.bench.alive.remove(self.key)
