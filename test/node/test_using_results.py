"""The Python code of docs/using_results.md does what the page says, on what the node makes."""

from __future__ import annotations

import re
from array import array
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from std_msgs.msg import Header

from pdl_ros.fusion import PanopticResult
from pdl_ros.messages.images import ImageWriter
from pdl_ros.messages.instances import instance_array, label_info
from pdl_ros.messages.point_cloud import POINT
from pdl_ros.node.output.ros_messages import ROS
from pdl_ros.pipeline import Segmenter

DOCS = Path(__file__).resolve().parents[2] / 'docs'
TEXT = (DOCS / 'using_results.md').read_text(encoding='utf-8')


@pytest.fixture(scope='module')
def result(segmenter: Segmenter) -> PanopticResult:
    """Dozens of instances."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (9, 13, 3), dtype=np.uint8)
    return segmenter(np.ascontiguousarray(coarse.repeat(11, 0).repeat(11, 1)))


def code(words: str) -> str:
    """Return the block of Python that has these words."""
    (block,) = [b for b in re.findall(r'```python\n(.*?)```', TEXT, re.DOTALL) if words in b]
    return block


def test_each_thing_is_cut_out_of_its_image_by_its_mask(segmenter, result):
    things = instance_array(ROS, result, segmenter.label_set, Header(), 'coco_rle')
    image = np.full((things.height, things.width, 3), 7, np.uint8)
    assert len(things.instances) > 5
    for thing in things.instances:
        only = SimpleNamespace(height=things.height, width=things.width, instances=[thing])
        names: dict[str, Any] = {'things': only, 'image': image}
        exec(code('mask_of'), names)
        assert names['crop'].shape == (thing.box.height, thing.box.width, 3)
        assert np.count_nonzero(names['crop'][..., 0]) == thing.area


def test_a_panoptic_image_is_taken_apart_by_label_info(segmenter, result):
    label_set = segmenter.label_set
    names: dict[str, Any] = {
        'message': ImageWriter(ROS, '16UC1').fill(result.panoptic.numpy(), Header()),
        'info': label_info(ROS, label_set, Header()),
    }
    exec(code('label_divisor'), names)
    rows = result.segments.rows()
    for row in rows:
        here = (names['class_id'] == row['class_id']) & (names['number'] == row['id'] % 1000)
        assert np.count_nonzero(here & ~names['void']) == row['area']
    assert np.count_nonzero(~names['void']) == sum(row['area'] for row in rows)
    road = [c.name for c in label_set.classes].index('road')
    assert np.count_nonzero(names['road']) == sum(
        row['area'] for row in rows if row['class_id'] == road
    )
    assert names['colors'].shape == (len(label_set.classes), 3)


def test_points_are_read_with_their_things():
    points = np.zeros(4, POINT)
    points['z'] = 5, 3, np.nan, 1
    points['instance_id'] = 2, 2, 2, 0
    cloud = SimpleNamespace(data=array('B', points.tobytes()))
    names: dict[str, Any] = {'cloud': cloud, 'np': np}
    exec(code('cloud.data'), names)
    assert names['nearest'] == {2: 3.0}


def test_what_needs_message_filters_is_python():
    compile(code('TimeSynchronizer'), 'using_results.md', 'exec')
