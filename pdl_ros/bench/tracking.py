"""Tracking, beside two plain versions: `pdl_ros bench tracking [--camvid FOLDER]`.

On drawn streets, whose identities are exact, the package motmetrics counts MOTA, IDF1 and identity
switches; a thing is found where the IoU is 0.5 or more, whatever its class. CamVid labels no
identities, and things that touch are one component there. So components are linked to those of the
next frame where optical flow carries one onto the other with an IoU above 0.5, and a chain of links
counts as one thing. A switch along a chain is a true one; but chains break where components merge,
split or hide, and what a tracker does there stays unseen. MOTA and IDF1 would say nothing.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track as show_progress
from rich.table import Table
from scipy.optimize import linear_sum_assignment

from pdl_ros.bench.machine import describe, machine_facts
from pdl_ros.datasets import Sample
from pdl_ros.datasets.label_folder import LabelFolder
from pdl_ros.demo.scene import FPS, Scene
from pdl_ros.errors import PdlError
from pdl_ros.fusion import PanopticResult
from pdl_ros.labels import LabelSet
from pdl_ros.pipeline import Segmenter
from pdl_ros.runtime.files import write_json
from pdl_ros.tracking import Tracker

FIRST_SEED = 30_000  # streets on which neither weights nor settings were chosen
EVERY = (1, 3, 6)  # of 15 frames a second; a robot without a GPU sees some of them

COUNTS = {
    'num_switches': 'switches',
    'num_fragmentations': 'breaks',
    'num_detections': 'matches',
    'mota': 'MOTA',
    'idf1': 'IDF1',
}  # of motmetrics; those in capitals are shares

Follow = Callable[[PanopticResult, int], np.ndarray]  # result, stamp in ns -> (T,) ids


class Frame(NamedTuple):
    """What was found in a frame, and the identity (G,) of what is there, with its IoU (G, T)."""

    result: PanopticResult
    identity: np.ndarray
    iou: np.ndarray


def bench_tracking(scenes: int, frames: int, camvid: Path | None, out: Path | None) -> None:
    """Score the tracker, the ids as they come, and plain overlap with the last frame."""
    if scenes < 1 or frames < max(EVERY):
        raise PdlError(f'Ask for one scene of {max(EVERY)} frames at least.')
    streets = (drawn_street(FIRST_SEED + n, frames) for n in range(scenes))
    rows = {'drawn streets': score(show_progress(streets, 'scoring', scenes), exact=True)}
    if camvid is not None:
        rows['CamVid val'] = score([camvid_drive(camvid)], exact=False)
    for title, part in rows.items():
        show(title, part)
    Console().print(describe(facts := machine_facts()))
    if out is not None:
        write_json(out, {**facts, **rows})


def score(sequences: Iterable[list[Frame]], exact: bool) -> list[dict[str, Any]]:
    """Run every tracker at every rate; return a row of numbers each, percent and milliseconds.

    A sequence at a third of its rate is three sequences, so that all rates see all frames. `exact`:
    every thing has one identity, so MOTA and IDF1 mean something.
    """
    try:
        from motmetrics import MOTAccumulator
        from motmetrics.metrics import create
    except ImportError:
        raise PdlError("This needs motmetrics; run: pip install 'pdl_ros[bench]'.") from None
    accumulators = defaultdict(list)
    ids: dict[tuple[int, str], int] = defaultdict(int)
    times: dict[tuple[int, str], list[float]] = defaultdict(list)
    for sequence in sequences:
        for every, name in product(EVERY, TRACKERS):
            for phase in range(every):
                stamps = range(phase, len(sequence), every)
                found = _follow(TRACKERS[name](), sequence, stamps, times[every, name])
                accumulator = MOTAccumulator(auto_id=True)
                for index, track_ids in zip(stamps, found, strict=True):
                    near = np.where(sequence[index].iou >= 0.5, 1 - sequence[index].iou, np.nan)
                    accumulator.update(sequence[index].identity, track_ids, near)
                accumulators[every, name].append(accumulator)
                ids[every, name] += len(set(np.concatenate(found).tolist()))
    rows = []
    for (every, name), kept in accumulators.items():
        total = create().compute_many(kept, metrics=list(COUNTS), generate_overall=True)
        row = {'fps': FPS / every, 'tracker': name, 'ids': ids[every, name]}
        for metric, title in COUNTS.items():
            share = title.isupper()
            value = float(total.loc['OVERALL', metric]) * (100 if share else 1)
            row[title] = value if share else int(value)
            if share and not exact:
                row[title] = None
        row['ms'], row['ms p99'] = np.percentile(times[every, name], (50, 99)).tolist()
        rows.append(row)
    return rows


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """Print the rows of a data set as a table."""
    table = Table(title=title, box=None)
    for heading in rows[0]:
        table.add_column(heading, justify='right', no_wrap=True)
    for row in rows:
        values = ('–' if v is None else v for v in row.values())
        table.add_row(*(f'{v:.1f}' if isinstance(v, float) else str(v) for v in values))
    Console().print(table)


def drawn_street(seed: int, frames: int) -> list[Frame]:
    """Segment the first frames of a drawn street."""
    scene, segmenter = Scene(seed), Segmenter.load('scene_tiny')
    samples = map(scene.frame, range(frames))
    return [_frame(segmenter, s, _things(s, scene.label_set)) for s in samples]


def camvid_drive(folder: Path) -> list[Frame]:
    """Segment the drive that CamVid's val split is; identities are chains of components."""
    segmenter = Segmenter.load('camvid_efficientnet_lite0')
    drive = LabelFolder(folder, 'val', segmenter.label_set)
    samples = [drive[index] for index in range(len(drive))]
    names = link_components(samples, segmenter.label_set)
    return [_frame(segmenter, s, n) for s, n in zip(samples, names, strict=True)]


