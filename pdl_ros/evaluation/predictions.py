"""Score files of results that somebody's network wrote, in the official formats."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from pdl_ros.datasets import PanopticDataset, Sample
from pdl_ros.datasets.source import leads_out
from pdl_ros.errors import PdlError, printable, require
from pdl_ros.evaluation.metrics import ImageCounts, PanopticEvaluator, Scores
from pdl_ros.evaluation.official_ids import class_ids, image_id
from pdl_ros.evaluation.stream import stream
from pdl_ros.evaluation.submission import INSTANCES, PANOPTIC, SEMANTIC
from pdl_ros.imaging.files import read_samples
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import PANOPTIC_VOID, SEMANTIC_VOID


class Prediction(NamedTuple):
    """What files say of an image, as `PanopticEvaluator.update` takes it."""

    panoptic: np.ndarray
    semantic: np.ndarray | None
    scores: dict[int, float]


class Predictions(Protocol):
    """A folder of results."""

    def read(self, sample: Sample) -> Prediction:
        """Read what there is of an image; PdlError where that is nothing, or contradicts itself."""
        ...


def score_predictions(
    predictions: Predictions,
    dataset: PanopticDataset,
    quiet: bool = False,
    ap_rule: str = 'cityscapes',
) -> Scores:
    """Score files of results against the labels of a data set."""
    evaluator = PanopticEvaluator(dataset.label_set, ap_rule)

    def score(sample: Sample, _: None) -> ImageCounts:
        found = predictions.read(sample)
        return evaluator.count(found.panoptic, sample, found.semantic, found.scores)

    for counts in stream(dataset, lambda _: None, score, quiet):
        evaluator.add(counts)
    return evaluator.compute()


def open_predictions(folder: Path, label_set: LabelSet) -> Predictions:
    """Open a folder with `panoptic.json`, or one with Cityscapes' text files of instances."""
    file = folder / f'{PANOPTIC}.json'
    if file.is_file():
        return PanopticFiles(file, label_set)
    for place in (folder, folder / INSTANCES):
        if any(place.glob('*.txt')):
            return InstanceFiles(place, label_set)
    raise PdlError(
        f"{folder} has neither {PANOPTIC}.json nor Cityscapes' text files of instances; give the "
        'folder that holds them.'
    )


class PanopticFiles:
    """Results in COCO's panoptic format; what panopticapi refuses is refused."""

    def __init__(self, file: Path, label_set: LabelSet) -> None:
        self._file, self._labels = file, label_set
        self._class_of = {official: i for i, official in enumerate(class_ids(label_set))}
        try:
            annotations = json.loads(file.read_bytes())['annotations']
            self._images: Mapping[Any, Any] = {a['image_id']: a for a in annotations}
        except OSError as error:
            raise PdlError(f'{file} cannot be read: {error.strerror}.') from None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise PdlError(f'{file} is not in the panoptic format of COCO ({error}).') from None

    def read(self, sample: Sample) -> Prediction:
        """Read the PNG of an image, and its semantic one where there is one."""
        name = sample.name
        annotation = self._images.get(image_id(name), self._images.get(name))
        require(
            annotation is not None,
            f'{self._file} has nothing for the image {name}; give one result for each image.',
        )
        try:
            png = _within(self._file.with_suffix(''), str(annotation['file_name']), self._file)
            listed = {int(s['id']): s for s in annotation['segments_info']}
            classes = {i: self._class(name, int(s['category_id'])) for i, s in listed.items()}
            scores = {i: float(s['score']) for i, s in listed.items() if 'score' in s}
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise PdlError(
                f'{self._file} is not in the panoptic format of COCO at the image {name} ({error}).'
            ) from None
        ids = _ids_of(png)
        values = self._values(png, ids, classes)
        panoptic = np.full(ids.shape, PANOPTIC_VOID, np.int64)
        order = np.array(sorted(values), np.int64)
        if len(order):
            place = np.searchsorted(order, ids).clip(max=len(order) - 1)
            ours = np.array([values[i] for i in order.tolist()])
            panoptic = np.where(order[place] == ids, ours[place], panoptic)
        return Prediction(panoptic, self._semantic(name), {values[i]: s for i, s in scores.items()})

    def _class(self, name: str, official: int) -> int:
        require(
            official in self._class_of,
            f'{self._file} has the category {official} at the image {name}, which label set '
            f'{self._labels.name!r} has not.',
        )
        return self._class_of[official]

    def _values(self, png: Path, ids: np.ndarray, classes: Mapping[int, int]) -> dict[int, int]:
        """Return the value of every listed id in our maps."""
        there = set(np.unique(ids).tolist()) - {0}
        unlisted, absent = sorted(there - {*classes}), sorted({*classes} - there)
        require(not unlisted, f'{png} holds the segment {unlisted[:1]}, which its JSON lacks.')
        require(not absent, f'{png} lacks the segment {absent[:1]}, which its JSON lists.')
        return numbered(list(classes.items()), self._labels, png)

    def _semantic(self, name: str) -> np.ndarray | None:
        file = self._file.parent / SEMANTIC / f'{name}.png'
        if not file.is_file():
            return None
        official = read_samples(file)
        require(
            official.ndim == 2 and official.dtype == np.uint8,
            f'{file} must be a one-channel 8-bit PNG of label ids.',
        )
        table = np.full(256, SEMANTIC_VOID, np.uint8)
        for number, class_id in self._class_of.items():
            table[number] = class_id
        return table[official]


