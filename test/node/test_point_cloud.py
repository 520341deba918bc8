"""Every point of the cloud is where its depth pixel saw it, and carries what was found there."""

from __future__ import annotations

import math
import struct
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField, RegionOfInterest
from std_msgs.msg import Header

from pdl_ros.errors import PdlError
from pdl_ros.messages.point_cloud import CloudWriter
from pdl_ros.node.output.ros_messages import ROS

HEIGHT, WIDTH = 6, 9
FX, FY, CX, CY = 50.0, 60.0, 4.5, 2.0
# sizeof and struct code of each PointField datatype that is used, by the message's own constants.
DATATYPES = {PointField.FLOAT32: 'f', PointField.UINT16: 'H', PointField.UINT32: 'I'}
HOLES = (0.0, -1.0, math.nan, math.inf, -math.inf)


def labelled_cloud(depth, info, rgb, class_ids, instance_ids, header, organised):
    """The cloud of one depth image."""
    return CloudWriter(ROS, organised).fill(depth, info, rgb, class_ids, instance_ids, header)


def camera_info(**changes: Any) -> CameraInfo:
    fields = {'height': HEIGHT, 'width': WIDTH, 'k': [1.0, 0, 0, 0, 1, 0, 0, 0, 1],
              'p': [FX, 0, CX, 0, 0, FY, CY, 0, 0, 0, 1, 0]}  # fmt: skip
    return CameraInfo(**{**fields, **changes})


def depth_image(
    metres: np.ndarray, encoding: str = '32FC1', big: bool = False, padding: int = 0
) -> Image:
    """Pack (H, W) metres as a depth camera does; 16-bit encodings carry millimetres."""
    order = '>' if big else '<'
    if encoding == '32FC1':
        stored = metres.astype(f'{order}f4')
    else:
        stored = np.round(np.clip(np.nan_to_num(metres, posinf=0), 0, 65) * 1000)
        stored = stored.astype(f'{order}u2')
    data = b''.join(line.tobytes() + b'\xff' * padding for line in stored)
    return Image(height=metres.shape[0], width=metres.shape[1], encoding=encoding,
                 is_bigendian=big, data=data,
                 step=metres.shape[1] * stored.itemsize + padding)  # fmt: skip


