"""What the fusion hands on: label maps and a segment table."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class SegmentTable(NamedTuple):
    """One row a segment, in columns of length S: things by instance id, then stuff by class id.

    id: int32 value in the panoptic map. class_id: int32. is_thing: bool. instance_id: int32 value
    in the instance map, 0 for stuff. area: int32 pixels. The rest is defined for things only and 0
    for stuff: score = objectness × class_score (float32, paper section 3.5; the raw heatmap is
    unbounded, so objectness may pass 1), box: (S, 4) int32 (x0, y0, x1, y1) with x1, y1 exclusive,
    center: (S, 2) float32 (x, y) of the detected mass centre. A thing in a frame without centres
    has an objectness of 0, one that another's centre took (`FusionSettings.outvoted_area`) that
    centre's; in the place of a centre both have the mean of their pixels. Coordinates are pixels of
    the label maps. On a GPU a table has rows without a segment too, with id -1, as its length must
    not depend on the data; `PanopticResult.cpu` leaves them out.
    """

    id: Tensor
    class_id: Tensor
    is_thing: Tensor
    instance_id: Tensor
    area: Tensor
    score: Tensor
    objectness: Tensor
    class_score: Tensor
    box: Tensor
    center: Tensor

    def compact(self) -> SegmentTable:
        """Leave out the rows whose id is -1."""
        kept = self.id >= 0
        return SegmentTable(*(column[kept] for column in self))

    def rows(self) -> list[dict[str, Any]]:
        """Return the table row by row, as plain Python values by column name."""
        # Column by column: one conversion a column instead of one a cell.
        columns = [column.tolist() for column in self.compact()]
        return [
            dict(zip(self._fields, values, strict=True)) for values in zip(*columns, strict=True)
        ]


class PanopticResult(NamedTuple):
    """The segmentation of one frame, on the device it was made on.

    semantic: (H, W) uint8 train ids. instance: (H, W) int32, 0 = no thing, else a running id from
    1. panoptic: (H, W) int32, ``class_id * label_divisor + n`` (n counts the instances of a class
    from 1, 0 for stuff), 65535 = void.
    """

    semantic: Tensor
    instance: Tensor
    panoptic: Tensor
    segments: SegmentTable

    def cpu(self) -> PanopticResult:
        """Copy everything to the host; the only synchronisation a frame needs."""
        copy = self.start_copy()
        if self.semantic.is_cuda:
            torch.cuda.current_stream(self.semantic.device).synchronize()
        return copy.compact()

    def start_copy(self) -> PanopticResult:
        """Begin to copy everything to the host, without waiting for it.

        What comes from a GPU is not there before its current stream was waited for; then `compact`
        makes it a result.
        """
        table = SegmentTable(*(_to_host(column) for column in self.segments))
        return PanopticResult(
            _to_host(self.semantic), _to_host(self.instance), _to_host(self.panoptic), table
        )

    def compact(self) -> PanopticResult:
        """Leave out the rows of the table without a segment."""
        return self._replace(segments=self.segments.compact())


def _to_host(values: Tensor) -> Tensor:
    if not values.is_cuda:
        return values.cpu()
    # Only to pinned memory does a copy run beside other work.
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    return host.copy_(values, non_blocking=True)
