"""The node's parameters: one table for declaration, description, validation and the
documentation.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

from pdl_ros.errors import PdlError
from pdl_ros.fusion import FusionSettings


class Parameter(NamedTuple):
    """One row: the default gives the type; `limits` is (lowest, highest), `choices` what a string
    can be.
    """

    name: str
    default: Any
    description: str
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()


TABLE = (
    Parameter('variant', 'camvid_efficientnet_lite0', 'Model variant; see `pdl_ros variants`.'),
    Parameter('weights', '', 'Checkpoint file of the variant; empty: the weights shipped with it.'),
    Parameter('device', 'auto', 'auto (CUDA where there is one), cpu, cuda or cuda:N.'),
    Parameter(
        'image_qos',
        'sensor_data',
        'Reliability asked of the camera: sensor_data is best effort.',
        choices=('sensor_data', 'reliable'),
    ),
    Parameter(
        'center_threshold',
        -1.0,
        "Heatmap value a centre must exceed; -1: the variant's own.",
        (-1.0, 10.0),
    ),
    Parameter(
        'nms_kernel',
        -1,
        "Odd window, in network pixels, in which a centre is the maximum; -1: the variant's own.",
        (-1, 255),
    ),
    Parameter('top_k', -1, "Most centres in a frame; -1: the variant's own.", (-1, 65535)),
    Parameter(
        'stuff_area',
        -1,
        "Fewest network pixels of a stuff class; fewer are void; -1: the variant's own.",
        (-1, 10_000_000),
    ),
    Parameter(
        'overlay_alpha',
        0.5,
        'Strength of the colours in the overlay: 0 shows only the camera.',
        (0.0, 1.0),
    ),
    Parameter(
        'mask_encoding',
        'coco_rle',
        'How ~/instances carries masks; none leaves them out.',
        choices=('coco_rle', 'bitmap', 'none'),
    ),
    Parameter(
        'label_info_period', 5.0, 'Seconds between repetitions of ~/label_info.', (0.1, 3600.0)
    ),
)


@dataclass(frozen=True)
class NodeSettings:
    """The values of the table, checked."""

    variant: str
    weights: str
    device: str
    image_qos: str
    center_threshold: float
    nms_kernel: int
    top_k: int
    stuff_area: int
    overlay_alpha: float
    mask_encoding: str
    label_info_period: float

    def fusion(self, variant_settings: FusionSettings) -> FusionSettings:
        """Return a variant's fusion settings with what the user set in their place."""
        names = {f.name for f in fields(FusionSettings)} & {f.name for f in fields(self)}
        return replace(
            variant_settings, **{n: getattr(self, n) for n in names if getattr(self, n) >= 0}
        )


def declare(node: Node) -> NodeSettings:
    """Declare all parameters on a node and return their values; a wrong one is a PdlError."""
    values = {}
    for row in TABLE:
        try:
            values[row.name] = node.declare_parameter(row.name, row.default, _descriptor(row)).value
        except (InvalidParameterValueException, InvalidParameterTypeException):
            given = node._parameter_overrides[row.name].value
            raise PdlError(f'Parameter {row.name} is {given!r}; {_expectation(row)}.') from None
        if row.choices and values[row.name] not in row.choices:
            raise PdlError(f'Parameter {row.name} is {values[row.name]!r}; {_expectation(row)}.')
    return NodeSettings(**values)


def _descriptor(row: Parameter) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(name=row.name, description=row.description, read_only=True)
    if row.limits and isinstance(row.default, float):
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=row.limits[0], to_value=row.limits[1])
        ]
    elif row.limits:
        descriptor.integer_range = [
            IntegerRange(from_value=int(row.limits[0]), to_value=int(row.limits[1]), step=1)
        ]
    if row.choices:
        descriptor.additional_constraints = f'One of: {", ".join(row.choices)}.'
    return descriptor


def _expectation(row: Parameter) -> str:
    kind = {bool: 'true or false', int: 'an integer', float: 'a number with a point', str: 'text'}[
        type(row.default)
    ]
    if row.choices:
        return f'it can be {" or ".join(row.choices)}'
    return f'it must be {kind}' + (
        f' from {row.limits[0]} to {row.limits[1]}' if row.limits else ''
    )
