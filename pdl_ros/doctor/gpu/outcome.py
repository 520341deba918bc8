"""How a check on a GPU ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch

PASSED, FAILED, NOT_HERE = 'passed', 'failed', 'not here'


@dataclass(frozen=True)
class Outcome:
    """state: passed, failed, or not here: it could not be had, and `says` tells why. numbers: what
    was measured.
    """

    state: str
    says: str
    numbers: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Trial:
    """What a check runs on: a device, shipped weights, and drawn streets of a size. On a CPU,
    where only the checks themselves are tried, all is small.
    """

    device: torch.device
    weights: str
    size: tuple[int, int]
    frames: int

    @property
    def on_gpu(self) -> bool:
        """Whether this is the real thing."""
        return self.device.type == 'cuda'


def trial_on(device: torch.device) -> Trial:
    """Return what is tried on a device."""
    if device.type == 'cuda':
        return Trial(device, 'street_efficientnet_lite0', (360, 480), 4)
    return Trial(device, 'scene_tiny', (96, 160), 2)


def judged(holds: bool, says: str, numbers: dict[str, Any]) -> Outcome:
    """Return passed or failed."""
    return Outcome(PASSED if holds else FAILED, says, numbers)


def only_tried(outcome: Outcome, why: str) -> Outcome:
    """Return what a check on a CPU that held is worth: its code ran, the GPU's part did not."""
    if outcome.state != PASSED:
        return outcome
    return Outcome(NOT_HERE, f'{why}; the rest of the check held: {outcome.says}', outcome.numbers)