def scene(height: int = HEIGHT, width: int = WIDTH) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rgb, class ids and instance ids that differ from pixel to pixel."""
    number = np.arange(height * width).reshape(height, width)
    rgb = np.stack((number % 251, number % 241, 255 - number % 239), -1).astype(np.uint8)
    return rgb, (number % 256).astype(np.uint8), (number * 977 % 65536).astype(np.int32)


def depths(holes: bool = True) -> np.ndarray:
    """Return metres, whole millimetres all, with every kind of missing depth among them."""
    metres = np.random.default_rng(2).integers(300, 9000, (HEIGHT, WIDTH)) / 1000
    if holes:
        metres[1, : len(HOLES)] = HOLES
    return metres


def points_of(cloud: PointCloud2) -> list[dict[str, Any]]:
    """Read a cloud field by field as its own description says, the way any subscriber must."""
    assert not cloud.is_bigendian
    assert cloud.row_step == cloud.width * cloud.point_step
    assert len(cloud.data) == cloud.height * cloud.row_step
    data = bytes(cloud.data)
    return [
        {
            field.name: struct.unpack_from('<' + DATATYPES[field.datatype], data,
                                           start + field.offset)[0]
            for field in cloud.fields
        }
        for start in range(0, len(data), cloud.point_step)
    ]  # fmt: skip


def bits(value: float) -> int:
    return struct.unpack('<I', struct.pack('<f', value))[0]


def expected_point(row: int, column: int, z: float) -> tuple[float, float, float]:
    return (column - CX) * z / FX, (row - CY) * z / FY, z


@pytest.mark.parametrize('encoding', ['32FC1', '16UC1', 'mono16'])
@given(big=st.booleans(), padding=st.integers(0, 5))
def test_each_point_is_where_the_ray_of_its_pixel_ends(
    encoding: str, big: bool, padding: int
) -> None:
    metres, (rgb, classes, instances) = depths(), scene()
    image = depth_image(metres, encoding, big, padding)
    cloud = labelled_cloud(image, camera_info(), rgb, classes, instances, Header(), True)
    points = points_of(cloud)
    assert (cloud.height, cloud.width, cloud.is_dense) == (HEIGHT, WIDTH, False)
    for index, point in enumerate(points):
        row, column = divmod(index, WIDTH)
        z = metres[row, column]
        place = point['x'], point['y'], point['z']
        if math.isfinite(z) and z > 0:
            assert place == pytest.approx(expected_point(row, column, z), rel=1e-5, abs=1e-6)
        else:
            assert all(math.isnan(v) for v in place)
        red, green, blue = (int(v) for v in rgb[row, column])
        assert bits(point['rgb']) == red << 16 | green << 8 | blue
        assert point['class_id'] == classes[row, column]
        assert point['instance_id'] == instances[row, column]


def test_points_without_depth_are_left_out_of_a_dense_cloud_and_the_others_stay_in_order() -> None:
    metres, views = depths(), scene()
    image = depth_image(metres)
    grid = points_of(labelled_cloud(image, camera_info(), *views, Header(), True))
    dense = labelled_cloud(image, camera_info(), *views, Header(), False)
    assert (dense.height, dense.width) == (1, HEIGHT * WIDTH - len(HOLES))
    assert dense.is_dense
    assert points_of(dense) == [point for point in grid if not math.isnan(point['x'])]


@pytest.mark.parametrize('organised', [True, False])
def test_a_blind_depth_camera_gives_a_cloud_that_can_still_be_published(organised: bool) -> None:
    writer = CloudWriter(ROS, organised)
    writer.fill(depth_image(depths()), camera_info(), *scene(), Header())
    blind = depth_image(np.zeros((HEIGHT, WIDTH)))
    cloud = writer.fill(blind, camera_info(), *scene(), Header())
    assert len(points_of(cloud)) == (HEIGHT * WIDTH if organised else 0)
    assert deserialize_message(serialize_message(cloud), PointCloud2) == cloud


def test_readers_find_the_fields_they_know_at_offsets_that_suit_them() -> None:
    cloud = labelled_cloud(depth_image(depths()), camera_info(), *scene(), Header(), True)
    kinds = {f.name: (f.offset, f.datatype, f.count) for f in cloud.fields}
    assert list(kinds) == ['x', 'y', 'z', 'rgb', 'class_id', 'instance_id']
    # PCL and RViz want `rgb` as a float32 whose bits are the colour.
    assert {kinds[name][1:] for name in ('x', 'y', 'z', 'rgb')} == {(PointField.FLOAT32, 1)}
    for offset, datatype, _ in kinds.values():
        assert offset % struct.calcsize(DATATYPES[datatype]) == 0
    assert cloud.point_step % 4 == 0


def test_a_full_grid_says_that_it_is_dense() -> None:
    image = depth_image(depths(holes=False))
    assert labelled_cloud(image, camera_info(), *scene(), Header(), True).is_dense


def test_the_cloud_keeps_the_header_it_is_given_and_survives_the_wire() -> None:
    header = Header(frame_id='depth_optical_frame')
    header.stamp.sec, header.stamp.nanosec = 12, 34
    image = depth_image(depths(holes=False))
    cloud = labelled_cloud(image, camera_info(), *scene(), header, True)
    assert cloud.header == header
    assert deserialize_message(serialize_message(cloud), PointCloud2) == cloud


@given(
    label_size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    color_size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_a_depth_camera_of_another_resolution_takes_the_nearest_label(
    label_size: tuple[int, int], color_size: tuple[int, int]
) -> None:
    rows, columns = (grid.astype(np.int32) for grid in np.mgrid[: label_size[0], : label_size[1]])
    rgb = np.zeros((*color_size, 3), np.uint8)
    rgb[..., 0], rgb[..., 1] = np.mgrid[: color_size[0], : color_size[1]]
    image = depth_image(depths(holes=False))
    cloud = labelled_cloud(image, camera_info(), rgb, rows.astype(np.uint8), columns, Header(),
                           True)  # fmt: skip
    for index, point in enumerate(points_of(cloud)):
        for place, edge, old, found in (
            (index // WIDTH, HEIGHT, label_size[0], point['class_id']),
            (index % WIDTH, WIDTH, label_size[1], point['instance_id']),
            (index // WIDTH, HEIGHT, color_size[0], bits(point['rgb']) >> 16),
            (index % WIDTH, WIDTH, color_size[1], bits(point['rgb']) >> 8 & 255),
        ):
            centre = (place + 0.5) * old / edge
            assert abs(found + 0.5 - centre) <= 0.501, 'the next pixel would have been nearer'


def test_a_binned_and_cropped_depth_camera_keeps_its_metres() -> None:
    roi = RegionOfInterest(x_offset=20, y_offset=10, width=2 * WIDTH, height=2 * HEIGHT)
    p = [2 * FX, 0, 2 * CX + 20, 0, 0, 2 * FY, 2 * CY + 10, 0, 0, 0, 1, 0]
    sensor = camera_info(height=480, width=640, binning_x=2, binning_y=2, roi=roi, p=p)
    image = depth_image(depths(holes=False))
    whole = labelled_cloud(image, camera_info(), *scene(), Header(), True)
    binned = labelled_cloud(image, sensor, *scene(), Header(), True)
    assert points_of(binned) == points_of(whole)


def test_a_calibration_with_k_alone_is_used() -> None:
    raw = camera_info(k=[FX, 0, CX, 0, FY, CY, 0, 0, 1], p=[0.0] * 12)
    image = depth_image(depths(holes=False))
    whole = labelled_cloud(image, camera_info(), *scene(), Header(), True)
    assert points_of(labelled_cloud(image, raw, *scene(), Header(), True)) == points_of(whole)


@pytest.mark.parametrize('organised', [True, False])
def test_one_writer_gives_each_frame_its_own_points_whatever_came_before(organised: bool) -> None:
    writer, rng = CloudWriter(ROS, organised), np.random.default_rng(1)
    for size in ((6, 9), (6, 9), (4, 5), (12, 3), (6, 9)):
        metres = np.where(rng.random(size) < 0.5, np.nan, 1 + rng.random(size))
        info, views = camera_info(height=size[0], width=size[1]), scene(*size)
        header = Header(frame_id=str(size))
        fresh = labelled_cloud(depth_image(metres), info, *views, header, organised)
        reused = writer.fill(depth_image(metres), info, *views, header)
        assert bytes(reused.data) == bytes(fresh.data)
        assert (reused.width, reused.height) == (fresh.width, fresh.height)
        assert reused.header == header


def test_a_reader_who_still_holds_the_last_points_does_not_stop_the_next_frame() -> None:
    writer = CloudWriter(ROS, False)
    held = np.frombuffer(
        writer.fill(depth_image(depths()), camera_info(), *scene(), Header()).data, np.uint8
    )
    before = held.copy()
    cloud = writer.fill(depth_image(depths(holes=False)), camera_info(), *scene(), Header())
    assert cloud.width == HEIGHT * WIDTH
    np.testing.assert_array_equal(held, before)


LENSES = {
    'equidistant': [0.02, -0.01, 0.004, 0.001],
    'plumb_bob': [0.1, -0.05, 0.01, -0.02, 0.003],
    'rational_polynomial': [0.1, -0.05, 0.01, -0.02, 0.003, 0.02, 0.01, 0.002],
}
LENS = np.array([[7.0, 0.0, 4.2], [0.0, 6.5, 2.8], [0.0, 0.0, 1.0]])


def lens_info(model: str, **changes: Any) -> CameraInfo:
    """The calibration of a wide lens, nobody having made a rectified camera of it."""
    fields = {'k': LENS.ravel(), 'p': [0.0] * 12, 'd': LENSES[model], 'distortion_model': model}
    return camera_info(**{**fields, **changes})


def pixels_seen(points: list[dict[str, Any]], info: CameraInfo) -> np.ndarray:
    """Return the (N, 2) pixels on which OpenCV's own models see points through the lens."""
    where = np.array([[[p['x'], p['y'], p['z']]] for p in points], np.float64)
    project = cv2.projectPoints
    if info.distortion_model == 'equidistant':
        project = cv2.fisheye.projectPoints
    return project(where, np.zeros(3), np.zeros(3), LENS, np.array(info.d))[0].reshape(-1, 2)


