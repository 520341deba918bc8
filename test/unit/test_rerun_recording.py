"""What Rerun's viewer is given is what was seen and found, at its time; read back by Rerun."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pdl_ros import visualization
from pdl_ros.bags.rerun_of_bag import write_rerun
from pdl_ros.bags.run import run_bag
from pdl_ros.bags.run_settings import BagJob, RunSettings
from pdl_ros.demo.labelled_bag import START, write_street_bag
from pdl_ros.demo.scene import Scene
from pdl_ros.engines import EngineSettings
from pdl_ros.errors import PdlError
from pdl_ros.labels.label_set import PANOPTIC_VOID
from pdl_ros.pipeline import Segmenter
from pdl_ros.rerun_recording import RerunRecording, ThingBox, boxes_of_segments

from .drawn_bags import pixels, read_all
from .test_bag_points import depth_of, record_depth
from .test_cli import call

pytest.importorskip('rerun')
SCENE = Scene(5, 96, 160)
LABELS = SCENE.label_set
CAR = [c.name for c in LABELS.classes].index('car')


class Shown:
    """A file of Rerun's, read by Rerun: rows in the order of the timeline `stamp`."""

    def __init__(self, path: Path) -> None:
        from rerun.dataframe import load_recording

        recording = load_recording(path)
        view = recording.view(index='stamp', contents='/**')
        self.rows: list[dict[str, Any]] = view.select().read_all().to_pylist()
        static = view.select_static().read_all().to_pylist()
        self.static = static[0] if static else {}

    @property
    def stamps(self) -> list[int]:
        """Nanoseconds since 1970."""
        return [int(np.datetime64(stamp, 'ns').astype(int)) for stamp in self.column('stamp')]

    def column(self, name: str) -> list[Any]:
        return [row[name] for row in self.rows]

    def labels(self, entity: str, size: tuple[int, int], dtype: type) -> list[np.ndarray]:
        return [
            np.array(buffer[0], np.uint8).view(dtype).reshape(size)
            for buffer in self.column(f'{entity}:ImageBuffer')
        ]

    def images(self, entity: str) -> list[np.ndarray]:
        return [
            cv2.imdecode(np.array(blob[0], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
            for blob in self.column(f'{entity}:Blob')
        ]


def names_and_colors(context: list[Any]) -> dict[int, tuple[str, tuple[int, ...]]]:
    """Return label and colour of an AnnotationContext by id."""
    found = {}
    for entry in context[0]:
        info = entry['class_description']['info']
        color = int(info['color']).to_bytes(4, 'big')
        found[info['id']] = info['label'], tuple(color)
    return found


@pytest.fixture
def shown(tmp_path) -> Shown:
    with RerunRecording(tmp_path / 'a.rrd', LABELS) as recording:
        for number in range(3):
            sample = SCENE.frame(10 * number)
            panoptic = sample.panoptic.copy()
            panoptic[:8, :8] = PANOPTIC_VOID
            things = [ThingBox(CAR, 0.5, 7, 10, 20, 30, 40)]
            stamp = START + number * 40_000_000
            recording.log(stamp, sample.image, panoptic, things, {'network': 5.0 + number})
    return Shown(tmp_path / 'a.rrd')


def test_frames_are_at_their_stamps_to_the_nanosecond(shown):
    assert shown.stamps == [START + number * 40_000_000 for number in range(3)]


def test_images_and_class_layers_are_those_of_the_frames(shown):
    for number, (image, classes) in enumerate(
        zip(
            shown.images('/camera/image'),
            shown.labels('/camera/classes', (96, 160), np.uint8),
            strict=True,
        )
    ):
        sample = SCENE.frame(10 * number)
        assert np.abs(image.astype(int) - sample.image).mean() < 6  # JPEG
        right = sample.panoptic // LABELS.label_divisor
        right[:8, :8] = 255
        np.testing.assert_array_equal(classes, right)


def test_classes_have_their_names_and_colours_and_void_is_transparent(shown):
    context = names_and_colors(shown.static['/camera:AnnotationContext'])
    for number, label_class in enumerate(LABELS.classes):
        assert context[number] == (label_class.name, (*label_class.color, 255))
    assert context[255][1][3] == 0


def test_things_have_names_and_the_colours_that_every_picture_of_instances_has(shown):
    layers = shown.labels('/camera_instances/ids', (96, 160), np.uint16)
    contexts = shown.column('/camera_instances:AnnotationContext')
    seen = 0
    for number, (ids, context) in enumerate(zip(layers, contexts, strict=True)):
        panoptic = SCENE.frame(10 * number).panoptic.copy()
        panoptic[:8, :8] = PANOPTIC_VOID
        picture = visualization.instances(panoptic, LABELS)
        known = names_and_colors(context)
        assert known[0] == ('', (0, 0, 0, 0))
        for value in np.unique(ids[ids > 0]).tolist():
            where = ids == value
            assert (panoptic[where] == value).all()
            kind, thing = divmod(value, LABELS.label_divisor)
            assert known[value][0] == f'{LABELS.classes[kind].name} {thing}'
            assert known[value][1] == (*picture[where][0], 255)
            seen += 1
        stuff = ~np.isin(panoptic // LABELS.label_divisor, LABELS.thing_ids)
        assert not ids[stuff].any()
    assert seen > 5


def test_boxes_and_curves_are_there(shown):
    row = shown.rows[1]
    assert row['/camera/boxes:Position2D'] == [[25.0, 40.0]]
    assert row['/camera/boxes:HalfSize2D'] == [[15.0, 20.0]]
    assert row['/camera/boxes:Text'] == ['car 7 0.50']
    assert row['/camera/boxes:ClassId'] == [CAR]
    assert shown.column('/timing/camera/network:Scalar') == [[5.0], [6.0], [7.0]]


def test_labelled_points_have_their_classes(tmp_path):
    positions = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    with RerunRecording(tmp_path / 'a.rrd', LABELS, ['front/left'], points=True) as recording:
        recording.log_points(START, positions, np.array([CAR, 255]), camera='front/left')
    (row,) = Shown(tmp_path / 'a.rrd').rows
    assert row['/front_left_points:Position3D'] == positions.tolist()
    assert row['/front_left_points:ClassId'] == [CAR, 255]


def test_a_recording_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), RerunRecording(tmp_path / 'a.rrd', LABELS):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_without_rerun_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr('pdl_ros.errors.find_spec', lambda _: None)
    with pytest.raises(PdlError, match=r"pip install 'pdl_ros\[rerun\]'"):
        RerunRecording(tmp_path / 'a.rrd', LABELS)


OPTIONS = ('--weights', 'scene_tiny', '--engine', 'torch', '--precision', 'fp32')


@pytest.fixture(scope='module')
def street(tmp_path_factory) -> Path:
    return write_street_bag(tmp_path_factory.mktemp('bags') / 'street', 3, size=(96, 160))


@pytest.fixture(scope='module')
def segmenter() -> Segmenter:
    return Segmenter.load('scene_tiny', 'cpu', engine=EngineSettings('torch', 'fp32'))


def assert_shows_street(shown: Shown, street: Path, segmenter: Segmenter) -> None:
    from pdl_ros.sources import open_source

    layers = shown.labels('/camera/classes', (96, 160), np.uint8)
    for rgb, layer, row in zip(
        open_source(f'{street}:/camera/image'), layers, shown.rows, strict=True
    ):
        result = segmenter(rgb)
        panoptic = result.panoptic.numpy()
        right = np.where(panoptic == PANOPTIC_VOID, 255, panoptic // LABELS.label_divisor)
        np.testing.assert_array_equal(layer, right)
        boxes = boxes_of_segments(result.segments.rows())
        centers = [[box.x + box.width / 2, box.y + box.height / 2] for box in boxes]
        assert sorted(row['/camera/boxes:Position2D'] or ()) == sorted(centers)
    assert all(value[0] > 0 for value in shown.column('/timing/camera/network:Scalar'))


def test_infer_writes_what_rerun_shows(tmp_path, street, segmenter):
    answer = call('infer', f'{street}:/camera/image', '--out', tmp_path / 'out',
                  '--rerun', tmp_path / 'a.rrd', *OPTIONS)  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    shown = Shown(tmp_path / 'a.rrd')
    assert_shows_street(shown, street, segmenter)
    assert shown.stamps[0] == START


def test_labels_beside_images_are_no_images_of_a_camera(street):
    from pdl_ros.sources import open_source

    assert open_source(str(street)).name == '/camera/image'


def test_pictures_without_stamps_are_shown_at_the_rate_of_their_source(tmp_path):
    for number in range(2):
        cv2.imwrite(str(tmp_path / f'{number}.png'), SCENE.frame(number).image)
    call('infer', tmp_path, '--out', tmp_path / 'out', '--rerun', tmp_path / 'a.rrd', *OPTIONS)
    stamps = [
        int(np.datetime64(row['stamp'], 'ns').astype(int)) for row in Shown(tmp_path / 'a.rrd').rows
    ]
    assert stamps == [0, 10**8]


def test_bag_run_writes_what_rerun_shows_of_all_images_also_after_it_went_on(
    tmp_path, street, segmenter
):
    settings = RunSettings(
        weights='scene_tiny', device='cpu', engine='torch', precision='fp32', part_frames=2
    )
    run_bag(BagJob(street, tmp_path / 'out', settings), parts=[0], segmenter=segmenter)
    answer = call('bag', 'run', street, '-o', tmp_path / 'out', '--rerun', tmp_path / 'a.rrd',
                  '--part-frames', 2, *OPTIONS)  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert 'shows 3 images' in answer.stdout
    assert_shows_street(Shown(tmp_path / 'a.rrd'), street, segmenter)


def test_one_recording_is_shown_at_a_time(tmp_path, street):
    answer = call('bag', 'run', street, street, '-o', tmp_path / 'out', '--rerun',
                  tmp_path / 'a.rrd', *OPTIONS)  # fmt: skip
    assert (answer.returncode, '--rerun shows one recording' in answer.stderr) == (2, True)


@pytest.mark.parametrize('kind', ['dense', 'organised'])
def test_points_of_a_recording_are_shown_with_the_classes_of_their_pixels(
    tmp_path, segmenter, kind
):
    bag, out = record_depth(tmp_path / 'bag'), tmp_path / 'out'
    settings = RunSettings('scene_tiny', 'cpu', 'torch', 'fp32', points=kind, copy_inputs=True)
    run_bag(BagJob(bag, out, settings), segmenter=segmenter)
    assert write_rerun(bag, out, tmp_path / 'a.rrd') == 4
    shown = Shown(tmp_path / 'a.rrd')
    for number, (points, classes, layer) in enumerate(
        zip(
            shown.column('/camera_points:Position3D'),
            shown.column('/camera_points:ClassId'),
            read_all(out)['/panoptic_node/semantic/image'],
            strict=True,
        )
    ):
        seen = depth_of(number) > 0
        assert len(points) == seen.sum()
        assert [point[2] for point in points] == pytest.approx([1 + number / 10] * len(points))
        np.testing.assert_array_equal(classes, pixels(layer[1])[seen])
