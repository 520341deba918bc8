"""The curves and pictures of a training for TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pdl_ros.errors import printable, require_package
from pdl_ros.runtime.files import require_writable_folder
from pdl_ros.training.log import to_disk

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from pdl_ros.datasets import PanopticDataset
    from pdl_ros.pipeline import Segmenter

_PICTURES = 4  # of a data set, evenly spread over it


class TensorBoard:
    """Write what the logs of a training hold, and pictures, as event files in a folder.

    folder: None to write nothing. Raises PdlError where it cannot be written to, or where the
    package is missing.
    """

    def __init__(self, folder: Path | None) -> None:
        if folder is not None:
            require_package('tensorboard', 'tensorboard')
            require_writable_folder(folder)
        self._folder, self._step = folder, 0
        self._writer: SummaryWriter | None = None

    @contextmanager
    def after(self, step: int) -> Iterator[None]:
        """Write within this what follows a step. What an earlier run wrote of later steps, which
        are lost with a crash, is hidden.
        """
        self._step = step
        if self._folder is None:
            yield
            return
        from torch.utils.tensorboard import SummaryWriter

        with to_disk(self._folder):
            writer = SummaryWriter(str(self._folder), purge_step=step + 1)
        self._writer = writer
        try:
            yield
        finally:
            self._writer = None
            with to_disk(self._folder):
                writer.close()

    def write_step(self, row: Mapping[str, float]) -> None:
        """Write a row of log.csv: the losses and the learning rate of a step."""
        self._step = int(row['step'])
        tags = {n: 'learning_rate' if n == 'lr' else f'loss/{n}' for n in row if n != 'step'}
        self._write({tag: row[name] for name, tag in tags.items()})

    def write_scores(self, row: Mapping[str, float | None]) -> None:
        """Write a row of validation.csv; a score without a value is left out."""
        scores = {n: value for n, value in row.items() if n != 'step' and value is not None}
        self._write({f'validation/{name}': value for name, value in scores.items()})
        self.flush()

    def show(self, segmenter: Segmenter, dataset: PanopticDataset) -> None:
        """Write a few pictures of a data set: input, labels and prediction side by side."""
        if self._writer is None:
            return
        from pdl_ros.training.pictures import side_by_side

        count = min(_PICTURES, len(dataset))
        for index in np.linspace(0, len(dataset) - 1, count).astype(int).tolist():
            sample = dataset[index]
            picture, tag = side_by_side(segmenter, sample), f'pictures/{printable(sample.name)}'
            with to_disk(Path(self._writer.log_dir)):
                self._writer.add_image(tag, picture, self._step, dataformats='HWC')

    def flush(self) -> None:
        """Give all that was written to the system: a state must not be ahead of its curves."""
        if self._writer is not None:
            with to_disk(Path(self._writer.log_dir)):
                self._writer.flush()

    def _write(self, values: Mapping[str, float]) -> None:
        if self._writer is not None:
            with to_disk(Path(self._writer.log_dir)):
                for tag, value in values.items():
                    self._writer.add_scalar(tag, value, self._step)