@pytest.mark.parametrize('model', LENSES)
def test_points_of_a_lens_lie_where_its_model_sees_them_on_their_own_pixels(model: str) -> None:
    metres, info = depths(holes=False), lens_info(model)
    cloud = labelled_cloud(depth_image(metres), info, *scene(), Header(), True)
    points = points_of(cloud)
    np.testing.assert_allclose([p['z'] for p in points], metres.ravel(), rtol=1e-6)
    pixels = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), -1).reshape(-1, 2)
    np.testing.assert_allclose(pixels_seen(points, info), pixels, atol=1e-3)


def test_a_fisheye_whose_p_is_only_a_copy_of_its_k_is_a_fisheye() -> None:
    p = np.column_stack((LENS, np.zeros(3))).ravel()
    copied, without = lens_info('equidistant', p=p), lens_info('equidistant')
    image = depth_image(depths(holes=False))
    clouds = [labelled_cloud(image, i, *scene(), Header(), True) for i in (copied, without)]
    assert points_of(clouds[0]) == points_of(clouds[1])


@pytest.mark.parametrize('model', LENSES)
def test_depth_that_was_rectified_keeps_its_pinhole_although_d_is_that_of_the_lens(
    model: str,
) -> None:
    image = depth_image(depths(holes=False))
    rectified = lens_info(model, p=camera_info().p)
    plain = labelled_cloud(image, camera_info(), *scene(), Header(), True)
    assert points_of(labelled_cloud(image, rectified, *scene(), Header(), True)) == points_of(plain)


