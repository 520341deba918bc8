"""Those who have vision_msgs get the things of a frame in it; those who have not do not notice."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from ament_index_python import get_package_share_directory
from std_msgs.msg import Header

from pdl_ros.errors import PdlError
from pdl_ros.fusion import PanopticResult, SegmentTable
from pdl_ros.labels import LabelClass, LabelSet
from pdl_ros.node.output.detections import detections, have_vision_msgs, vision_label_info

# The fields of vision_msgs 4 (Humble to Kilted) that are used, in the order of its message files.
DEFINITIONS = {
    'Point2D': 'float64 x\nfloat64 y',
    'Pose2D': 'vision_msgs/Point2D position\nfloat64 theta',
    'BoundingBox2D': 'vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y',
    'ObjectHypothesis': 'string class_id\nfloat64 score',
    'ObjectHypothesisWithPose': 'ObjectHypothesis hypothesis\n'
    'geometry_msgs/PoseWithCovariance pose',
    'Detection2D': 'std_msgs/Header header\nObjectHypothesisWithPose[] results\n'
    'BoundingBox2D bbox\nstring id',
    'Detection2DArray': 'std_msgs/Header header\nDetection2D[] detections',
    'VisionClass': 'uint16 class_id\nstring class_name',
    'LabelInfo': 'std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold',
}
LABELS = LabelSet(
    'street',
    (LabelClass('road', (1, 2, 3), False), LabelClass('car', (4, 5, 6), True),
     LabelClass('person', (7, 8, 9), True)),
)  # fmt: skip


@pytest.fixture(scope='module')
def vision_msgs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The installed vision_msgs, or its Python classes made by ROS's own generator (about 1 s)."""
    if have_vision_msgs():
        yield
        return
    folder = tmp_path_factory.mktemp('overlay')
    _generate(folder)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    yield
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.split('.')[0] == 'vision_msgs']:
        del sys.modules[name]


def _generate(folder: Path) -> None:
    pytest.importorskip('rosidl_adapter', reason='needs vision_msgs or the message generators')
    from rosidl_adapter.msg import convert_msg_to_idl
    from rosidl_cli.command.helpers import legacy_generator_arguments_file
    from rosidl_generator_py import generate_py

    source, idl = folder / 'source', folder / 'idl'
    (source / 'msg').mkdir(parents=True)
    files = []
    for name, definition in DEFINITIONS.items():
        path = Path('msg') / f'{name}.msg'
        (source / path).write_text(definition + '\n')
        made = convert_msg_to_idl(source, 'vision_msgs', path, idl / 'msg')
        files.append(f'{idl}:{made.relative_to(idl)}')
    templates = Path(get_package_share_directory('rosidl_generator_py')) / 'resource'
    with legacy_generator_arguments_file(
        package_name='vision_msgs',
        interface_files=files,
        include_paths=[],
        templates_path=templates,
        output_path=folder / 'vision_msgs',
    ) as arguments:
        generate_py(arguments, [])


@pytest.fixture
def result() -> PanopticResult:
    """Two cars, a person with an unbounded objectness, and the road."""
    table = SegmentTable(
        id=torch.tensor([1001, 1002, 2001, 0]),
        class_id=torch.tensor([1, 1, 2, 0]),
        is_thing=torch.tensor([True, True, True, False]),
        instance_id=torch.tensor([1, 2, 3, 0]),
        area=torch.tensor([12, 20, 1, 99]),
        score=torch.tensor([0.25, 0.75, 1.5, 0.0]),
        objectness=torch.tensor([0.5, 1.0, 2.0, 0.0]),
        class_score=torch.tensor([0.5, 0.75, 0.75, 0.0]),
        box=torch.tensor([[2, 3, 7, 9], [0, 0, 10, 2], [5, 5, 6, 6], [0, 0, 0, 0]]),
        center=torch.tensor([[4.0, 5.0], [5.0, 1.0], [5.0, 5.0], [0.0, 0.0]]),
    )
    labels = torch.zeros((10, 12), dtype=torch.int32)
    return PanopticResult(labels.to(torch.uint8), labels, labels, table)


@pytest.mark.usefixtures('vision_msgs')
def test_a_detection_says_which_class_it_is_how_sure_and_where(result: PanopticResult) -> None:
    header = Header(frame_id='camera')
    message = detections(result, LABELS, header)
    assert message.header == header
    found = [(d.results[0].hypothesis.class_id, d.results[0].hypothesis.score)
             for d in message.detections]  # fmt: skip
    assert found == [('person', 1.0), ('car', 0.75), ('car', 0.25)], 'best first, no stuff'
    for detection in message.detections:
        assert detection.header == header
        assert len(detection.results) == 1
        assert detection.id == '', 'a running number is no identity over time'
    boxes = [
        (box.center.position.x - box.size_x / 2, box.center.position.y - box.size_y / 2,
         box.size_x, box.size_y, box.center.theta)
        for box in (d.bbox for d in message.detections)
    ]  # fmt: skip
    assert boxes == [(5, 5, 1, 1, 0), (0, 0, 10, 2, 0), (2, 3, 5, 6, 0)]


@pytest.mark.usefixtures('vision_msgs')
def test_tracked_things_carry_their_identity(result: PanopticResult) -> None:
    message = detections(result, LABELS, Header(), tracked=True)
    assert [d.id for d in message.detections] == ['3', '2', '1']


@pytest.mark.usefixtures('vision_msgs')
def test_the_values_of_the_semantic_image_have_their_names(result: PanopticResult) -> None:
    message = vision_label_info(LABELS, Header(frame_id='camera'), 0.25)
    names = {c.class_id: c.class_name for c in message.class_map}
    assert names == {0: 'road', 1: 'car', 2: 'person', 255: 'UNLABELED'}
    assert (message.threshold, message.header.frame_id) == (0.25, 'camera')


def test_without_vision_msgs_the_node_is_told_in_one_sentence(
    result: PanopticResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'vision_msgs', None)  # import then fails as if not installed
    assert not have_vision_msgs()
    with pytest.raises(PdlError, match='vision_msgs is not installed; install'):
        detections(result, LABELS, Header())
