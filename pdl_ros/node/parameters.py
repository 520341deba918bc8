"""The node's parameters: one table for declaration, description, validation and the
documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from pdl_ros.errors import PdlError, require
from pdl_ros.fusion import FusionSettings
from pdl_ros.node.geometry import FrameGeometry, parse_output_size

OUTPUTS = (
    'semantic',
    'instance',
    'panoptic',
    'overlay',
    'instances',
    'detections',
    'points',
    'timing',
)
"""What the node can publish of a frame."""


class Parameter(NamedTuple):
    """One row: the default gives the type; `limits` is (lowest, highest), `choices` what a string,
    or each of several, can be. `live`: a change takes effect on the next frame; the others need a
    new configure.
    """

    name: str
    default: Any
    description: str
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    live: bool = False


TABLE = (
    Parameter('variant', 'camvid_efficientnet_lite0', 'Model variant; see `pdl_ros variants`.'),
    Parameter('weights', '', 'Checkpoint file of the variant; empty: the weights shipped with it.'),
    Parameter('device', 'auto', 'auto (CUDA where there is one), cpu, cuda or cuda:N.'),
    Parameter('autostart', True, 'Configure and activate at the start, without a manager.'),
    Parameter(
        'cameras',
        [''],
        'Names of several cameras, each with topics under its name; none: one on `image`.',
    ),
    Parameter(
        'batch_window_ms',
        0.0,
        "Milliseconds that a frame waits for other cameras', to be segmented with them; 0: not.",
        (0.0, 1000.0),
    ),
    Parameter(
        'lazy',
        False,
        'Subscribe to the cameras only while somebody listens to what is made of them.',
    ),
    Parameter(
        'transport',
        'raw',
        'raw subscribes to `image`, compressed to `image/compressed` (JPEG or PNG).',
        choices=('raw', 'compressed'),
    ),
    Parameter(
        'image_qos',
        'sensor_data',
        'Reliability asked of the camera: sensor_data is best effort, auto is what it offers.',
        choices=('sensor_data', 'reliable', 'auto'),
    ),
    Parameter(
        'policy',
        'newest',
        'newest drops frames that a newer one overtakes; every_frame queues them, for bags.',
        choices=('newest', 'every_frame'),
    ),
    Parameter(
        'queue_size', 10, 'Frames that every_frame keeps waiting for each camera.', (1, 1000)
    ),
    Parameter('rotate', 0, 'Degrees by which frames are turned clockwise: 0, 90, 180 or 270.'),
    Parameter(
        'roi',
        [0, 0, 0, 0],
        'Part of the frame to segment: x, y, width, height in pixels; all 0: the whole.',
    ),
    Parameter(
        'output_size',
        'input',
        'Size of the label images: input (the frame, cropped and turned), network, or WxH.',
    ),
    Parameter(
        'points',
        'none',
        'Publish ~/points from the topic `depth`: one point a depth pixel, or only valid ones.',
        choices=('none', 'organised', 'dense'),
    ),
    Parameter(
        'max_frame_age',
        0.0,
        'Seconds after its stamp from which a frame is dropped unseen; 0: never.',
        (0.0, 3600.0),
        live=True,
    ),
    Parameter(
        'rate_limit',
        0.0,
        'Most frames a second of each camera; 0: as many as the device can.',
        (0.0, 1000.0),
        live=True,
    ),
    Parameter(
        'outputs',
        list(OUTPUTS),
        'What may be published; what is not named costs nothing even when subscribed.',
        choices=OUTPUTS,
        live=True,
    ),
    Parameter(
        'center_threshold',
        -1.0,
        "Heatmap value a centre must exceed; -1: the variant's own.",
        (-1.0, 10.0),
        live=True,
    ),
    Parameter(
        'nms_kernel',
        -1,
        "Odd window, in network pixels, in which a centre is the maximum; -1: the variant's own.",
        (-1, 255),
        live=True,
    ),
    Parameter(
        'top_k',
        -1,
        "Most centres in a frame; -1: the variant's own.",
        (-1, 65535),
        live=True,
    ),
    Parameter(
        'stuff_area',
        -1,
        "Fewest network pixels of a stuff class; fewer are void; -1: the variant's own.",
        (-1, 10_000_000),
        live=True,
    ),
    Parameter(
        'tracking',
        False,
        'Give things ids that last over frames: in ~/instance/image and ~/instances.',
        live=True,
    ),
    Parameter(
        'overlay_alpha',
        0.5,
        'Strength of the colours in the overlay: 0 shows only the camera.',
        (0.0, 1.0),
        live=True,
    ),
    Parameter(
        'mask_encoding',
        'coco_rle',
        'How ~/instances carries masks; none leaves them out.',
        choices=('coco_rle', 'bitmap', 'none'),
        live=True,
    ),
    Parameter(
        'panoptic_encoding',
        '16UC1',
        'Encoding of ~/panoptic/image; RViz and Foxglove cannot show 32SC1.',
        choices=('16UC1', '32SC1'),
    ),
    Parameter(
        'compressed_labels',
        False,
        'Publish the label images as PNG too: ~/panoptic/image/compressed and so on.',
    ),
    Parameter(
        'label_info_period', 5.0, 'Seconds between repetitions of ~/label_info.', (0.1, 3600.0)
    ),
)
_ROWS = {row.name: row for row in TABLE}


@dataclass(frozen=True)
class NodeSettings:
    """The values of the table, checked."""

    variant: str
    weights: str
    device: str
    autostart: bool
    cameras: tuple[str, ...]
    batch_window_ms: float
    lazy: bool
    transport: str
    image_qos: str
    policy: str
    queue_size: int
    rotate: int
    roi: tuple[int, ...]
    output_size: str
    points: str
    max_frame_age: float
    rate_limit: float
    outputs: tuple[str, ...]
    center_threshold: float
    nms_kernel: int
    top_k: int
    stuff_area: int
    tracking: bool
    overlay_alpha: float
    mask_encoding: str
    panoptic_encoding: str
    compressed_labels: bool
    label_info_period: float

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> NodeSettings:
        """Check values by name; a wrong one is a PdlError."""
        for name, value in values.items():
            row = _ROWS[name]
            given = value if isinstance(row.default, list) else [value]
            wrong = [v for v in given if row.choices and v not in row.choices]
            require(not wrong, f'Parameter {name} is {value!r}; {_expectation(row)}.')
        cameras = tuple(name for name in values['cameras'] if name)
        require(
            len(set(cameras)) == len(cameras),
            f'Parameter cameras names one twice: {", ".join(cameras)}.',
        )
        lists = {name: tuple(values[name]) for name in ('outputs', 'roi')}
        settings = cls(**{**values, **lists, 'cameras': cameras})
        parse_output_size(settings.output_size)
        geometry = settings.geometry()
        require(
            settings.points == 'none' or geometry == FrameGeometry(),
            'Parameter points needs the whole frame as it is, because depth images are not turned '
            'or cropped; set rotate to 0 and roi to zeros.',
        )
        return settings

    def geometry(self) -> FrameGeometry:
        """Return which part of a frame is segmented, and which way up."""
        return FrameGeometry(self.rotate, self.roi if any(self.roi) else None)  # type: ignore[arg-type]

    def fusion(self, variant_settings: FusionSettings) -> FusionSettings:
        """Return a variant's fusion settings with what the user set in their place."""
        names = {f.name for f in fields(FusionSettings)} & {f.name for f in fields(self)}
        return replace(
            variant_settings, **{n: getattr(self, n) for n in names if getattr(self, n) >= 0}
        )


