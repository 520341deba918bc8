"""Ids that stay with a thing over the frames of one camera, on the host, from the results alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from pdl_ros.errors import require
from pdl_ros.fusion import PanopticResult

_SAMPLES = 60_000  # pixels of a frame that are looked at, about; more found nothing more


@dataclass(frozen=True)
class TrackSettings:
    """Defaults chosen on drawn and on real streets at 2.5 to 15 frames per second."""

    min_iou: float = 0.05
    """Overlap of two masks, after motion compensation, from which they can be the same thing."""
    class_change_iou: float = 0.7
    """Overlap from which they can be although their classes differ; 1: only if identical."""
    max_distance: float = 1.5
    """How far from where it was expected a thing may turn up without any overlap, in lengths of
    the thing (the root of its area); 0: not at all.
    """
    max_missed: float = 2.0
    """Seconds for which a track waits for its thing; 0: it ends with the first frame without."""
    max_gap: float = 2.0
    """Seconds between two frames after which every track ends."""
    velocity_memory: float = 0.5
    """Seconds over which the motion of a thing is averaged."""

    def __post_init__(self) -> None:
        for name in ('min_iou', 'class_change_iou'):
            value = getattr(self, name)
            require(0 < value <= 1, f'{name} is {value}; it must be above 0 and at most 1.')
        for name in ('max_distance', 'max_missed'):
            value = getattr(self, name)
            require(0 <= value < math.inf, f'{name} is {value}; it must be finite, 0 or more.')
        for name in ('max_gap', 'velocity_memory'):
            value = getattr(self, name)
            require(0 < value < math.inf, f'{name} is {value}; it must be finite and above 0.')


class Tracks(NamedTuple):
    """Who is who in one frame: columns of length T, in the order of the things in the segment
    table.

    instance_id: int32 value in the instance map. track_id: uint32, from 1. age: uint32 frames
    since the track began, 0 in its first. reset: why all earlier tracks ended before this frame, as
    a clause for a log message; empty when they did not.
    """

    instance_id: np.ndarray
    track_id: np.ndarray
    age: np.ndarray
    reset: str

    def relabel(self, instance: np.ndarray, dtype: DTypeLike = np.uint32) -> np.ndarray:
        """Return the (H, W) instance map with track ids in place of running ids; 0 stays 0.

        Ids that `dtype` cannot hold start over at 1: in a 16-bit image, 65536 is 1.
        """
        largest = np.iinfo(dtype).max
        table = np.zeros(self.instance_id.max(initial=0) + 1, dtype)
        table[self.instance_id] = (self.track_id.astype(np.int64) - 1) % largest + 1
        return table.take(instance)


class Tracker:
    """Follow the things of one camera.

    A track remembers the mask in which its thing was last seen and how its centre moves. Those
    masks, moved on to the time of a new frame, are matched to the frame's things so that the sum of
    their overlaps is the largest; then, by the distance of their centres, what moved too far to
    overlap. A thing that is left over begins a track. No id is given twice, not even after a reset.
    What slips bit by bit behind something wider than itself often comes out under a new one.

    The ids follow from the frames and their stamps alone. How a frame's things are numbered, or
    ordered in its table, changes nothing.
    """

    def __init__(self, settings: TrackSettings | None = None) -> None:
        self.settings = settings or TrackSettings()
        self._tracks: list[_Track] = []
        self._ids = 0  # given so far
        self._frame = 0
        self._stamp: int | None = None
        self._size: tuple[int, ...] = ()

    def reset(self) -> None:
        """End all tracks; the next frame may be of any time and size."""
        self._tracks, self._stamp = [], None

    def update(self, result: PanopticResult, stamp_ns: int) -> Tracks:
        """Give each thing of a frame, taken at `stamp_ns`, its track; `result` is on the host.

        A frame that is earlier than the last one, later by more than `max_gap`, or of another size,
        resets the tracker first. One with the same stamp does not.
        """
        things, size = _find_things(result), tuple(result.instance.shape)
        reason = self._break(stamp_ns, size)
        if reason:
            self.reset()
        # What the last frame showed has a chance in this one, however seldom frames come.
        oldest = stamp_ns - round(self.settings.max_missed * 1e9)
        self._tracks = [t for t in self._tracks if t.seen >= oldest or t.seen == self._stamp]
        owners = dict(self._match(things, stamp_ns))
        track_id, age = np.zeros((2, len(things.row)), np.uint32)
        for number, row in enumerate(things.row.tolist()):
            track = owners.get(number)
            if track is None:
                self._ids += 1
                track = _Track(self._ids, self._frame, stamp_ns, things.center[number])
                self._tracks.append(track)
            track.move(stamp_ns, things.center[number], self.settings.velocity_memory)
            track.class_id, track.length = int(things.class_id[number]), things.length[number]
            track.mask = things.masks[number]
            track_id[row], age[row] = track.id, self._frame - track.born
        self._frame, self._stamp, self._size = self._frame + 1, stamp_ns, size
        return Tracks(things.instance_id, track_id, age, reason)

    def state(self) -> dict[str, np.ndarray]:
        """Return all that it remembers, as arrays that another process can go on with."""
        tracks = self._tracks
        sizes = [track.mask.shape[1] for track in tracks]
        return {
            'counts': np.array([self._ids, self._frame, self._stamp is not None], np.int64),
            'stamp': np.array([self._stamp or 0], np.int64),
            'size': np.array(self._size, np.int64),
            'numbers': np.array(
                [(t.id, t.born, t.seen, t.steps, t.class_id) for t in tracks], np.int64
            ).reshape(-1, 5),
            'motion': np.array(
                [(*t.center, *t.velocity, t.length) for t in tracks], np.float64
            ).reshape(-1, 5),
            'sizes': np.array(sizes, np.int64),
            'masks': np.concatenate([np.zeros((2, 0), np.int64), *(t.mask for t in tracks)], 1),
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on where `state` was taken, as if the frames before had been seen here."""
        self._ids, self._frame, known = state['counts'].tolist()
        self._stamp = int(state['stamp'][0]) if known else None
        self._size = tuple(state['size'].tolist())
        masks = np.split(state['masks'], np.cumsum(state['sizes'])[:-1], axis=1)
        self._tracks = []
        for numbers, motion, mask in zip(
            state['numbers'].tolist(), state['motion'], masks, strict=False
        ):
            number, born, seen, steps, class_id = numbers
            track = _Track(number, born, seen, motion[:2].copy(), motion[2:4].copy(), steps)
            track.class_id, track.length, track.mask = class_id, float(motion[4]), mask
            self._tracks.append(track)

    def _break(self, stamp_ns: int, size: tuple[int, ...]) -> str:
        """Say why a frame cannot be compared with the last one; nothing if it can."""
        if self._stamp is None:
            return ''
        step = (stamp_ns - self._stamp) / 1e9
        if step < 0:
            return f'time jumped back by {-step:.3f} s'
        if step > self.settings.max_gap:
            return f'no frame came for {step:.3f} s'
        if size != self._size:
            old, new = (f'{w}x{h}' for h, w in (self._size, size))
            return f'the image size changed from {old} to {new}'
        return ''

    def _match(self, things: _Things, stamp_ns: int) -> Iterator[tuple[int, _Track]]:
        """Yield numbers of things, each with the track that it continues."""
        tracks, settings = self._tracks, self.settings
        if not tracks or not len(things.row):
            return
        expected = np.stack([t.expect(stamp_ns) for t in tracks])
        same = np.array([t.class_id for t in tracks])[:, None] == things.class_id
        iou = _overlaps(tracks, expected, things)
        iou[iou < np.where(same, settings.min_iou, settings.class_change_iou)] = 0
        rows, columns = _assign(iou)
        yield from zip(columns.tolist(), (tracks[r] for r in rows), strict=True)
        # What was hidden for a while has to come back where it is expected. Looking for it around
        # that place saved one switch in ten, but IDF1 fell by 1.5: it found others too often.
        taken = set(rows.tolist())
        free = [n for n, t in enumerate(tracks) if n not in taken and t.seen == self._stamp]
        left = np.setdiff1d(np.arange(len(things.row)), columns)
        if settings.max_distance and free and len(left):
            away = _distances([tracks[n] for n in free], expected[free], things, left)
            rows, columns = _assign(np.maximum(1 - away / settings.max_distance, 0))
            yield from zip(left[columns].tolist(), (tracks[free[r]] for r in rows), strict=True)