def test_pixels_beyond_what_a_fisheye_can_see_ahead_have_no_point_and_none_is_at_infinity() -> None:
    k = [2.0, 0, WIDTH / 2, 0, 2.0, HEIGHT / 2, 0, 0, 1]  # the corners look back
    info = lens_info('equidistant', k=k, d=[0.0] * 4)
    image = depth_image(depths(holes=False))
    grid = points_of(labelled_cloud(image, info, *scene(), Header(), True))
    dense = points_of(labelled_cloud(image, info, *scene(), Header(), False))
    assert math.isnan(grid[0]['x']) and math.isnan(grid[0]['z'])
    assert dense == [point for point in grid if not math.isnan(point['x'])]
    assert 0 < len(dense) < HEIGHT * WIDTH
    for index, point in enumerate(grid):
        angle = math.hypot(index % WIDTH - WIDTH / 2, index // WIDTH - HEIGHT / 2) / 2
        assert math.isnan(point['x']) == (angle >= math.pi / 2)


def test_one_writer_follows_a_camera_that_is_calibrated_anew() -> None:
    writer, image = CloudWriter(ROS, True), depth_image(depths(holes=False))
    for info in (camera_info(), lens_info('equidistant'), lens_info('plumb_bob'), camera_info()):
        fresh = labelled_cloud(image, info, *scene(), Header(), True)
        assert bytes(writer.fill(image, info, *scene(), Header()).data) == bytes(fresh.data)


WRONG: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "Depth of encoding 'rgb8' is not supported; it can be 32FC1": ({'encoding': 'rgb8'}, {}),
    "Depth of encoding '16SC1' is not supported": ({'encoding': '16SC1'}, {}),
    'The image is empty (9x0)': ({'height': 0}, {}),
    'a step of 35 bytes, but a row of 9 32FC1 pixels takes 36': ({'step': 35}, {}),
    'The image holds 7 bytes, but 9x6 32FC1 with step 36 takes 216': ({'data': bytes(7)}, {}),
    'The depth image is 9x6, but its camera_info is of 18x12': ({}, {'height': 12, 'width': 18}),
    "no P, and a distortion model 'ftheta' with 2 coefficients that is not known": (
        {},
        {'k': LENS.ravel(), 'p': [0.0] * 12, 'd': [1.0, 2.0], 'distortion_model': 'ftheta'},
    ),
    'The camera_info is not calibrated': ({}, {'k': [0.0] * 9, 'p': [0.0] * 12}),
}


@pytest.mark.parametrize('sentence', WRONG)
def test_a_depth_camera_that_makes_no_sense_is_refused_in_one_sentence(sentence: str) -> None:
    image, info = depth_image(depths()), camera_info(**WRONG[sentence][1])
    for name, value in WRONG[sentence][0].items():
        setattr(image, name, value)
    with pytest.raises(PdlError) as error:
        labelled_cloud(image, info, *scene(), Header(), True)
    assert sentence in str(error.value)
    assert '\n' not in str(error.value)
