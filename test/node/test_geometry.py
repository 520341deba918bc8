"""Cropping, turning and resizing move the calibration along with the pixels."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from pdl_ros.errors import PdlError
from pdl_ros.imaging.camera_model import image_size, pinhole
from pdl_ros.node.input.geometry import FrameGeometry, choose_output_size, parse_output_size

HEIGHT, WIDTH = 60, 80
K = np.array([[70.0, 0.0, 42.0], [0.0, 65.0, 28.0], [0.0, 0.0, 1.0]])
STEREO = cv2.Rodrigues(np.array([0.02, -0.03, 0.01]))[0]
P = np.array([[72.0, 0.0, 41.0, -9.0], [0.0, 68.0, 29.0, 4.0], [0.0, 0.0, 1.0, 0.0]])
DISTORTIONS = {
    'plumb_bob': [0.1, -0.05, 0.01, -0.02, 0.003],
    'rational_polynomial': [0.1, -0.05, 0.01, -0.02, 0.003, 0.02, 0.01, 0.002],
    'equidistant': [0.02, -0.01, 0.004, 0.001],
}
TURNS = st.sampled_from([0, 90, 180, 270])


def camera_info(model: str = 'plumb_bob', **changes: Any) -> CameraInfo:
    """Return the calibration of the right one of a stereo pair."""
    fields = {'height': HEIGHT, 'width': WIDTH, 'distortion_model': model, 'k': K.ravel(),
              'd': DISTORTIONS[model], 'r': STEREO.ravel(), 'p': P.ravel(),
              'header': Header(frame_id='right_optical_frame')}  # fmt: skip
    return CameraInfo(**{**fields, **changes})


def rois(height: int = HEIGHT, width: int = WIDTH) -> Any:
    def inside(corner: tuple[int, int]) -> Any:
        sizes = st.integers(1, width - corner[0]), st.integers(1, height - corner[1])
        return st.tuples(st.just(corner[0]), st.just(corner[1]), *sizes)

    corners = st.tuples(st.integers(0, width - 1), st.integers(0, height - 1))
    return st.none() | corners.flatmap(inside)


def index_map(geometry: FrameGeometry, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Return for each pixel of the view the (x, y) in the frame that it shows."""
    y, x = np.mgrid[0:height, 0:width].astype(np.uint16)
    return geometry.apply(np.stack((x, y), -1))


def project(points: np.ndarray, info: CameraInfo) -> np.ndarray:
    """Return the (N, 2) raw pixels of (N, 3) points before the camera, by OpenCV's own models."""
    k, d, zero = np.reshape(info.k, (3, 3)), np.array(info.d), np.zeros(3)
    if info.distortion_model == 'equidistant':
        return cv2.fisheye.projectPoints(points[:, None], zero, zero, k, d)[0][:, 0]
    return cv2.projectPoints(points, zero, zero, k, d)[0][:, 0]


def points_seen(count: int = 40) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.column_stack((rng.uniform(-0.5, 0.5, (count, 2)), np.ones(count))) * 3.0


