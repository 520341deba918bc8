"""The scores of recordings: windows of time whose counts add up to those of the whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from pdl_ros.errors import PdlError, require
from pdl_ros.evaluation.arithmetic import added, none_for_nan
from pdl_ros.evaluation.metrics import PanopticEvaluator, Scores
from pdl_ros.evaluation.recordings.identities import IdentityCounts
from pdl_ros.labels import LabelSet


class FlickerCounts(NamedTuple):
    """Pixels that did not change from a frame to the next, those of them whose class did, and all
    that were compared.
    """

    still: int = 0
    changed: int = 0
    compared: int = 0

    def __add__(self, other: tuple[Any, ...]) -> FlickerCounts:
        return added(self, other)

    @property
    def share(self) -> float:
        """Changed of still pixels; NaN where nothing was still."""
        return self.changed / self.still if self.still else math.nan


class Matching(NamedTuple):
    """How many frames found each other."""

    matched: int = 0
    predicted_frames: int = 0
    labelled_frames: int = 0

    def __add__(self, other: tuple[Any, ...]) -> Matching:
        return added(self, other)


@dataclass
class Window:
    """The counts of the frames from a stamp on, for so many nanoseconds."""

    start: int
    evaluator: PanopticEvaluator
    flicker: FlickerCounts = field(default_factory=FlickerCounts)
    switches: int = 0


class WorstFrame(NamedTuple):
    """A frame with a low PQ (the mean over the classes in it). pictures: RGB, of equal size, by
    what they show; none where the score was read from a file.
    """

    recording: str
    stamp: int
    pq: float
    pictures: dict[str, np.ndarray]


@dataclass
class RecordingScore:
    """The score of one recording.

    name, truth: where the frames came from. window: nanoseconds. identities: None where the truth
    has none; flickers: whether there were pictures to count flicker with. is_whole: whether nothing
    of the recording is known to be missing. notes: what a person should know, a sentence each.
    """

    name: str
    truth: str
    label_set: LabelSet
    ap_rule: str
    matching: Matching
    window: int
    windows: list[Window]
    identities: IdentityCounts | None = None
    flickers: bool = False
    is_tracked: bool = False
    is_whole: bool = True
    worst: list[WorstFrame] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def flicker(self) -> FlickerCounts:
        return sum((w.flicker for w in self.windows), FlickerCounts())


@dataclass
class BagScores:
    """The scores of one or several recordings as one: their counts are added, not averaged."""

    recordings: Sequence[RecordingScore]

    def __post_init__(self) -> None:
        require(len(self.recordings) > 0, 'There is no recording to score.')
        first = self.recordings[0]
        for other in self.recordings[1:]:
            if other.label_set != first.label_set:
                raise PdlError(
                    f'{first.name} is of label set {first.label_set.name!r}, {other.name} of '
                    f'{other.label_set.name!r} with other classes; score them apart.'
                )
            if other.ap_rule != first.ap_rule:
                raise PdlError(
                    f'AP of {first.name} is counted by the rule {first.ap_rule!r}, of {other.name} '
                    f'by {other.ap_rule!r}; score both with the same --ap, or none where one has '
                    'no instances.'
                )

    @property
    def label_set(self) -> LabelSet:
        return self.recordings[0].label_set

    def compute(self) -> Scores:
        """Return the scores of all frames of all recordings."""
        total = PanopticEvaluator(self.label_set, self.recordings[0].ap_rule)
        for recording in self.recordings:
            for window in recording.windows:
                total.merge(window.evaluator)
        return total.compute()

    @property
    def matching(self) -> Matching:
        return sum((r.matching for r in self.recordings), Matching())

    @property
    def flicker(self) -> FlickerCounts | None:
        """Return the flicker of the recordings that had pictures; None where none had."""
        found = [r.flicker for r in self.recordings if r.flickers]
        return sum(found, FlickerCounts()) if found else None

    @property
    def identities(self) -> IdentityCounts | None:
        """Return the counts of the recordings whose truth has identities; None where none has."""
        found = [r.identities for r in self.recordings if r.identities is not None]
        return sum(found, IdentityCounts()) if found else None

    @property
    def is_whole(self) -> bool:
        return all(recording.is_whole for recording in self.recordings)

    def worst(self, most: int) -> list[WorstFrame]:
        """Return the frames with the lowest PQ, the worst first."""
        frames = [frame for recording in self.recordings for frame in recording.worst]
        return sorted(frames, key=lambda frame: frame.pq)[:most]

    def stability(self) -> dict[str, float | int | None]:
        """Return what is known of how results change over time; None for what is not."""
        ids, flicker = self.identities, self.flicker
        return none_for_nan(
            {
                'flicker': math.nan if flicker is None else flicker.share,
                'still_share': math.nan
                if flicker is None or not flicker.compared
                else flicker.still / flicker.compared,
                'id_switches': None if ids is None else ids.switches,
                'mota': math.nan if ids is None else ids.mota,
                'idf1': math.nan if ids is None else ids.idf1,
            }
        )
