"""The topics of a result, with the node's names, types and QoS."""

from __future__ import annotations

from pdl_ros.bags.metadata import WrittenTopic
from pdl_ros.bags.plan import Plan
from pdl_ros.bags.qos import LATCHED, RELIABLE, OfferedQos
from pdl_ros.bags.run_settings import NODE
from pdl_ros.bags.storage import Topic
from pdl_ros.bags.types import Definition, definition, typestore
from pdl_ros.bags.video_types import OTHER_NAMES
from pdl_ros.messages.frame_messages import LABELS


class ResultTopics:
    """The topics of a result, numbered as in its files, by camera and output."""

    def __init__(self, plan: Plan) -> None:
        self.topics: list[WrittenTopic] = []
        self._numbers: dict[tuple[int, str], int] = {}
        settings = plan.settings
        if len(plan.cameras) > 1:
            self._add(-1, 'label_info', f'{NODE}/label_info', 'pdl_ros/msg/LabelInfo', LATCHED)
        for number, camera in enumerate(plan.cameras):
            prefix = f'{NODE}/{camera.name}' if camera.name else NODE
            for output, (name, kind) in self._outputs(plan, bool(camera.infos)).items():
                qos = LATCHED if output == 'label_info' else RELIABLE
                self._add(number, output, f'{prefix}/{name}', kind, qos)
            beside = (*camera.infos, *(camera.depths if settings.points != 'none' else ()))
            for part in (*camera.parts, *beside) if settings.copy_inputs else ():
                self._numbers[number, f'input {part.name}'] = self._copied(part)

    def number(self, camera: int, output: str) -> int | None:
        """Return the number of a topic; None where that is not written."""
        return self._numbers.get((camera, output))

    def _outputs(self, plan: Plan, calibrated: bool) -> dict[str, tuple[str, str]]:
        """Return name and type of the topics of a camera by output."""
        settings, png = plan.settings, plan.settings.labels == 'png'
        outputs = {'label_info': ('label_info', 'pdl_ros/msg/LabelInfo')}
        for name in LABELS:
            if png:
                topic = f'{name}/image/compressed', 'sensor_msgs/msg/CompressedImage'
                outputs[f'{name}/compressed'] = topic
            else:
                outputs[name] = f'{name}/image', 'sensor_msgs/msg/Image'
        outputs['instances'] = 'instances', 'pdl_ros/msg/PanopticInstanceArray'
        if calibrated:
            outputs['camera_info'] = 'semantic/camera_info', 'sensor_msgs/msg/CameraInfo'
        if settings.overlay:
            outputs['overlay'] = 'overlay/image', 'sensor_msgs/msg/Image'
        if settings.points != 'none':
            outputs['points'] = 'points', 'sensor_msgs/msg/PointCloud2'
        if settings.timing:
            outputs['timing'] = 'timing', 'pdl_ros/msg/FrameTiming'
        return outputs

    def _add(self, camera: int, output: str, name: str, kind: str, qos: OfferedQos) -> None:
        self._numbers[camera, output] = len(self.topics)
        self.topics.append(WrittenTopic(name, kind, definition(kind), (qos,)))

    def _copied(self, part: Topic) -> int:
        """Add a topic of the recording itself, and return its number."""
        kind = OTHER_NAMES.get(part.type, part.type)
        known = kind in typestore().fielddefs
        described = definition(kind) if known else Definition(part.definition)
        topic = WrittenTopic(part.name, kind, described)
        if topic not in self.topics:
            self.topics.append(topic)
        return self.topics.index(topic)