def link_components(samples: list[Sample], label_set: LabelSet) -> Iterator[dict[int, int]]:
    """Yield for each sample the number of the chain that each of its things, by id, belongs to."""
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    chains, before = 0, None
    for sample in samples:
        gray = cv2.cvtColor(sample.image, cv2.COLOR_RGB2GRAY)
        names = dict.fromkeys(_things(sample, label_set), 0)
        if before is not None:
            old_sample, old_gray, old_names = before
            # Each pixel fetches the label of where it came from.
            y, x = np.indices(gray.shape, np.float32)
            dx, dy = np.moveaxis(flow.calc(gray, old_gray, np.empty(0, np.float32)), 2, 0)
            carried = cv2.remap(
                old_sample.panoptic.astype(np.float32), x + dx, y + dy, cv2.INTER_NEAREST
            ).astype(np.int32)
            iou = _iou(carried, list(old_names), sample.panoptic, list(names))
            for old, new in np.argwhere(iou > 0.5):
                old_id, new_id = list(old_names)[old], list(names)[new]
                if old_id // label_set.label_divisor == new_id // label_set.label_divisor:
                    names[new_id] = old_names[old_id]
        for new_id in (i for i, name in names.items() if not name):
            chains += 1
            names[new_id] = chains
        before = sample, gray, names
        yield names


def running_ids(result: PanopticResult, stamp_ns: int) -> np.ndarray:
    """Number the things as the fusion does: no tracking."""
    return _thing_ids(result)


class PlainOverlap:
    """Keep ids by the best total IoU (0.05 or more, same class) with the last frame, as it was."""

    def __init__(self) -> None:
        self._count = 0
        self._last: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None = None

    def __call__(self, result: PanopticResult, stamp_ns: int) -> np.ndarray:
        table, instance, ids = result.segments, result.instance.numpy(), _thing_ids(result)
        classes, found = table.class_id[table.is_thing].numpy(), np.zeros(len(ids), np.int64)
        if self._last is not None:
            old_instance, old_ids, old_classes, old_found = self._last
            iou = _iou(old_instance, old_ids, instance, ids)
            iou *= (iou >= 0.05) & (old_classes[:, None] == classes)
            rows, columns = linear_sum_assignment(iou, maximize=True)
            good = iou[rows, columns] > 0
            found[columns[good]] = old_found[rows[good]]
        new = found == 0
        found[new] = self._count + 1 + np.arange(new.sum())
        self._count += int(new.sum())
        self._last = instance, ids, classes, found
        return found


def tracker() -> Follow:
    """Return the tracker of this package with its defaults."""
    whole = Tracker()
    return lambda result, stamp_ns: whole.update(result, stamp_ns).track_id.astype(np.int64)


TRACKERS: dict[str, Callable[[], Follow]] = {
    'running ids': lambda: running_ids,
    'plain overlap': PlainOverlap,
    'tracker': tracker,
}


def _follow(
    follow: Follow, sequence: list[Frame], indices: range, times: list[float]
) -> list[np.ndarray]:
    """Return the ids of each frame; add the milliseconds of each to `times`."""
    found = []
    for index in indices:
        start = time.perf_counter()
        found.append(follow(sequence[index].result, round(index * 1e9 / FPS)))
        times.append(1e3 * (time.perf_counter() - start))
    return found


def _frame(segmenter: Segmenter, sample: Sample, names: dict[int, int]) -> Frame:
    result = segmenter(sample.image)
    iou = _iou(sample.panoptic, list(names), result.instance.numpy(), _thing_ids(result))
    # What no tracker reads would fill the memory.
    result = result._replace(semantic=result.semantic[:0], panoptic=result.panoptic[:0])
    return Frame(result, np.array(list(names.values()), np.int64), iou)


def _things(sample: Sample, label_set: LabelSet) -> dict[int, int]:
    """Return the segment ids of the things, as their own names; a crowd region is no thing."""
    things = label_set.thing_ids
    return {s.id: s.id for s in sample.segments if s.class_id in things and not s.is_crowd}


def _thing_ids(result: PanopticResult) -> np.ndarray:
    table = result.segments
    return table.instance_id[table.is_thing].numpy()


def _iou(
    left: np.ndarray,
    left_ids: Sequence[int] | np.ndarray,
    right: np.ndarray,
    right_ids: Sequence[int] | np.ndarray,
) -> np.ndarray:
    """Return the (L, R) IoU of segments of two (H, W) maps."""
    numbers = []
    for labels, ids in ((left, left_ids), (right, right_ids)):
        table = np.zeros(2**16, np.int64)
        table[np.asarray(ids, np.int64)] = np.arange(1, len(ids) + 1)
        numbers.append(table[labels])
    shape = (len(left_ids) + 1, len(right_ids) + 1)
    joint = np.bincount(np.ravel(numbers[0] * shape[1] + numbers[1]), minlength=shape[0] * shape[1])
    joint = joint.reshape(shape)
    union = joint.sum(1, keepdims=True) + joint.sum(0) - joint
    return (joint / np.maximum(union, 1))[1:, 1:]
