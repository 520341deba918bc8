"""Depth images with labels as a point cloud (REP 118 in, PointCloud2 out)."""

from __future__ import annotations

import sys
from array import array
from typing import Any

import cv2
import numpy as np

from pdl_ros.errors import PdlError
from pdl_ros.imaging.camera_model import image_size, rays
from pdl_ros.imaging.encodings import Plane
from pdl_ros.imaging.raw import RawImage, planes_of
from pdl_ros.messages.message_factory import MessageFactory

# 20 bytes a point, every field on a multiple of its size, little-endian on every machine. `rgb` is
# 0x00RRGGBB in the bits of a float32, as PCL and RViz expect it under that name.
POINT = np.dtype(
    [
        ('x', '<f4'),
        ('y', '<f4'),
        ('z', '<f4'),
        ('rgb', '<u4'),
        ('class_id', '<u2'),
        ('instance_id', '<u2'),
    ]
)
_UINT16, _FLOAT32 = 4, 7  # of sensor_msgs/PointField
_TYPES = {'class_id': _UINT16, 'instance_id': _UINT16}
# Bytes a pixel, type and metres a unit. OpenNI drivers call their millimetres mono16.
_DEPTHS = {'32FC1': (4, 'f4', 1.0), '16UC1': (2, 'u2', 0.001), 'mono16': (2, 'u2', 0.001)}


class CloudWriter:
    """Fill the point clouds of one topic, which are one message filled again and again.

    organised: one point a depth pixel, NaN where there is no depth. Otherwise only the points that
    exist, in rows from the top left. As with `ImageWriter`, a message is valid until the next one
    is made.
    """

    def __init__(self, factory: MessageFactory, organised: bool) -> None:
        self.organised, self._factory = organised, factory
        self._grid = np.empty((0, 0), POINT)
        self._calibration: tuple[Any, ...] = ()
        self._lens: tuple[np.ndarray, np.ndarray]
        names, offsets = ('x', 'y', 'z', 'rgb', *_TYPES), (0, 4, 8, 12, 16, 18)
        self._message = factory.new(
            'sensor_msgs/msg/PointCloud2',
            fields=[
                factory.new(
                    'sensor_msgs/msg/PointField',
                    name=name,
                    offset=offset,
                    datatype=_TYPES.get(name, _FLOAT32),
                    count=1,
                )
                for name, offset in zip(names, offsets, strict=True)
            ],
            is_bigendian=False,
            point_step=POINT.itemsize,
            data=factory.octets(b''),
        )

    def fill(
        self,
        depth: RawImage,
        info: Any,
        rgb: np.ndarray,
        class_ids: np.ndarray,
        instance_ids: np.ndarray,
        header: Any,
    ) -> Any:
        """Return the points of a depth image in its optical frame: x right, y down, z forward.

        depth: 32FC1 in metres or 16UC1 in millimetres, along the optical axis; rectified, or where
        info `is_rectified` not, as its lens sees it. Zero, negative, infinite and NaN mean no
        depth. info: its own camera_info, at its size. rgb: (H, W, 3) uint8. class_ids and
        instance_ids: (H, W), each 0..65535. These show the same view as the depth image, each at
        any size: a point takes the nearest pixel. header: that of the depth image. Raises PdlError
        when the depth image cannot be read, or has another size than info says.
        """
        z = depth_of(depth)
        shape = z.shape
        if image_size(info) != shape:
            height, width = image_size(info)
            raise PdlError(
                f'The depth image is {shape[1]}x{shape[0]}, but its camera_info is of '
                f'{width}x{height}; remap depth and its camera_info to the same camera.'
            )
        across, down = self._rays(info)
        valid = np.isfinite(z) & (z > 0) & np.isfinite(across) & np.isfinite(down)
        count = z.size if self.organised else int(np.count_nonzero(valid))
        points = self._points(count)
        if self.organised:
            np.copyto(z, np.nan, where=~valid)
            grid = points.reshape(shape)
        else:
            if self._grid.shape != shape:
                self._grid = np.empty(shape, POINT)
            grid = self._grid
        np.multiply(z, across, out=grid['x'])
        np.multiply(z, down, out=grid['y'])
        grid['z'] = z
        grid['rgb'] = _packed(_nearest(rgb, shape))
        grid['class_id'] = _nearest(class_ids, shape)
        grid['instance_id'] = _nearest(instance_ids, shape)
        if not self.organised:
            # `clip` only because `raise` would copy everything once more.
            np.take(grid.ravel(), np.flatnonzero(valid), out=points, mode='clip')
        message = self._message
        message.header = header
        message.height, message.width = shape if self.organised else (1, count)
        message.row_step = POINT.itemsize * message.width
        message.is_dense = not self.organised or bool(valid.all())
        return message

    def _rays(self, info: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the rays of a calibration, anew only when it has changed (a lens takes 0.2 s)."""
        fields = (info.height, info.width, info.binning_x, info.binning_y, info.distortion_model)
        roi = info.roi
        key = (
            *fields,
            roi.x_offset,
            roi.y_offset,
            roi.height,
            roi.width,
            *info.d,
            *info.k,
            *info.p,
        )
        if self._calibration != key:
            self._lens, self._calibration = rays(info), key
        return self._lens

    def _points(self, count: int) -> np.ndarray:
        """Return so many points as a view of the message's data, which keeps the memory it has."""
        data, size = self._message.data, count * POINT.itemsize
        try:
            if not isinstance(data, array):
                raise BufferError
            if len(data) > size:
                del data[size:]
            else:
                data.frombytes(bytes(size - len(data)))
        except BufferError:  # somebody still looks at the points of the last message
            self._message.data = self._factory.octets(bytes(size))
        return np.frombuffer(self._message.data, POINT)


def depth_of(message: RawImage) -> np.ndarray:
    """Return a depth image as (H, W) float32 metres of its own memory, as it is: REP 117 says what
    the special values mean. Raises PdlError when it is no depth image or its sizes contradict.
    """
    if message.encoding not in _DEPTHS:
        raise PdlError(
            f'Depth of encoding {message.encoding[:40]!r} is not supported; it can be 32FC1 in '
            'metres or 16UC1 in millimetres.'
        )
    size, kind, unit = _DEPTHS[message.encoding]
    (plane,) = planes_of(message, [Plane(size)])
    values = plane.view(('>' if message.is_bigendian else '<') + kind)[..., 0]
    return np.multiply(values, unit, dtype=np.float32)


def _nearest(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return (H, W, ...) pixels on a grid of another (height, width) over the same view."""
    if pixels.shape[:2] == shape:
        return pixels
    height, width = shape
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def _packed(rgb: np.ndarray) -> np.ndarray:
    """Return (H, W) uint32 0x00RRGGBB of (H, W, 3) uint8 RGB."""
    code = cv2.COLOR_RGB2BGRA if sys.byteorder == 'little' else cv2.COLOR_RGB2RGBA
    words = cv2.cvtColor(rgb, code).view(np.uint32)[..., 0]
    return words & 0xFFFFFF if sys.byteorder == 'little' else words >> 8
