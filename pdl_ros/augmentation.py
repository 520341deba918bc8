"""Test-time augmentation: which views of a frame are segmented (paper, section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass

from pdl_ros.errors import PdlError

PAPER_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)


@dataclass(frozen=True)
class InferenceAugmentation:
    """Which views of a frame are segmented: every scale, and with `flip` its mirror image too.

    scales are relative to the variant's input size; the paper takes `PAPER_SCALES` and `flip`.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        if not self.scales or not all(0.1 <= scale <= 8 for scale in self.scales):
            raise PdlError(
                f'The scales are {self.scales}; give at least one, each between 0.1 and 8.'
            )
