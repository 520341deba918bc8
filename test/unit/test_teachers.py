"""Teachers run from files of every kind, and say where things are in their pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from pdl_ros.datasets.layouts import open_source
from pdl_ros.errors import PdlError
from pdl_ros.imaging.files import read_rgb
from pdl_ros.labels import LabelSet
from pdl_ros.teachers.boxes import BoxTeacher
from pdl_ros.teachers.description import TeacherDescription
from pdl_ros.teachers.network import Teacher
from pdl_ros.teachers.semantic import SemanticTeacher

from ..conftest import SHARED
from .teacher_networks import SIZE, ByColour, Rows, describe, save_onnx, save_torchscript

pytest.importorskip('openvino')
pytest.importorskip('onnx')
STREET = LabelSet.load('street')
NAMES = ['sky', 'road', 'car', 'bus', 'lamp']
COLORS = [(90, 160, 230), (80, 80, 80), (220, 20, 20), (250, 250, 250), (0, 250, 0)]
BECOMES = {'bus': ['large vehicle']}
SKY, ROAD, CAR = (next(i for i, c in enumerate(STREET.classes) if c.name == n) for n in NAMES[:3])
LARGE = next(i for i, c in enumerate(STREET.classes) if c.name == 'large vehicle')


@pytest.fixture(scope='module')
def torchscript(tmp_path_factory):
    file = tmp_path_factory.mktemp('teacher') / 'colours.pt'
    return describe(save_torchscript(ByColour(COLORS), file), classes=NAMES, becomes=BECOMES)


def opened(file):
    return Teacher(file, TeacherDescription.find(file))


def street(height: int, width: int) -> np.ndarray:
    """Sky over road, with a red car at the left and something green, which is no class, at the
    right.
    """
    picture = np.empty((height, width, 3), np.uint8)
    picture[: height // 2], picture[height // 2 :] = COLORS[0], COLORS[1]
    picture[height // 2 :, : width // 4] = COLORS[2]
    picture[height // 2 :, -width // 4 :] = COLORS[4]
    return picture


@pytest.mark.parametrize('size', [SIZE, (64, 40), (30, 96), (480, 640), (37, 51)])
def test_a_picture_of_any_size_gets_each_class_where_its_pixels_are(torchscript, size):
    teacher = SemanticTeacher(opened(torchscript), STREET)
    found = teacher(street(*size))
    assert found.shape == (STREET.num_classes, *size)
    assert found.dtype == np.float32
    height, width = size
    probes = {
        SKY: found[:, height // 4, width // 2],
        ROAD: found[:, height * 3 // 4, width // 2],
        CAR: found[:, height * 3 // 4, width // 10],
    }
    for class_id, probabilities in probes.items():
        assert probabilities.argmax() == class_id
        assert probabilities[class_id] > 0.9
    nothing = found[:, height * 3 // 4, width - width // 10]
    assert nothing.sum() < 0.1  # a lamp has no class here


def test_the_mirror_image_counts_as_much(torchscript):
    teacher = SemanticTeacher(opened(torchscript), STREET)
    picture = street(64, 96)
    mirrored = teacher(np.ascontiguousarray(picture[:, ::-1]))[..., ::-1]
    np.testing.assert_allclose(teacher(picture), mirrored, atol=1e-5)


def test_classes_that_the_label_set_merges_are_summed(torchscript):
    camvid_like = LabelSet.from_dict(
        {
            'name': 'merged',
            'classes': [
                {'name': 'vehicle', 'color': [1, 1, 1], 'thing': True, 'from': ['car', 'bus']},
                {'name': 'road', 'color': [2, 2, 2], 'thing': False},
            ],
        }
    )
    between = np.full((64, 96, 3), (235, 135, 135), np.uint8)  # half a car, half a bus
    found = SemanticTeacher(opened(torchscript), camvid_like)(between)[0]
    assert found.min() > 0.95


def test_torchscript_and_onnx_of_one_network_say_the_same(torchscript, tmp_path):
    onnx = describe(
        save_onnx(ByColour(COLORS), tmp_path / 'same.onnx'), classes=NAMES, becomes=BECOMES
    )
    picture = street(100, 150)
    by_torch, by_onnx = (SemanticTeacher(opened(f), STREET)(picture) for f in (torchscript, onnx))
    np.testing.assert_allclose(by_torch, by_onnx, atol=1e-4)


def test_pictures_are_given_as_the_description_says(tmp_path):
    # A network of the colours in BGR, 0..255, less a mean, says what the one in RGB says.
    bgr = [tuple((v - 10) / 2 for v in reversed(color)) for color in COLORS]
    network = ByColour([(b * 255, g * 255, r * 255) for b, g, r in bgr], 200 / 255**2 * 4)
    file = describe(
        save_torchscript(network, tmp_path / 'bgr.pt'),
        classes=NAMES,
        order='bgr',
        range=255,
        mean=[10, 10, 10],
        std=[2, 2, 2],
    )
    found = SemanticTeacher(opened(file), STREET)(street(64, 96))
    assert found[CAR, 50, 10] > 0.9
    assert found[SKY, 10, 50] > 0.9


def test_rows_of_yolox_become_boxes_in_the_pixels_of_the_picture(tmp_path):
    classes = ['person', 'car', 'truck', 'cup']
    rows = torch.full((8 * 12 + 4 * 6 + 2 * 3, 5 + len(classes)), -9.0)
    rows[:, 4:] = 0
    # Cell (x 3, y 2) of stride 16: a car around (60, 40), 32 wide and 16 high.
    rows[8 * 12 + 2 * 6 + 3] = torch.tensor([0.75, 0.5, np.log(2), 0.0, 1.0, 0.0, 0.9, 0.0, 0.0])
    # Its neighbour sees the same with less certainty; a cup is nothing on a street.
    rows[8 * 12 + 2 * 6 + 4] = torch.tensor([-0.25, 0.5, np.log(2), 0.0, 1, 0, 0.5, 0, 0])
    rows[0] = torch.tensor([0.5, 0.5, 0, 0, 1, 0, 0, 0, 0.9])
    # Twice the size of the input, and any part of it is another picture.
    picture = np.random.default_rng(0).integers(0, 256, (128, 192, 3)).astype(np.uint8)
    shown = cv2.resize(picture, SIZE[::-1], interpolation=cv2.INTER_AREA)
    file = describe(
        save_onnx(Rows(rows, shown), tmp_path / 'rows.onnx'),
        kind='boxes',
        classes=classes,
        becomes={'person': ['person|rider'], 'truck': ['large vehicle']},
    )
    teacher = BoxTeacher(opened(file), STREET)
    (box,) = teacher(picture)
    np.testing.assert_allclose(box[:4], (88, 64, 152, 96), atol=1e-3)
    assert box.class_ids == (CAR,)
    assert box.score == pytest.approx(0.9)


@pytest.fixture
def teachers():
    folder = SHARED / 'data' / 'street' / 'teachers'
    if not folder.is_dir():
        pytest.skip('needs the data that is not shipped with the project (teachers)')
    return folder


def test_the_shipped_box_teacher_finds_large_people_and_cars(teachers):
    teacher = BoxTeacher(opened(teachers / 'yolox_nano_416.onnx'), STREET)
    source = open_source(SHARED / 'data' / 'street' / 'coco_mini', '')
    wanted = {c.id: c.name for c in source.classes if c.name in ('person', 'car')}
    found = total = 0
    for index in range(0, len(source.names), 24):
        rgb = read_rgb(source.image(index))
        labels = source.read(index, rgb.shape[:2])
        boxes = teacher(rgb)
        for segment in labels.segments:
            mask = labels.values == segment.value
            if segment.is_crowd or segment.class_id not in wanted or mask.sum() < 96**2:
                continue
            x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
            truth = (x, y, x + width, y + height)
            total += 1
            found += any(_iou(truth, box[:4]) > 0.5 for box in boxes)
    assert total >= 8
    assert found >= 0.7 * total


def test_the_shipped_semantic_teacher_knows_the_streets_of_camvid(teachers, camvid):
    teacher = SemanticTeacher(
        opened(teachers / 'espnetv2_cityscapes_640x480.pt'), LabelSet.load('camvid')
    )
    source = open_source(camvid, 'val')
    labels = source.read(0, (360, 480)).values // 1000
    probabilities = teacher(read_rgb(source.image(0)))
    sure = (probabilities.max(0) >= 0.8) & (labels < 60)
    assert sure.mean() > 0.6
    assert (probabilities.argmax(0) == labels)[sure].mean() > 0.9


def _iou(a, b) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    areas = sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
    return both / (areas - both)


def test_a_file_that_is_no_network_is_one_sentence(tmp_path):
    for name, content in (('a.onnx', b'\x08\x07no'), ('b.pt', b'PK\x03\x04no'), ('c.xml', b'<net')):
        file = describe(tmp_path / name, classes=NAMES)
        file.write_bytes(content)
        with pytest.raises(PdlError, match='does not run') as told:
            opened(file)
        assert str(told.value).count('\n') == 0


def test_a_pickle_is_never_loaded(tmp_path):
    file = describe(tmp_path / 'a.pt', classes=NAMES)
    torch.save({'weights': torch.zeros(3)}, file)
    with pytest.raises(PdlError, match='does not run'):
        opened(file)


def test_a_description_of_another_network_is_refused(torchscript, tmp_path):
    d = TeacherDescription.find(torchscript)
    for kind, teacher in (('semantic', SemanticTeacher), ('boxes', BoxTeacher)):
        wrong = TeacherDescription('wrong', kind, d.size, ('sky', 'road'))
        with pytest.raises(PdlError, match='gives'):
            teacher(Teacher(torchscript, wrong), STREET)
    with pytest.raises(PdlError, match='no box teacher'):
        BoxTeacher(opened(torchscript), STREET)
    boxes = TeacherDescription('wrong', 'boxes', d.size, ('sky', 'road'))
    with pytest.raises(PdlError, match='no semantic teacher'):
        SemanticTeacher(Teacher(torchscript, boxes), STREET)
    with pytest.raises(PdlError, match='no teacher by its name'):
        opened(describe(tmp_path / 'a.tflite', classes=NAMES))
    with pytest.raises(PdlError, match='No file'):
        opened(describe(tmp_path / 'a.onnx', classes=NAMES))
