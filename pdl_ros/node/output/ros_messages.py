"""ROS's own message classes for what `pdl_ros.messages` makes."""

from __future__ import annotations

from array import array
from typing import Any

from sensor_msgs.msg import CompressedImage, Image, PointCloud2, PointField, RegionOfInterest

from pdl_ros.msg import FrameTiming, LabelInfo, PanopticInstance, PanopticInstanceArray, SegmentInfo

_CLASSES: dict[str, type] = {
    f'{cls.__module__.partition(".")[0]}/msg/{cls.__name__}': cls
    for cls in (
        CompressedImage,
        FrameTiming,
        Image,
        LabelInfo,
        PanopticInstance,
        PanopticInstanceArray,
        PointCloud2,
        PointField,
        RegionOfInterest,
        SegmentInfo,
    )
}


class RosMessages:
    """Messages that rclpy publishes."""

    def new(self, name: str, /, **fields: Any) -> Any:
        return _CLASSES[name](**fields)

    def octets(self, data: bytes) -> array[int]:
        """Return what rclpy sends as it is, while lists, arrays of NumPy and memoryviews are copied
        element by element.
        """
        return array('B', data)


ROS = RosMessages()