@dataclass(slots=True)
class _Track:
    """One thing as it was last seen: at `seen` (ns), centred at (x, y), moving in pixels a
    second.
    """

    id: int
    born: int  # number of its first frame
    seen: int
    center: np.ndarray
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))
    steps: int = 0
    class_id: int = 0
    length: float = 0.0
    mask: np.ndarray = field(default_factory=lambda: np.zeros((2, 0), int))  # (2, A) as (y, x)

    def expect(self, stamp_ns: int) -> np.ndarray:
        """Return where the centre is to be expected."""
        return self.center + self.velocity * ((stamp_ns - self.seen) / 1e9)

    def move(self, stamp_ns: int, center: np.ndarray, memory: float) -> None:
        """Note where the centre is now."""
        seconds = (stamp_ns - self.seen) / 1e9
        if seconds > 0:
            self.steps += 1
            # The plain mean of the first steps, as if one of none had gone before.
            gain = max(1 - math.exp(-seconds / memory), 1 / (self.steps + 1))
            self.velocity += gain * ((center - self.center) / seconds - self.velocity)
        self.seen, self.center = stamp_ns, center


class _Things(NamedTuple):
    """The things of a frame, numbered from 0 in the order in which a reader of the image meets
    them; coordinates and areas are those of `map`, which is thinned out if the image is large.
    """

    instance_id: np.ndarray  # of the things in the segment table, in its order
    row: np.ndarray  # (T,) where each is in instance_id
    class_id: np.ndarray  # (T,)
    center: np.ndarray  # (T, 2) float64 (x, y)
    length: np.ndarray  # (T,) root of the area
    masks: list[np.ndarray]  # T times (2, A) (y, x); A may be 0
    map: np.ndarray  # (H, W) number + 1; 0 where there is no thing


