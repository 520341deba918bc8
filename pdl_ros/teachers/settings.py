"""What decides whether a teacher is believed."""

from __future__ import annotations

from dataclasses import dataclass

from pdl_ros.errors import require


@dataclass(frozen=True)
class LabelSettings:
    """When a teacher is believed.

    confidence: the least probability with which a pixel that nobody labelled gets a class, and the
    least share of a class among those that are joined. together: the least probability of all that
    are joined, below which the teacher sees something else there and is not asked. added: train ids
    that pixels without a label may get, None = any. separate: train
    ids whose instances in the data are not believed, but split by boxes as crowds are. fill: the
    least share of its box that an instance fills. cover: the least share of a joined region that
    boxes explain.
    """

    confidence: float = 0.8
    together: float = 0.1
    added: tuple[int, ...] | None = None
    separate: tuple[int, ...] = ()
    fill: float = 0.3
    cover: float = 0.5

    def __post_init__(self) -> None:
        require(
            0 < self.confidence <= 1,
            f'confidence is {self.confidence}; it is above 0 and at most 1.',
        )
