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
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from pdl_ros.engines import EngineSettings
from pdl_ros.errors import PdlError, require
from pdl_ros.fusion import FusionSettings
from pdl_ros.node.input.geometry import FrameGeometry, parse_output_size
from pdl_ros.node.parameter_table import TABLE, Parameter

_ROWS = {row.name: row for row in TABLE}


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
            batch=max(len(self.cameras), 1) if self.batch_window_ms else 1,
        )

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
