"""Who has vision_msgs gets detections over real topics; they say what the instance image shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile

from pdl_ros.pipeline import Segmenter

from .harness import Harness, running
from .test_cameras import hear
from .test_topics import message_of, pixels_of

vision_msgs = pytest.importorskip(
    'vision_msgs.msg', reason='needs vision_msgs, which the ROS wheels lack', exc_type=ImportError
)
NAME = '/panoptic_node/detections'


@pytest.fixture
def node(parameters: dict[str, Any], tmp_path: Path, domain: int) -> Iterator[Harness]:
    """A node whose parameters keep ids over frames."""
    with running({**parameters, 'tracking': True}, tmp_path / 'log.txt', domain) as harness:
        yield harness


def test_detections_lie_around_the_things_of_the_instance_image(
    node: Harness, rgb: np.ndarray, segmenter: Segmenter
) -> None:
    node.listen('instance/image', 'instances')
    arrays = hear(node, NAME, vision_msgs.Detection2DArray)
    names = [c.name for c in segmenter.label_set.classes]
    for count in (1, 2):
        header = node.header('lens')
        outputs = node.send(message_of(rgb, 'rgb8', header))
        node.wait(lambda n=count: len(arrays) == n)
        array, ids = arrays[-1], pixels_of(outputs['instance/image'])
        assert array.header == header
        assert len(array.detections) == len(outputs['instances'].instances) > 3
        for detection, instance in zip(
            array.detections, outputs['instances'].instances, strict=True
        ):
            assert detection.header == header
            assert int(detection.id) == instance.track_id, 'the same thing in other frames'
            ys, xs = np.nonzero(ids == instance.id)
            center, size = detection.bbox.center.position, detection.bbox
            assert center.x - size.size_x / 2 == xs.min()
            assert center.y - size.size_y / 2 == ys.min()
            assert (size.size_x, size.size_y) == (np.ptp(xs) + 1, np.ptp(ys) + 1)
            (best,) = detection.results
            assert best.hypothesis.class_id == names[instance.class_id]
            assert best.hypothesis.score == pytest.approx(min(max(instance.score, 0), 1))


def test_a_late_subscriber_learns_the_names_of_the_semantic_image(
    node: Harness, segmenter: Segmenter
) -> None:
    kept: list[Any] = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    node.node.create_subscription(vision_msgs.LabelInfo, f'{NAME}/label_info', kept.append, latched)
    node.wait(lambda: bool(kept))
    found = {c.class_id: c.class_name for c in kept[0].class_map}
    expected = {i: c.name for i, c in enumerate(segmenter.label_set.classes)}
    assert found == {**expected, 255: 'UNLABELED'}
