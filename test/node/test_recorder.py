"""A recording has every frame, also those that came before the node said what its labels mean."""

from __future__ import annotations

from typing import Any

import numpy as np
from rclpy.context import Context
from std_msgs.msg import Header

from pdl_ros.demo.recorder import Recorder
from pdl_ros.labels import LabelSet
from pdl_ros.messages.images import ImageWriter
from pdl_ros.messages.instances import label_info
from pdl_ros.msg import FrameTiming, PanopticInstanceArray
from pdl_ros.node.output.ros_messages import ROS


def test_frames_that_come_before_the_labels_are_recorded_once_they_are_known(
    context: Context,
) -> None:
    recorded: list[Any] = []
    recorder = Recorder(lambda frame, labels: recorded.append((frame, labels)), context=context)
    labels = LabelSet.load('camvid')
    for second in (1, 2, 3):
        header = Header()
        header.stamp.sec = second
        picture = np.full((4, 6, 3), second, np.uint8)
        recorder._keep('rgb', header, ImageWriter(ROS, 'rgb8').fill(picture, header))
        if second == 2:
            continue  # its results were lost
        recorder._keep('overlay', header, ImageWriter(ROS, 'rgb8').fill(picture, header))
        panoptic = np.full((4, 6), 1000 * second, np.uint16)
        recorder._keep('panoptic', header, ImageWriter(ROS, '16UC1').fill(panoptic, header))
        recorder._keep('timing', header, FrameTiming(header=header))
        recorder._keep('instances', header, PanopticInstanceArray(header=header))
        assert not recorder.answered, 'its labels are not known yet'
    assert not recorded
    recorder._keep_labels(label_info(ROS, labels, Header()))
    assert [frame.panoptic[0, 0] for frame, _ in recorded] == [1000, 3000]
    assert {found.name for _, found in recorded} == {'camvid'}
    assert recorder.inputs == 3
    assert recorder.answered
    assert not recorder.ready, 'the outputs of no node are there'
    header.stamp.sec = 4
    recorder._keep('rgb', header, ImageWriter(ROS, 'rgb8').fill(picture, header))
    assert not recorder.answered
    recorder.destroy_node()