class Parameters:
    """The table, declared on a node.

    A value of a wrong type or range that the node was started with is remembered and told by
    `read`, so that configure can fail with the sentence and be tried again.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._refused: dict[str, str] = {}
        for row in TABLE:
            try:
                node.declare_parameter(row.name, row.default, _descriptor(row))
            except (InvalidParameterValueException, InvalidParameterTypeException):
                given = node._parameter_overrides[row.name].value
                self._refused[row.name] = f'Parameter {row.name} is {given!r}; {_expectation(row)}.'
                if node.has_parameter(row.name):
                    node.undeclare_parameter(row.name)
                node.declare_parameter(
                    row.name, row.default, _descriptor(row), ignore_override=True
                )

    def read(self) -> NodeSettings:
        """Return all values; a wrong one is a PdlError."""
        for sentence in self._refused.values():
            raise PdlError(sentence)
        return NodeSettings.from_values(
            {name: self._node.get_parameter(name).value for name in _ROWS}
        )

    def check(
        self, changes: Iterable[RosParameter], configured: bool, fusion: FusionSettings | None
    ) -> tuple[SetParametersResult, NodeSettings | None]:
        """Say whether a change is possible now, all of it or none, and what it would lead to.

        `configured`: the node has read its parameters, so only live ones can change. `fusion`:
        the variant's own settings, that thresholds must suit.
        """
        changed = {p.name: p.value for p in changes if p.name in _ROWS}
        values = {name: self._node.get_parameter(name).value for name in _ROWS}
        fixed = [n for n in changed if not _ROWS[n].live and changed[n] != values[n]]
        if configured and fixed:
            reason = (
                f'{", ".join(fixed)} takes effect at configure: deactivate and clean the node up '
                'first (ros2 lifecycle set NODE deactivate, then cleanup).'
            )
            return SetParametersResult(successful=False, reason=reason), None
        try:
            settings = NodeSettings.from_values({**values, **changed})
            settings.fusion(fusion or FusionSettings())
        except PdlError as error:
            return SetParametersResult(successful=False, reason=str(error)), None
        for name in changed:
            self._refused.pop(name, None)
        return SetParametersResult(successful=True), settings


def _descriptor(row: Parameter) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(name=row.name, description=row.description)
    if row.limits and isinstance(row.default, float):
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=row.limits[0], to_value=row.limits[1])
        ]
    elif row.limits:
        descriptor.integer_range = [
            IntegerRange(from_value=int(row.limits[0]), to_value=int(row.limits[1]), step=1)
        ]
    constraints = [f'One of: {", ".join(row.choices)}.'] if row.choices else []
    if not row.live:
        constraints.append('Takes effect at configure.')
    descriptor.additional_constraints = ' '.join(constraints)
    return descriptor


def _expectation(row: Parameter) -> str:
    words = {bool: 'true or false', int: 'an integer', float: 'a number with a point', str: 'text'}
    several = isinstance(row.default, list)
    kind = words[type(row.default[0] if several else row.default)]
    if row.choices:
        return f'it can be {" or ".join(row.choices)}'
    limits = f' from {row.limits[0]} to {row.limits[1]}' if row.limits else ''
    return f'it must be {"a list, each " if several else ""}{kind}{limits}'
