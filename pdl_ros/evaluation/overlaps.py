"""How the labels and the prediction of one image overlap: what every score is counted from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from pdl_ros.datasets.groups import Groups
from pdl_ros.datasets.record import Sample, Segment, ids_and_places
from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelSet

_LARGEST = 0xFFFFFFFF  # what is joined with a labelled id to one 64-bit number


class Overlaps(NamedTuple):
    """Shared pixels of T labelled segments and P predicted values.

    segments: those that the labels list, each id once. values: (P,) predicted values without void,
    ascending. classes: (P,) their train ids. areas: (1 + T, P + 1) int64 pixels that a labelled and
    a predicted segment share; the first row is void labels, the last column predicted void.

    A label that leaves open which class of a group a pixel is counts as void for what it may be.
    The rest of such a segment is a crowd of one more class, something else, which nothing is.
    """

    segments: list[Segment]
    values: np.ndarray
    classes: np.ndarray
    areas: np.ndarray

    @property
    def truth_classes(self) -> np.ndarray:
        """(T,) train ids of the labelled segments."""
        return np.array([s.class_id for s in self.segments], int)

    @property
    def is_crowd(self) -> np.ndarray:
        """(T,) bool: whether a labelled segment is a crowd region."""
        return np.array([s.is_crowd for s in self.segments], bool)

    @property
    def truth_areas(self) -> np.ndarray:
        """(T,) pixels of the labelled segments; 0 for what is listed, but not in the map."""
        return self.areas[1:].sum(1)

    @property
    def predicted_areas(self) -> np.ndarray:
        """(P,) pixels of the predicted values."""
        return self.areas[:, :-1].sum(0)

    @property
    def shared(self) -> np.ndarray:
        """(T, P) pixels."""
        return self.areas[1:, :-1]

    @property
    def on_void(self) -> np.ndarray:
        """(P,) pixels of the predicted values that have no label."""
        return self.areas[0, :-1]


def overlaps(
    sample: Sample,
    prediction: np.ndarray | torch.Tensor,
    label_set: LabelSet,
    void: int,
    divisor: int,
    groups: Groups = (),
) -> Overlaps:
    """Join the labels of an image with a predicted (H, W) map of integers.

    The class of a predicted value is ``value // divisor``. groups: as `groups_of` returns them.
    Raises PdlError, which names the image, for maps of another size, of anything but whole numbers,
    and for unknown classes.
    """
    truth = _whole_numbers(sample.panoptic, f'The label map of {sample.name}')
    predicted = as_map(prediction, sample)
    segments = _listed(sample, label_set, groups)
    truth_ids, predicted_ids, areas = shared_areas(truth, predicted)
    values = np.setdiff1d(predicted_ids, [void])
    classes = values // divisor
    if classes.size and classes.max() >= label_set.num_classes:
        raise PdlError(
            f'The prediction of {sample.name} holds class {classes.max()}, but label set '
            f'{label_set.name!r} ends at {label_set.num_classes - 1}.'
        )
    row_of = {s.id: row for row, s in enumerate(segments, start=1)}
    rows = np.array([row_of.get(i, 0) for i in truth_ids.tolist()], int)
    columns = np.where(predicted_ids == void, len(values), np.searchsorted(values, predicted_ids))
    table = np.zeros((1 + len(segments), len(values) + 1), np.int64)
    np.add.at(table, (rows, columns), areas)
    return Overlaps(_settled(segments, classes, table, label_set, groups), values, classes, table)


def shared_areas(
    truth: np.ndarray, predicted: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (N,) ids of two int64 maps, of 32 bits, that share pixels, and how many; by id."""
    numbered = [ids_and_places(ids) for ids in (truth, predicted)]
    if any(found is None for found in numbered):  # ids of 24 bits and more, as of COCO's colours
        pairs, areas = np.unique(truth << 32 | predicted, return_counts=True)
        return pairs >> 32, pairs & _LARGEST, areas
    (truth_ids, rows), (predicted_ids, columns) = (found for found in numbered if found)
    # Counting takes a fifth of the time of a sort.
    joined = (rows * np.int64(len(predicted_ids)) + columns).ravel()
    table = np.bincount(joined, minlength=len(truth_ids) * len(predicted_ids))
    there = np.flatnonzero(table)
    row, column = np.divmod(there, max(len(predicted_ids), 1))
    return truth_ids[row], predicted_ids[column], table[there]


def as_map(prediction: np.ndarray | torch.Tensor, sample: Sample) -> np.ndarray:
    """Return a predicted map as (H, W) int64, of the size of the sample and without negative ids;
    else raise PdlError.
    """
    if isinstance(prediction, torch.Tensor):
        prediction = (prediction.double() if prediction.is_floating_point() else prediction).numpy(
            force=True
        )
    if prediction.shape != sample.panoptic.shape:
        raise PdlError(
            f'The prediction of {sample.name} has the shape {prediction.shape}, but its '
            f'labels have {sample.panoptic.shape}; predict at the size of the image.'
        )
    whole = _whole_numbers(prediction, f'The prediction of {sample.name}')
    if whole.size and not 0 <= whole.min() <= whole.max() <= _LARGEST:
        wrong = whole.min() if whole.min() < 0 else whole.max()
        raise PdlError(
            f'The prediction of {sample.name} holds the id {wrong}; ids are class * label_divisor '
            '+ number in panoptic maps (65535 = void), train ids in semantic ones (255 = void).'
        )
    return whole


def _whole_numbers(values: np.ndarray, whose: str) -> np.ndarray:
    if values.dtype.kind not in 'biu':
        raise PdlError(f'{whose} is {values.dtype}; it must hold whole numbers, such as int32.')
    return values.astype(np.int64)


def _settled(
    segments: list[Segment],
    classes: np.ndarray,
    table: np.ndarray,
    label_set: LabelSet,
    groups: Groups,
) -> list[Segment]:
    """Count as void what is predicted as a class that a segment's group leaves open, in place;
    return the segments, those of groups as crowds of something else.
    """
    count, settled = label_set.num_classes, list(segments)
    for place, segment in enumerate(segments):
        if segment.class_id >= count:
            row, may_be = 1 + place, np.isin(classes, groups[segment.class_id - count])
            open_areas = np.where(np.append(may_be, False), table[row], 0)
            table[0] += open_areas
            table[row] -= open_areas
            settled[place] = Segment(segment.id, count, is_crowd=True)
    return settled


def _listed(sample: Sample, label_set: LabelSet, groups: Groups) -> list[Segment]:
    """Return the labelled segments; of several with one id the last counts, in the place of the
    first, as in panopticapi.
    """
    segments = list({s.id: s for s in sample.segments}.values())
    for segment in segments:
        if not 0 <= segment.class_id < label_set.num_classes + len(groups):
            raise PdlError(
                f'The labels of {sample.name} hold class {segment.class_id} (segment '
                f'{segment.id}), but label set {label_set.name!r} ends at '
                f'{label_set.num_classes - 1}; give the label set of the data.'
            )
    return segments
