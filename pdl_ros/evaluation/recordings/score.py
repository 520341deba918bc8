"""Score one recording against its truth: frame by frame, in bounded memory."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from rich.progress import track

from pdl_ros.datasets.record import Sample, segments_of
from pdl_ros.errors import require
from pdl_ros.evaluation.arithmetic import mean
from pdl_ros.evaluation.metrics import ImageCounts, PanopticEvaluator
from pdl_ros.evaluation.recordings.association import Association, associate
from pdl_ros.evaluation.recordings.flicker import FlickerCounter, brightness
from pdl_ros.evaluation.recordings.frames import LabelFrames, Labels, find_stamps
from pdl_ros.evaluation.recordings.identities import IdentityCounter
from pdl_ros.evaluation.recordings.images import ImageFrames, LoadPicture
from pdl_ros.evaluation.recordings.pictures import draw
from pdl_ros.evaluation.recordings.result import Matching, RecordingScore, Window
from pdl_ros.evaluation.recordings.worst import WorstFrames
from pdl_ros.evaluation.stream import MOST_THREADS, ahead
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import PANOPTIC_VOID, SEMANTIC_VOID

_NICE = (0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)  # seconds
_WINDOWS, _MOST_WINDOWS = 40, 2000
_SECOND = 10**9


@dataclass(frozen=True)
class ScoreSettings:
    """tolerance: nanoseconds between the stamps of a pair. ap_rule: as in `PanopticEvaluator`.
    window: seconds of a point of the plots, 0: what makes some forty of them. identities: whether
    the instance ids of the truth last over frames. worst: frames that are kept as pictures.
    """

    tolerance: int = 0
    ap_rule: str = 'cityscapes'
    window: float = 0.0
    identities: bool = False
    worst: int = 6

    def __post_init__(self) -> None:
        require(self.tolerance >= 0, 'The tolerance is negative; give milliseconds, 0 or more.')
        require(self.window >= 0, 'The window is negative; give seconds, or 0.')


class _Job(NamedTuple):
    """One frame, read and not decoded; truth and picture where there are such."""

    stamp: int
    labels: Callable[[], Labels]
    truth: Callable[[], Labels] | None
    picture: LoadPicture | None


class _Counted(NamedTuple):
    """What came out of a frame. counts, truth: None where it has no truth."""

    stamp: int
    labels: Labels
    truth: np.ndarray | None
    counts: ImageCounts | None
    classes: np.ndarray | None
    grey: np.ndarray | None
    rgb: np.ndarray | None


def score_recording(
    predictions: LabelFrames,
    truth: LabelFrames,
    label_set: LabelSet,
    images: ImageFrames | None = None,
    settings: ScoreSettings = ScoreSettings(),
    quiet: bool = False,
) -> RecordingScore:
    """Score a recording. images: the pictures that the predictions are of, for flicker and the
    worst frames.

    Frames pass one by one; threads decode and count some ahead. Without scores of things there is
    no AP, and without a semantic map mean IoU is that of the panoptic one. Raises PdlError where no
    frame has a truth, and for labels that contradict each other.
    """
    matching = associate(predictions.stamps, truth.stamps, settings.tolerance)
    images, notes = _usable(images, predictions)
    ap_rule, more = _what_is_there(predictions, settings)
    evaluator = PanopticEvaluator(label_set, ap_rule)
    windows = _Windows(predictions.stamps[matching.pairs[:, 0]], settings.window, evaluator)
    total = _Total(windows, settings, predictions, images is not None, label_set)
    threads = min(os.cpu_count() or 1, MOST_THREADS)

    def count(job: _Job) -> _Counted:
        return _count(job, evaluator, needs_classes=images is not None)

    with ThreadPoolExecutor(threads, 'scoring') as pool:
        jobs = _jobs(predictions, truth, images, matching)
        frames = len(predictions.stamps) if images is not None else matching.matched
        for counted in track(ahead(pool, count, jobs, threads), 'scoring', frames, disable=quiet):
            total.add(counted)
    return RecordingScore(
        name=predictions.where,
        truth=truth.where,
        label_set=label_set,
        ap_rule=ap_rule,
        matching=Matching(matching.matched, matching.predictions, matching.truths),
        window=windows.length,
        windows=windows.filled(),
        identities=total.identities.counts() if total.identities is not None else None,
        flickers=images is not None,
        is_tracked=total.is_tracked,
        is_whole=predictions.is_whole and truth.is_whole,
        worst=total.worst.frames(),
        notes=[*predictions.notes, *truth.notes, *matching.notes, *more, *notes],
    )


def _usable(
    images: ImageFrames | None, predictions: LabelFrames
) -> tuple[ImageFrames | None, list[str]]:
    """Return the pictures, if there are some of the predicted frames, and what is to be said."""
    if images is None:
        return None, ['Flicker is left out: it needs the pictures that were segmented (--images).']
    missing = int((find_stamps(predictions.stamps, images.stamps) < 0).sum())
    if missing == len(predictions.stamps):
        return None, [
            f'Flicker is left out: no picture of {images.where} has the stamp of a predicted frame.'
        ]
    note = f'{missing} of {len(predictions.stamps)} predicted frames have no picture in'
    return images, [f'{note} {images.where}: flicker is that of the others.'] if missing else []


def _what_is_there(predictions: LabelFrames, settings: ScoreSettings) -> tuple[str, list[str]]:
    """Return the rule for AP that can be kept, and say what is left out."""
    notes, ap_rule = list[str](), settings.ap_rule
    if ap_rule != 'none' and not predictions.has_scores:
        ap_rule = 'none'
        notes.append('AP is left out: it needs scores of things, from a topic `instances`.')
    if not predictions.has_semantic:
        notes.append('IoU is that of the panoptic images: there is no topic `semantic/image`.')
    if not settings.identities:
        notes.append(
            'Id switches, MOTA and IDF1 are left out: they need a truth whose instance ids last '
            'over frames (--identities).'
        )
    return ap_rule, notes


def _jobs(
    predictions: LabelFrames,
    truth: LabelFrames,
    images: ImageFrames | None,
    matching: Association,
) -> Iterator[_Job]:
    """Read frame by frame, in the order of the stamps, in which things move and videos play: with
    pictures all frames, without those that have a truth.
    """
    partner = np.full(len(predictions.stamps), -1)
    partner[matching.pairs[:, 0]] = matching.pairs[:, 1]
    numbers = np.argsort(predictions.stamps, kind='stable')
    if images is None:
        numbers = numbers[partner[numbers] >= 0]
    labels, truths = predictions.load(numbers), truth.load(partner[numbers][partner[numbers] >= 0])
    of_picture = np.full(len(partner), -1)
    pictures: Iterator[LoadPicture] = iter(())
    if images is not None:
        of_picture = find_stamps(predictions.stamps, images.stamps)
        pictures = images.load(of_picture[numbers][of_picture[numbers] >= 0])
    for number in numbers.tolist():
        yield _Job(
            int(predictions.stamps[number]),
            next(labels),
            next(truths) if partner[number] >= 0 else None,
            next(pictures) if of_picture[number] >= 0 else None,
        )


def _count(job: _Job, evaluator: PanopticEvaluator, needs_classes: bool) -> _Counted:
    labels, label_set = job.labels(), evaluator.label_set
    counts = truth = classes = grey = None
    if job.truth is not None:
        truth = job.truth().panoptic
        sample = _sample(str(job.stamp), truth, label_set)
        counts = evaluator.count(labels.panoptic, sample, labels.semantic, labels.scores)
    rgb = job.picture() if job.picture is not None else None
    if needs_classes and rgb is not None:
        classes = labels.semantic
        if classes is None:
            of_value = labels.panoptic // label_set.label_divisor
            void = labels.panoptic == PANOPTIC_VOID
            classes = np.where(void, SEMANTIC_VOID, of_value).astype(np.uint8)
        grey = brightness(rgb, classes.shape)
    return _Counted(job.stamp, labels, truth, counts, classes, grey, rgb)


def _sample(name: str, panoptic: np.ndarray, label_set: LabelSet) -> Sample:
    """Return the truth as a data set of 16-bit PNGs would: numbers of stuff do not matter."""
    segments, divisor = segments_of(panoptic, label_set), label_set.label_divisor
    things = label_set.thing_ids
    if any(s.class_id not in things and s.id % divisor for s in segments):
        stuff = ~np.isin(panoptic // divisor, things) & (panoptic != PANOPTIC_VOID)
        panoptic = np.where(stuff, panoptic - panoptic % divisor, panoptic)
        segments = segments_of(panoptic, label_set)
    return Sample(name, panoptic[..., None], panoptic, segments)


class _Windows:
    """The windows of a recording, from the first scored frame on."""

    def __init__(self, stamps: np.ndarray, seconds: float, like: PanopticEvaluator) -> None:
        self._like, self._first = like, int(stamps.min())
        duration = int(stamps.max()) - self._first
        fitting = (n for n in _NICE if n * _WINDOWS * _SECOND >= duration)
        automatic = next(fitting, duration / (_WINDOWS * _SECOND))
        self.length = round((seconds or automatic) * _SECOND)
        require(
            duration // self.length < _MOST_WINDOWS,
            f'Windows of {seconds} s are {duration // self.length + 1} for {duration / 1e9:.0f} s; '
            f'at most {_MOST_WINDOWS} are kept: give longer ones with --window.',
        )
        self._last = duration // self.length
        self._windows: dict[int, Window] = {}

    def of(self, stamp: int) -> Window:
        """Return the window of a frame; those before the first or after the last truth belong to
        the nearest.
        """
        number = min(max((stamp - self._first) // self.length, 0), self._last)
        if number not in self._windows:
            evaluator = PanopticEvaluator(self._like.label_set, self._like.ap_rule)
            self._windows[number] = Window(self._first + number * self.length, evaluator)
        return self._windows[number]

    def filled(self) -> list[Window]:
        """Return the windows with frames, in the order of time."""
        return [self._windows[number] for number in sorted(self._windows)]


class _Total:
    """Add frames up, in their order."""

    def __init__(
        self,
        windows: _Windows,
        settings: ScoreSettings,
        predictions: LabelFrames,
        flickers: bool,
        label_set: LabelSet,
    ) -> None:
        self._windows, self._label_set = windows, label_set
        self.identities = IdentityCounter() if settings.identities else None
        self._flicker = FlickerCounter() if flickers else None
        self.worst = WorstFrames(predictions.where, settings.worst)
        self.is_tracked = False

    def add(self, frame: _Counted) -> None:
        window = self._windows.of(frame.stamp)
        if frame.counts is not None:
            window.evaluator.add(frame.counts)
            tracks = frame.labels.tracks or {}
            self.is_tracked |= bool(tracks)
            if self.identities is not None:
                window.switches += self.identities.update(
                    frame.counts.panoptic, self._label_set.thing_ids, tracks
                )
            self._keep_worst(frame)
        if self._flicker is not None and frame.grey is not None and frame.classes is not None:
            window.flicker += self._flicker.update(frame.stamp, frame.classes, frame.grey)

    def _keep_worst(self, frame: _Counted) -> None:
        assert frame.counts is not None
        assert frame.truth is not None
        maps = frame.rgb, frame.truth, frame.labels.panoptic
        pq = mean(frame.counts.segments.qualities()[0])
        self.worst.add(frame.stamp, pq, functools.partial(draw, *maps, self._label_set))
