"""The node's parameters: declared from their table, read, checked and changed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    InvalidTopicNameException,
)
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter
from rclpy.validate_topic_name import validate_topic_name

from pdl_ros.engines import EngineSettings
from pdl_ros.errors import PdlError, require
from pdl_ros.fusion import FusionSettings
from pdl_ros.node.input.geometry import FrameGeometry, parse_output_size
from pdl_ros.node.parameter_table import TABLE, Parameter
from pdl_ros.node.rclpy_compat import overrides

_ROWS = {row.name: row for row in TABLE}
_QOS = {
    'reliability': ('reliable', 'best_effort', 'best_available', 'system_default'),
    'history': ('keep_last', 'keep_all', 'system_default'),
}


@dataclass(frozen=True)
class NodeSettings:
    """The values of the table, checked."""

    variant: str
    weights: str
    device: str
    engine: str
    precision: str
    engine_fallback: bool
    engine_background: bool
    warm_up_size: str
    autostart: bool
    bond_heartbeat_period: float
    on_engine_failure: str
    engine_timeout: float
    cameras: tuple[str, ...]
    batch_window_ms: float
    lazy: bool
    transport: str
    max_image_pixels: int
    image_qos: str
    policy: str
    queue_size: int
    rotate: int
    roi: tuple[int, ...]
    output_size: str
    points: str
    depth_wait_ms: float
    max_frame_age: float
    rate_limit: float
    outputs: tuple[str, ...]
    center_threshold: float
    nms_kernel: int
    top_k: int
    stuff_area: int
    without_center: str
    outvoted_area: int
    score_threshold: float
    doubtful_area: int
    smoothing: bool
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
            # ROS has no empty list of texts; [''] stands for it.
            given = [v for v in value if v] if isinstance(row.default, list) else [value]
            wrong = [v for v in given if row.choices and v not in row.choices]
            require(not wrong, f'Parameter {name} is {value!r}; {_expectation(row)}.')
        cameras = tuple(name for name in values['cameras'] if name)
        require(
            len(set(cameras)) == len(cameras),
            f'Parameter cameras names one twice: {", ".join(cameras)}.',
        )
        for name in cameras:
            _check_topics(name)
        outputs = tuple(name for name in values['outputs'] if name)
        lists = {'cameras': cameras, 'outputs': outputs, 'roi': tuple(values['roi'])}
        settings = cls(**{**values, **lists})
        parse_output_size(settings.output_size)
        settings.expected_size()
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

    def expected_size(self) -> tuple[int, int]:
        """Return the (height, width) of the frames that are expected."""
        with contextlib.suppress(PdlError):
            size = parse_output_size(self.warm_up_size)
            if not isinstance(size, str):
                return size
        raise PdlError(
            f'Parameter warm_up_size is {self.warm_up_size!r}; it must be WxH, such as 640x480.'
        )

    def engines(self) -> EngineSettings:
        """Return how the network is to be executed."""
        return EngineSettings(
            self.engine,
            self.precision,
            fallback=self.engine_fallback,
            background=self.engine_background,
            frame_size=self.expected_size(),
            batch=max(len(self.cameras), 1) if self.batch_window_ms else 1,
        )

    def fusion(self, variant_settings: FusionSettings) -> FusionSettings:
        """Return a variant's fusion settings with what the user set in their place."""
        names = {f.name for f in fields(FusionSettings)} & {f.name for f in fields(self)}
        values = {name: getattr(self, name) for name in names}
        own = {
            n for n, v in values.items() if v == 'variant' or (isinstance(v, float | int) and v < 0)
        }
        return replace(variant_settings, **{n: v for n, v in values.items() if n not in own})


class Parameters:
    """The table, declared on a node.

    A value of a wrong type or range that the node was started with is told by `read`, so that
    configure can fail with the sentence and be tried again, once the parameter is set.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._refused: dict[str, tuple[str, RosParameter]] = {}
        given = overrides(node)
        for row in TABLE:
            if row.name in given and given[row.name] in (None, []):
                # An empty list: ROS does not know whether of texts or of numbers.
                texts = isinstance(row.default, list) and isinstance(row.default[0], str)
                self._declare(row, [''] if texts else row.default, ignore_override=True)
                continue
            try:
                self._declare(row, row.default)
            except (InvalidParameterValueException, InvalidParameterTypeException):
                wrong = f'Parameter {row.name} is {given[row.name]!r}; {_expectation(row)}.'
                if node.has_parameter(row.name):
                    node.undeclare_parameter(row.name)
                self._refused[row.name] = (
                    wrong,
                    self._declare(row, row.default, ignore_override=True),
                )

    def _declare(
        self, row: Parameter, default: Any, *, ignore_override: bool = False
    ) -> RosParameter:
        return self._node.declare_parameter(
            row.name, default, _descriptor(row), ignore_override=ignore_override
        )

    def read(self) -> NodeSettings:
        """Return all values; a wrong one is a PdlError."""
        for name, (sentence, wrong) in self._refused.items():
            if self._node.get_parameter(name) is wrong:  # it has not been set since
                raise PdlError(sentence)
        return NodeSettings.from_values(self._values())

    def check_start(self) -> None:
        """Raise PdlError for a QoS override, given at the start, that no endpoint can have."""
        for name, value in overrides(self._node).items():
            policy = name.rpartition('.')[2]
            if not name.startswith('qos_overrides.'):
                continue
            require(
                value in _QOS.get(policy, (value,)),
                f'Parameter {name} is {value!r}; it can be {" or ".join(_QOS.get(policy, ()))}. '
                'Start the node again with one of these.',
            )
            require(
                policy != 'depth' or (isinstance(value, int) and 0 <= value < 2**31),
                f'Parameter {name} is {value!r}; it must be an integer from 0. '
                'Start the node again with one.',
            )

    def check(
        self, changes: Iterable[RosParameter], configured: bool, fusion: FusionSettings | None
    ) -> SetParametersResult:
        """Say whether a change is possible now, all of it or none; change nothing.

        `configured`: the node has read its parameters, so only live ones can change. `fusion`:
        the variant's own settings, that thresholds must suit.
        """
        changed = {p.name: p.value for p in changes if p.name in _ROWS}
        values = self._values()
        fixed = [n for n in changed if not _ROWS[n].live and changed[n] != values[n]]
        reason = ''
        if configured and fixed:
            reason = (
                f'{", ".join(fixed)} takes effect at configure: deactivate and clean the node up '
                'first (ros2 lifecycle set NODE deactivate, then cleanup).'
            )
        else:
            try:
                settings = NodeSettings.from_values({**values, **changed})
                settings.fusion(fusion or FusionSettings())
            except PdlError as error:
                reason = str(error)
        return SetParametersResult(successful=not reason, reason=reason)

    def _values(self) -> dict[str, Any]:
        return {name: self._node.get_parameter(name).value for name in _ROWS}


def changed_at_configure(old: NodeSettings, new: NodeSettings) -> list[str]:
    """Return the parameters that are not live and differ."""
    return [r.name for r in TABLE if not r.live and getattr(old, r.name) != getattr(new, r.name)]


def _check_topics(camera: str) -> None:
    """Raise PdlError for a name under which there can be no topics."""
    try:
        for topic in (f'{camera}/image', f'~/{camera}/image'):
            validate_topic_name(topic)
    except InvalidTopicNameException:
        raise PdlError(
            f'Parameter cameras names {camera!r}, which cannot be part of a topic; use letters, '
            'digits and _, and begin with a letter.'
        ) from None


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
