"""Things as vision_msgs, for those who have that package installed."""

from __future__ import annotations

from typing import Any

from std_msgs.msg import Header

from pdl_ros.errors import PdlError
from pdl_ros.fusion import PanopticResult
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import SEMANTIC_VOID


def have_vision_msgs() -> bool:
    """Return whether vision_msgs can be imported."""
    try:
        import vision_msgs.msg  # noqa: F401
    except ImportError:
        return False
    return True


def detections(
    result: PanopticResult, label_set: LabelSet, header: Header, tracked: bool = False
) -> Any:
    """Return the things of a result on the host as a Detection2DArray, highest score first.

    A hypothesis names its class, as RViz's plugin for vision_msgs colours by name; the score is
    kept within 0..1. A box lies around its pixels: left and top are whole numbers, the offsets of
    the box in ~/instances. `id` stands for the same thing in other frames too, so it is filled
    (with the value in the instance image) only when instances are `tracked`. Raises PdlError
    without vision_msgs.
    """
    messages = _messages()
    array = messages.Detection2DArray(header=header)
    things = [row for row in result.segments.rows() if row['is_thing']]
    for row in sorted(things, key=lambda row: -row['score']):
        x0, y0, x1, y1 = row['box']
        detection = messages.Detection2D(header=header)
        detection.bbox.center.position.x = (x0 + x1) / 2
        detection.bbox.center.position.y = (y0 + y1) / 2
        detection.bbox.size_x, detection.bbox.size_y = float(x1 - x0), float(y1 - y0)
        detection.id = str(row['instance_id']) if tracked else ''
        best = messages.ObjectHypothesisWithPose()
        best.hypothesis.class_id = label_set.classes[row['class_id']].name
        best.hypothesis.score = min(max(row['score'], 0.0), 1.0)
        detection.results.append(best)
        array.detections.append(detection)
    return array


def vision_label_info(label_set: LabelSet, header: Header, threshold: float = 0.0) -> Any:
    """Return the names of the values of the semantic image as a vision_msgs/LabelInfo.

    threshold: the lowest score that is published, 0..1. Raises PdlError without vision_msgs.
    """
    messages = _messages()
    names = [(i, c.name) for i, c in enumerate(label_set.classes)]
    return messages.LabelInfo(
        header=header,
        class_map=[
            messages.VisionClass(class_id=value, class_name=name)
            for value, name in [*names, (SEMANTIC_VOID, 'UNLABELED')]
        ],
        threshold=threshold,
    )


def _messages() -> Any:
    if not have_vision_msgs():
        raise PdlError(
            'vision_msgs is not installed; install ros-$ROS_DISTRO-vision-msgs, or do without '
            '~/detections.'
        )
    from vision_msgs import msg

    return msg