def _find_things(result: PanopticResult) -> _Things:
    table = result.segments
    columns = (table.instance_id, table.class_id, table.area, table.center)
    ids, classes, areas, centers = (column[table.is_thing].numpy() for column in columns)
    thin = max(round(math.sqrt(result.instance.numel() / _SAMPLES)), 1)
    instance = np.ascontiguousarray(result.instance.numpy()[thin // 2 :: thin, thin // 2 :: thin])
    at = np.flatnonzero(instance)
    values = instance.ravel()[at]
    first = np.full(max(values.max(initial=0), ids.max(initial=0)) + 1, instance.size)
    first[values[::-1]] = at[::-1]  # of pixels with the same id, the last one written stays
    row = np.lexsort((*centers.T, first[ids]))
    numbers = np.zeros(len(first), np.min_scalar_type(len(ids)))  # small: quick to sort
    numbers[ids[row]] = np.arange(1, len(ids) + 1)
    numbered = numbers.take(instance)
    owner = numbered.ravel()[at]
    pixels = np.stack(np.divmod(at[np.argsort(owner, kind='stable')], instance.shape[1]))
    ends = np.cumsum(np.bincount(owner, minlength=len(ids) + 1))
    masks = np.split(pixels, ends[:-1], axis=1)[1:]
    center = (centers[row].astype(np.float64) - thin // 2) / thin
    return _Things(ids, row, classes[row], center, np.sqrt(areas[row]) / thin, masks, numbered)


def _overlaps(tracks: list[_Track], expected: np.ndarray, things: _Things) -> np.ndarray:
    """Return the (M, T) IoU of the masks of M tracks, moved to their `expected` (M, 2) (x, y)
    centres, with those of T things.

    One histogram over the pixels of all masks. What is moved out of the image does not count.
    """
    shift = np.rint(expected - [t.center for t in tracks]).astype(np.int64)
    owner = np.repeat(np.arange(len(tracks)), [t.mask.shape[1] for t in tracks])
    y, x = np.concatenate([t.mask for t in tracks], axis=1) + shift[owner, ::-1].T
    height, width = things.map.shape
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    owner, hit = owner[inside], things.map[y[inside], x[inside]]
    bins = len(things.row) + 1
    area = np.array([m.shape[1] for m in things.masks])
    joint = np.bincount(owner * bins + hit, minlength=len(tracks) * bins).reshape(-1, bins)
    both = joint[:, 1:]
    return both / np.maximum(joint.sum(1, keepdims=True) + area - both, 1)


def _distances(
    tracks: list[_Track], expected: np.ndarray, things: _Things, left: np.ndarray
) -> np.ndarray:
    """Return the (M, L) distances between the `expected` (M, 2) (x, y) centres of M tracks and
    those of the things that are `left` (L,), in lengths of the thing; infinite where the class
    differs or one is twice as long as the other.
    """
    length, lengths = np.array([t.length for t in tracks])[:, None], things.length[left]
    away = expected[:, None] - things.center[left]
    alike = np.array([t.class_id for t in tracks])[:, None] == things.class_id[left]
    alike &= (length < 2 * lengths) & (lengths < 2 * length)
    distance = np.hypot(away[..., 0], away[..., 1]) / np.sqrt(np.maximum(length * lengths, 1e-9))
    return np.where(alike, distance, np.inf)


def warm_up_tracking() -> None:
    """Load what trackers need, a third of a second, before the first frame does."""
    _assign(np.zeros((0, 0)))


def _assign(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and columns of the pairs with the largest sum; pairs that score 0 are
    none.
    """
    # A node that does not track starts without it.
    from scipy.optimize import linear_sum_assignment

    rows, columns = np.flatnonzero(score.any(1)), np.flatnonzero(score.any(0))
    picked = linear_sum_assignment(score[np.ix_(rows, columns)], maximize=True)
    rows, columns = rows[picked[0]], columns[picked[1]]
    scored = score[rows, columns] > 0
    return rows[scored], columns[scored]