class _Instance(NamedTuple):
    mask: Path
    class_id: int
    score: float


class InstanceFiles:
    """Instances in Cityscapes' format; masks of one image must not overlap to be a panoptic map."""

    def __init__(self, folder: Path, label_set: LabelSet) -> None:
        self._folder, self._labels = folder, label_set
        self._class_of = {official: i for i, official in enumerate(class_ids(label_set))}

    def read(self, sample: Sample) -> Prediction:
        """Read all masks of an image into one map."""
        file = self._folder / f'{sample.name}.txt'
        try:
            lines = file.read_text(encoding='utf-8').splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise PdlError(f'{file} cannot be read ({error}).') from None
        rows = [row for row in (self._row(file, line) for line in lines) if row]
        values = numbered([(i, row.class_id) for i, row in enumerate(rows)], self._labels, file)
        panoptic = np.full(sample.panoptic.shape, PANOPTIC_VOID, np.int64)
        for number, row in enumerate(rows):
            mask = read_samples(row.mask)
            require(
                mask.shape == panoptic.shape and not (panoptic[mask > 0] != PANOPTIC_VOID).any(),
                f'{row.mask} overlaps another mask of {file.name}, or is not a one-channel PNG of '
                "the image's size; score masks that overlap with cityscapesscripts.",
            )
            panoptic[mask > 0] = values[number]
        return Prediction(panoptic, None, {values[i]: row.score for i, row in enumerate(rows)})

    def _row(self, file: Path, line: str) -> _Instance | None:
        """Read a line; None for a class of no interest, as in the official script."""
        try:
            name, official, score = line.split(' ')
            class_id = self._class_of.get(int(float(official)))
            instance = _Instance(_within(self._folder, name, file), class_id or 0, float(score))
        except (ValueError, OverflowError):
            raise PdlError(
                f'{file} has the line {printable(line[:80])!r}; it must be: mask, label id, score.'
            ) from None
        return None if class_id is None else instance


def numbered(classes: list[tuple[int, int]], label_set: LabelSet, where: Path) -> dict[int, int]:
    """Return a value ``class * label_divisor + number`` for every segment (its key, its class)."""
    values, seen = {}, dict.fromkeys(range(label_set.num_classes), 0)
    for key, class_id in classes:
        seen[class_id] += 1
        require(
            seen[class_id] < label_set.label_divisor,
            f'{where} has more than {label_set.label_divisor - 1} segments of class {class_id}; '
            'give a label set with a larger label_divisor.',
        )
        values[key] = class_id * label_set.label_divisor + seen[class_id]
    return values


def _within(folder: Path, name: str, where: Path) -> Path:
    """Return the path of a file of results, which whoever wrote them keeps beside their list."""
    require(
        not leads_out(name),
        f'{where} names the file {printable(name[:80])!r}, which is not within its folder.',
    )
    return folder / name


def _ids_of(png: Path) -> np.ndarray:
    pixels = read_samples(png)
    require(
        pixels.ndim == 3 and pixels.shape[2] >= 3 and pixels.dtype == np.uint8,
        f'{png} must be an RGB PNG whose colours are ids.',
    )
    red, green, blue = (pixels[..., i].astype(np.int64) for i in range(3))
    return red + 256 * green + 65536 * blue
