"""What is asked of `bag run`, checked; it can be sent to another process."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pdl_ros.engines import EngineSettings, pick_device
from pdl_ros.errors import require

if TYPE_CHECKING:
    from pdl_ros.pipeline import Segmenter

NODE = '/panoptic_node'
"""The results have the topics of a node that was started without a name of its own."""
LABELS = ('raw', 'png')
_BATCH = 4
POINTS = ('none', 'organised', 'dense')


@dataclass(frozen=True)
class RunSettings:
    """How a recording is segmented, and what is written of it.

    topics: cameras, as ``/topic`` or ``name=/topic``; none: all. start, end: seconds from the first
    image, or since 1970. every: one image of so many of each camera. batch: images that the network
    takes together; 0: as the device likes. part_frames: images in each file of the result; 0: by
    the length of the recording. A run that was interrupted goes on after its last whole file.
    """

    weights: str = 'street_efficientnet_lite0'
    device: str = 'auto'
    engine: str = 'auto'
    precision: str = 'auto'
    topics: tuple[str, ...] = ()
    start: float | None = None
    end: float | None = None
    every: int = 1
    labels: str = 'raw'
    overlay: bool = False
    overlay_alpha: float = 0.5
    tracking: bool = False
    points: str = 'none'
    timing: bool = True
    copy_inputs: bool = False
    batch: int = 0
    part_frames: int = 0

    def __post_init__(self) -> None:
        EngineSettings(self.engine, self.precision)
        require(self.labels in LABELS, f'labels is {self.labels!r}; it can be raw or png.')
        require(
            self.points in POINTS, f'points is {self.points!r}; it can be {" or ".join(POINTS)}.'
        )
        for name in ('start', 'end'):
            value = getattr(self, name)
            require(
                value is None or (math.isfinite(value) and value >= 0),
                f'{name} is {value}; it must be a number of seconds, 0 or more.',
            )
        for name, least in (('every', 1), ('batch', 0), ('part_frames', 0)):
            value = getattr(self, name)
            require(value >= least, f'{name} is {value}; it must be {least} or more.')
        require(
            0 <= self.overlay_alpha <= 1,
            f'overlay_alpha is {self.overlay_alpha}; it must be within 0 and 1.',
        )

    def open_segmenter(self) -> Segmenter:
        """Load the network."""
        from pdl_ros.pipeline import Segmenter

        engine = EngineSettings(self.engine, self.precision, batch=self._batch_on(self.device))
        return Segmenter.load(self.weights, self.device, engine=engine)

    def resolved(self, segmenter: Segmenter) -> RunSettings:
        """Return the settings with what `auto` came to, so that another process does the same."""
        engine = segmenter.engine
        batch = self._batch_on(str(segmenter.device))
        return replace(self, engine=engine.name, precision=engine.precision, batch=batch)

    def _batch_on(self, device: str) -> int:
        # On a CPU a batch takes as long as its frames one by one, and more memory.
        return self.batch or (1 if pick_device(device).type == 'cpu' else _BATCH)


@dataclass(frozen=True)
class BagJob:
    """A recording to be segmented into a new one; a job is done by `bags.run.run_bag`."""

    source: Path
    target: Path
    settings: RunSettings = RunSettings()