def turned(points: np.ndarray, rotate: int) -> np.ndarray:
    """Return what a camera turned about its optical axis sees: right becomes down, and so on."""
    for _ in range(rotate // 90):
        points = np.column_stack((-points[:, 1], points[:, 0], points[:, 2]))
    return points


@given(rotate=TURNS, roi=rois())
def test_the_view_is_the_roi_turned_clockwise(rotate: int, roi: Any) -> None:
    frame = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint32).astype(np.uint8)
    frame = frame.reshape(HEIGHT, WIDTH, 3)
    geometry = FrameGeometry(rotate, roi)
    x, y, width, height = roi or (0, 0, WIDTH, HEIGHT)
    expected = np.rot90(frame[y : y + height, x : x + width], -rotate // 90)
    view = geometry.apply(frame)
    np.testing.assert_array_equal(view, expected)
    assert view.flags.c_contiguous
    assert geometry.view_size(HEIGHT, WIDTH) == view.shape[:2]


def test_a_camera_that_is_mounted_straight_pays_no_copy() -> None:
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for geometry in (FrameGeometry(), FrameGeometry(0, (0, 0, WIDTH, HEIGHT))):
        assert np.shares_memory(geometry.apply(frame), frame)


@pytest.mark.parametrize('model', DISTORTIONS)
@given(rotate=TURNS, roi=rois())
def test_a_point_lands_on_the_pixel_that_shows_it_after_cropping_and_turning(
    model: str, rotate: int, roi: Any
) -> None:
    info, geometry = camera_info(model), FrameGeometry(rotate, roi)
    seen = points_seen()
    changed = geometry.camera_info_for(info, geometry.view_size(HEIGHT, WIDTH))
    before, after = project(seen, info), project(turned(seen, rotate), changed)
    shown = index_map(geometry)
    # The map of pixels is linear, so two of its corners say where every point must go.
    for corner in ((0, 0), (shown.shape[0] - 1, shown.shape[1] - 1)):
        distance = after - corner[::-1]
        expected = before - shown[corner]
        np.testing.assert_allclose(distance, turned_pixels(expected, rotate), atol=1e-9)


def turned_pixels(distance: np.ndarray, rotate: int) -> np.ndarray:
    for _ in range(rotate // 90):
        distance = np.column_stack((-distance[:, 1], distance[:, 0]))
    return distance


@given(rotate=TURNS, roi=rois())
def test_stereo_consumers_get_the_rectified_pixel_of_a_point_too(rotate: int, roi: Any) -> None:
    info, geometry = camera_info(), FrameGeometry(rotate, roi)
    seen = np.column_stack((points_seen(), np.ones(40)))
    changed = geometry.camera_info_for(info, geometry.view_size(HEIGHT, WIDTH))
    rotated = np.column_stack((turned(seen[:, :3], rotate), np.ones(40)))
    before, after = (
        (p := points @ np.reshape(i.p, (3, 4)).T)[:, :2] / p[:, 2:]
        for points, i in ((seen, info), (rotated, changed))
    )
    shown = index_map(geometry)
    np.testing.assert_allclose(after, turned_pixels(before - shown[0, 0], rotate), atol=1e-9)
    rectified = turned(seen[:, :3] @ STEREO.T, rotate)
    np.testing.assert_allclose(
        turned(seen[:, :3], rotate) @ np.reshape(changed.r, (3, 3)).T, rectified, atol=1e-9
    )
    # The usual form: what reads fx, fy, cx and cy out of K and P reads them where they belong.
    k, p = np.reshape(changed.k, (3, 3)), np.reshape(changed.p, (3, 4))
    for matrix in (k, p[:, :3]):
        assert (matrix[[0, 1, 2, 2], [1, 0, 0, 1]] == 0).all()
        assert (np.diag(matrix) > 0).all()


@given(size=st.tuples(st.integers(1, 200), st.integers(1, 200)), rotate=TURNS, roi=rois())
def test_scaling_multiplies_like_image_proc(size: tuple[int, int], rotate: int, roi: Any) -> None:
    geometry = FrameGeometry(rotate, roi)
    view = geometry.view_size(HEIGHT, WIDTH)
    at_view = geometry.camera_info_for(camera_info(), view)
    scaled = geometry.camera_info_for(camera_info(), size)
    factors = np.array([size[1] / view[1], size[0] / view[0], 1.0])
    for name, shape in (('k', (3, 3)), ('p', (3, 4))):
        expected = factors[:, None] * np.reshape(getattr(at_view, name), shape)
        np.testing.assert_allclose(np.reshape(getattr(scaled, name), shape), expected, rtol=1e-12)
    assert (scaled.height, scaled.width) == size
    assert scaled.d == at_view.d
    assert (scaled.r == at_view.r).all()


def test_a_drivers_own_binning_and_roi_are_worked_in_once() -> None:
    roi = RegionOfInterest(x_offset=10, y_offset=20, width=40, height=30, do_rectify=True)
    info = camera_info(binning_x=2, binning_y=5, roi=roi)
    assert image_size(info) == (6, 20)
    changed = FrameGeometry(roi=(4, 1, 10, 5)).camera_info_for(info, (5, 10))
    # A pixel of the image is 2 x 5 pixels of the sensor, and (0, 0) lies at (10, 20) of it.
    expected = [35.0, 0.0, (42 - 10) / 2 - 4, 0.0, 13.0, (28 - 20) / 5 - 1, 0.0, 0.0, 1.0]
    np.testing.assert_allclose(changed.k, expected)
    assert (changed.binning_x, changed.binning_y, changed.roi) == (0, 0, RegionOfInterest())
    assert (changed.height, changed.width) == (5, 10)
    assert pinhole(info) == pytest.approx((36.0, 13.6, 15.5, 1.8))


def test_where_nothing_is_done_the_cameras_own_calibration_passes_through() -> None:
    info = camera_info(binning_x=2, binning_y=2)
    assert FrameGeometry().camera_info_for(info, (30, 40)) == info
    before = deserialize_message(serialize_message(info), CameraInfo)
    FrameGeometry(90).camera_info_for(info, (40, 30))
    assert info == before, 'the message that others still read was changed'


def test_an_uncalibrated_camera_stays_recognisably_uncalibrated() -> None:
    blank = CameraInfo(height=HEIGHT, width=WIDTH, header=Header(frame_id='camera'))
    changed = FrameGeometry(90, (1, 2, 30, 40)).camera_info_for(blank, (15, 20))
    assert not changed.k.any() and not changed.p.any()
    assert (changed.height, changed.width, changed.header) == (15, 20, blank.header)
    empty = FrameGeometry().camera_info_for(CameraInfo(), (15, 20))
    assert (empty.height, empty.width) == (15, 20)
    with pytest.raises(PdlError, match='not calibrated'):
        pinhole(blank)


def test_the_changed_calibration_can_be_published() -> None:
    changed = FrameGeometry(90, (1, 2, 30, 40)).camera_info_for(camera_info(), (15, 20))
    assert deserialize_message(serialize_message(changed), CameraInfo) == changed


WRONG: dict[str, Any] = {
    'rotate is 45; it can be 0, 90, 180 or 270': lambda: FrameGeometry(45),
    'rotate is -90; it can be': lambda: FrameGeometry(-90),
    'roi is [0, 0, 0, 5]; it must be': lambda: FrameGeometry(0, (0, 0, 0, 5)),
    'roi is [-1, 0, 4, 5]; it must be': lambda: FrameGeometry(0, (-1, 0, 4, 5)),
    'roi is [1, 2]; it must be': lambda: FrameGeometry(0, (1, 2)),  # type: ignore[arg-type]
    'The roi of 80x60 pixels at (1, 0) reaches outside the 80x60 image': lambda: FrameGeometry(
        0, (1, 0, WIDTH, HEIGHT)
    ).apply(np.zeros((HEIGHT, WIDTH, 3), np.uint8)),
    'The roi of 5x5 pixels at (0, 56) reaches outside the 80x60': lambda: FrameGeometry(
        90, (0, 56, 5, 5)
    ).camera_info_for(camera_info(), (5, 5)),
    'The camera_info has a calibration, but the size 0x60': lambda: FrameGeometry(
        180
    ).camera_info_for(camera_info(width=0), (5, 5)),
    "output_size is 'half'; it can be": lambda: parse_output_size('half'),
    "output_size is '640 x 480'": lambda: parse_output_size('640 x 480'),
    "output_size is '0x480'": lambda: parse_output_size('0x480'),
    "output_size is '640x16385'": lambda: parse_output_size('640x16385'),
    "output_size is '-640x480'": lambda: parse_output_size('-640x480'),
}


@pytest.mark.parametrize('sentence', WRONG)
def test_a_wrong_view_is_explained_in_one_sentence(sentence: str) -> None:
    with pytest.raises(PdlError) as error:
        WRONG[sentence]()
    assert sentence in str(error.value)
    assert '\n' not in str(error.value)


def test_an_output_size_is_read_as_people_write_it_and_used_as_arrays_have_it() -> None:
    assert parse_output_size('640x480') == (480, 640)
    sizes = [choose_output_size(parse_output_size(text), (60, 80), (33, 44))
             for text in ('input', 'network', '1x16384')]  # fmt: skip
    assert sizes == [(60, 80), (33, 44), (16384, 1)]
