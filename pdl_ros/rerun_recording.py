"""Frames and what was found in them, as Rerun's viewer shows it: layers, names, boxes, curves."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pdl_ros import visualization
from pdl_ros.errors import PdlError, require_package
from pdl_ros.labels.label_set import PANOPTIC_VOID, SEMANTIC_VOID
from pdl_ros.runtime.files import require_writable_file

if TYPE_CHECKING:
    from pdl_ros.labels import LabelSet

TIMELINE = 'stamp'
_CAMERA = 'camera'
_QUALITY = 90  # of the images: a raw one of 2048x1024 takes 6 MB
_OPACITY = 0.5


class ThingBox(NamedTuple):
    """A thing: its box in pixels from the top left, score 0 to 1, and track or instance id."""

    class_id: int
    score: float
    id: int
    x: float
    y: float
    width: float
    height: float


class RerunRecording:
    """A file of Rerun's (.rrd) with the frames of one or several cameras; a context manager.

    The file gets its name when all is in it. The layers of a camera are `CAMERA/image`,
    `CAMERA/classes` and, beside it, `CAMERA_instances/ids`, with `CAMERA/boxes`; further there are
    `CAMERA_points` and the curves `timing/CAMERA/STAGE` in ms. All are on the timeline `stamp`.

    cameras: their names; '' is the only one. points: whether there will be some.
    """

    def __init__(
        self,
        path: Path,
        label_set: LabelSet,
        cameras: Iterable[str] = ('',),
        points: bool = False,
    ) -> None:
        require_package('rerun', 'rerun')
        require_writable_file(path)
        import rerun

        self._rerun: Any = rerun
        self._path, self._label_set = path, label_set
        self._part = path.with_name(f'{path.name}.{os.getpid()}.part')
        path.parent.mkdir(parents=True, exist_ok=True)
        self._names = [name.replace('/', '_') or _CAMERA for name in cameras]
        self._stream = rerun.RecordingStream('pdl_ros', send_properties=False)
        try:
            self._stream.save(self._part, self._blueprint(points))
        except RuntimeError as error:
            raise PdlError(f'{path} cannot be written: {error}.') from None
        self._stream.send_recording_name(path.stem)
        classes = self._rerun.AnnotationContext(
            [
                *((i, c.name, c.color) for i, c in enumerate(label_set.classes)),
                (SEMANTIC_VOID, 'void', (0, 0, 0, 0)),
            ]
        )
        for name in self._names:
            for place in (name, f'{name}_points') if points else (name,):
                self._stream.log(place, classes, static=True)

    def __enter__(self) -> RerunRecording:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.flush(blocking=True)
        self._stream.disconnect()
        try:
            if error is None:
                os.replace(self._part, self._path)
        except OSError as failure:
            raise PdlError(f'{self._path} cannot be written: {failure.strerror}.') from None
        finally:
            with contextlib.suppress(OSError):
                self._part.unlink()

    def log(
        self,
        stamp: int,
        rgb: np.ndarray,
        panoptic: np.ndarray,
        things: Iterable[ThingBox] = (),
        timing: Mapping[str, float] | None = None,
        camera: str = '',
    ) -> None:
        """Add a frame. stamp: nanoseconds since 1970. rgb: (H, W, 3) uint8; panoptic: (h, w) of
        values of the label set. timing: milliseconds by stage.
        """
        self._at(stamp)
        name, rerun, log = self._name(camera), self._rerun, self._stream.log
        log(f'{name}/image', rerun.Image(np.ascontiguousarray(rgb)).compress(_QUALITY))
        panoptic = visualization.labels_at_size(panoptic, (rgb.shape[0], rgb.shape[1]))
        log(f'{name}/classes', rerun.SegmentationImage(self._classes(panoptic), opacity=_OPACITY))
        self._log_instances(name, panoptic)
        boxes = list(things)
        array = np.array([box[3:] for box in boxes], np.float32).reshape(-1, 4)
        log(
            f'{name}/boxes',
            rerun.Boxes2D(
                array=array,
                array_format=rerun.Box2DFormat.XYWH,
                class_ids=[box.class_id for box in boxes],
                labels=[self._label(box) for box in boxes],
            ),
        )
        for stage, milliseconds in (timing or {}).items():
            log(f'timing/{name}/{stage}', rerun.Scalars(milliseconds))

    def log_points(
        self,
        stamp: int,
        positions: np.ndarray,
        class_ids: np.ndarray,
        colors: np.ndarray | None = None,
        camera: str = '',
    ) -> None:
        """Add labelled points: (N, 3) metres, (N,) train ids and, if their colours are not those of
        the classes, (N, 3) uint8.
        """
        self._at(stamp)
        points = self._rerun.Points3D(positions, colors=colors, class_ids=class_ids)
        self._stream.log(f'{self._name(camera)}_points', points)

    def _at(self, stamp: int) -> None:
        self._stream.set_time(TIMELINE, timestamp=np.datetime64(stamp, 'ns'))

    def _name(self, camera: str) -> str:
        return camera.replace('/', '_') or _CAMERA

    def _classes(self, panoptic: np.ndarray) -> np.ndarray:
        """Return (H, W) uint8 train ids of panoptic values."""
        values = panoptic.astype(np.int32)
        ids = values // self._label_set.label_divisor
        bad = (values == PANOPTIC_VOID) | (ids >= self._label_set.num_classes)
        return np.where(bad, SEMANTIC_VOID, ids).astype(np.uint8)

    def _log_instances(self, name: str, panoptic: np.ndarray) -> None:
        """Log the things alone, each with a name and a colour: those that `visualization` has."""
        classes, divisor = self._label_set.classes, self._label_set.label_divisor
        values = panoptic.astype(np.uint16)
        counts = np.bincount(values.reshape(-1), minlength=PANOPTIC_VOID + 1)
        things = [
            value
            for value in np.flatnonzero(counts[:PANOPTIC_VOID]).tolist()
            if value // divisor in self._label_set.thing_ids and value % divisor
        ]
        row = np.array([things], np.uint16).reshape(1, -1)
        colors = visualization.instances(row, self._label_set)[0] if things else ()
        names = [f'{classes[value // divisor].name} {value % divisor}' for value in things]
        context = [(0, '', (0, 0, 0, 0)), *zip(things, names, map(tuple, colors), strict=True)]
        place = f'{name}_instances'
        self._stream.log(place, self._rerun.AnnotationContext(context))
        table = np.zeros(PANOPTIC_VOID + 1, np.uint16)
        table[things] = things
        self._stream.log(f'{place}/ids', self._rerun.SegmentationImage(table[values]))

    def _label(self, box: ThingBox) -> str:
        name = self._label_set.classes[box.class_id].name
        return f'{name} {box.id} {box.score:.2f}'

    def _blueprint(self, points: bool) -> Any:
        """Return how the viewer is laid out at first: cameras above, curves below."""
        import rerun.blueprint as blueprint

        rows = []
        for name in self._names:
            views: list[Any] = [
                blueprint.Spatial2DView(origin=name, name=name),
                blueprint.Spatial2DView(origin=f'{name}_instances', name=f'{name}: instances'),
            ]
            if points:
                views.append(blueprint.Spatial3DView(origin=f'{name}_points', name='points'))
            rows.append(blueprint.Horizontal(*views))
        curves = blueprint.TimeSeriesView(origin='timing', name='milliseconds')
        shares = [3] * len(rows) + [1]
        return blueprint.Blueprint(blueprint.Vertical(*rows, curves, row_shares=shares))


def boxes_of_segments(rows: Iterable[Mapping[str, Any]]) -> list[ThingBox]:
    """Return the things among the rows of a segment table."""
    return [
        ThingBox(row['class_id'], row['score'], row['instance_id'], x0, y0, x1 - x0, y1 - y0)
        for row in rows
        if row['is_thing'] and row['instance_id']
        for x0, y0, x1, y1 in [row['box']]
    ]


def boxes_of(message: Any) -> list[ThingBox]:
    """Return the things of a pdl_ros/PanopticInstanceArray, from ROS or a bag."""
    return [
        ThingBox(
            int(thing.class_id),
            float(thing.score),
            int(thing.track_id or thing.id),
            *(float(v) for v in (thing.box.x_offset, thing.box.y_offset)),
            *(float(v) for v in (thing.box.width, thing.box.height)),
        )
        for thing in message.instances
    ]


def timing_of(message: Any) -> dict[str, float]:
    """Return the milliseconds of a pdl_ros/FrameTiming by stage."""
    stages = ('decode', 'preprocess', 'network', 'fusion', 'readback', 'publish', 'total')
    return {stage: float(getattr(message, f'{stage}_ms')) for stage in stages}
