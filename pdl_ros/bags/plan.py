"""What a run has to do, from the recording and the settings alone: the same on every machine."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pdl_ros import __version__
from pdl_ros.bags.bag import Bag, Selection
from pdl_ros.bags.cameras import BagCamera, find_cameras
from pdl_ros.bags.decoders import DECODERS
from pdl_ros.bags.reader import open_bag
from pdl_ros.bags.run_settings import BagJob, RunSettings
from pdl_ros.errors import PdlError

_SINCE_1970 = 1e8  # seconds from which a time is none since the first image: three years
_FEWEST, _PARTS = 256, 100  # images in a part; parts of a long recording
_FREE = ('device',)  # a run may go on elsewhere, with the engine that it began with


@dataclass(frozen=True)
class Plan:
    """The images of a run and the parts, files of the result, that they are in.

    images: the messages of all cameras. positions: (N,) those of `images` that are read, in order
    of log time; owners: (N,) the number of their camera; kept: (N,) whether they are segmented, and
    not only read because of what follows. parts: ranges of 0..N. fingerprint: of all that the
    result depends on, and of what was asked for: of `auto` it is kept what that came to.
    """

    job: BagJob
    bag: Bag
    cameras: list[BagCamera]
    images: Selection
    positions: np.ndarray
    owners: np.ndarray
    kept: np.ndarray
    parts: list[range]
    fingerprint: str

    @property
    def settings(self) -> RunSettings:
        return self.job.settings

    @property
    def count(self) -> int:
        """Number of images that are segmented."""
        return int(self.kept.sum())

    def kept_in(self, part: int) -> int:
        """Return the number of images of a part that are segmented."""
        where = self.parts[part]
        return int(self.kept[where.start : where.stop].sum())

    def part_file(self, part: int) -> Path:
        """Return the file of a part, named as rosbag2 names those of a recording it splits."""
        target = self.job.target
        return target / f'{target.resolve().name}_{part}.mcap'


def make_plan(job: BagJob) -> Plan:
    """Look at a recording and lay out what is to be done. Raises PdlError where nothing is."""
    bag, settings = open_bag(job.source), job.settings
    cameras = find_cameras(bag, settings.topics)
    images = bag.select([part for camera in cameras for part in camera.parts])
    found, numbers = images.topics()
    number_of = {part.name: n for n, camera in enumerate(cameras) for part in camera.parts}
    owners = np.array([number_of[topic.name] for topic in found], np.int64)[numbers]
    inside = _inside(images.times, settings)
    if not inside.any():
        raise PdlError(_nothing_inside(job, images.times))
    wanted = inside.copy()
    read = inside.copy()
    for number, camera in enumerate(cameras):
        own = np.flatnonzero(inside & (owners == number))
        wanted[own] = np.arange(len(own)) % settings.every == 0
        if not DECODERS[camera.parts[0].type]().remembers:
            read[own] = wanted[own]
    positions = np.flatnonzero(read)
    return Plan(
        job,
        bag,
        cameras,
        images,
        positions,
        owners[positions],
        wanted[positions],
        _parts(len(positions), settings.part_frames),
        _fingerprint(job, cameras, images, positions),
    )


def _inside(times: np.ndarray, settings: RunSettings) -> np.ndarray:
    """Return (N,) whether a log time is within the slice that is asked for."""
    inside = np.ones(len(times), bool)
    first = int(times[0]) if len(times) else 0
    if settings.start is not None:
        inside &= times >= _nanoseconds(settings.start, first)
    if settings.end is not None:
        inside &= times < _nanoseconds(settings.end, first)
    return inside


def _nanoseconds(seconds: float, first: int) -> int:
    return round(seconds * 1e9) + (0 if seconds >= _SINCE_1970 else first)


def _nothing_inside(job: BagJob, times: np.ndarray) -> str:
    if not len(times):
        return f'{job.source} has no images that can be read.'
    seconds = (int(times[-1]) - int(times[0])) / 1e9
    return (
        f'{job.source} has no images between --start and --end; it has {len(times)} in '
        f'{seconds:.3f} s.'
    )


def _parts(count: int, size: int) -> list[range]:
    size = size or max(_FEWEST, -(-count // _PARTS))
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def _fingerprint(
    job: BagJob, cameras: Sequence[BagCamera], images: Selection, positions: np.ndarray
) -> str:
    settings = {k: v for k, v in asdict(job.settings).items() if k not in _FREE}
    settings['weights'] = _digest_of_weights(job.settings.weights)
    described = {
        'version': __version__,
        'settings': settings,
        'cameras': [
            (camera.name, camera.topic, [part.type for part in camera.parts]) for camera in cameras
        ],
        'files': sorted(
            (file.name, file.stat().st_size)
            for file in {images.bag.file(n) for n in set(images.numbers.tolist())}
        ),
        'times': hashlib.sha256(images.times[positions].tobytes()).hexdigest(),
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:32]


@functools.cache
def _digest_of_weights(name: str) -> str:
    from pdl_ros.network.weight_files import find_weights

    return hashlib.sha256(find_weights(name).read_bytes()).hexdigest()
