"""Who works with cv_bridge, as most nodes do, reads our images, and we read theirs."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from pdl_ros.imaging.raw import to_rgb
from pdl_ros.messages.images import ImageWriter, PngWriter
from pdl_ros.node.output.ros_messages import ROS

cv_bridge = pytest.importorskip('cv_bridge', reason='needs cv_bridge', exc_type=ImportError)
EDGES = np.array([[0, 1, 254], [255, 256, 65535], [257, 4369, 32768]], np.int32)
LIMITS = {'mono8': 256, '16UC1': 65536, '32SC1': 65536}


@pytest.fixture
def bridge(monkeypatch: pytest.MonkeyPatch) -> cv_bridge.CvBridge:
    """The bridge; the one on PyPI takes 16UC1 for 8 bits, where ROS's own has CV_16UC1."""
    from cv_bridge.boost import cv_bridge_boost

    if hasattr(cv_bridge_boost, '_CV_TYPES'):
        monkeypatch.setitem(cv_bridge_boost._CV_TYPES, '16UC1', cv2.CV_16UC1)
    return cv_bridge.CvBridge()


@pytest.mark.parametrize('encoding', LIMITS)
def test_every_id_of_a_label_image_survives_cv_bridge(
    bridge: cv_bridge.CvBridge, encoding: str
) -> None:
    pixels = EDGES % LIMITS[encoding]
    message = ImageWriter(ROS, encoding).fill(pixels, Header())
    np.testing.assert_array_equal(bridge.imgmsg_to_cv2(message, 'passthrough'), pixels)


def test_every_color_of_an_overlay_survives_cv_bridge(
    bridge: cv_bridge.CvBridge, rgb: np.ndarray
) -> None:
    message = ImageWriter(ROS, 'rgb8').fill(rgb, Header())
    np.testing.assert_array_equal(bridge.imgmsg_to_cv2(message, 'passthrough'), rgb)
    np.testing.assert_array_equal(bridge.imgmsg_to_cv2(message, 'bgr8'), rgb[..., ::-1])


@pytest.mark.parametrize('encoding', ['mono8', '16UC1'])
def test_every_id_of_a_compressed_label_image_survives_cv_bridge(
    bridge: cv_bridge.CvBridge, encoding: str
) -> None:
    if encoding == '16UC1' and not reads_16_bits(bridge):
        pytest.skip("needs ROS 2's own cv_bridge; the one on PyPI reads PNG with 8 bits")
    pixels = EDGES % LIMITS[encoding]
    message = PngWriter(ROS, encoding).fill(pixels, Header())
    decoded = bridge.compressed_imgmsg_to_cv2(message, 'passthrough')
    np.testing.assert_array_equal(decoded, pixels)


def reads_16_bits(bridge: cv_bridge.CvBridge) -> bool:
    png = cv2.imencode('.png', EDGES.astype(np.uint16))[1].tobytes()
    return bridge.compressed_imgmsg_to_cv2(CompressedImage(data=png)).dtype == np.uint16


# cv_bridge writes with tostring(), which NumPy 2.3 no longer has.
@pytest.mark.filterwarnings('ignore:tostring:DeprecationWarning')
@pytest.mark.parametrize(
    ('encoding', 'conversion'),
    [
        ('bgr8', cv2.COLOR_RGB2BGR),
        ('rgb8', None),
        ('bgra8', cv2.COLOR_RGB2BGRA),
        ('mono8', cv2.COLOR_RGB2GRAY),
    ],
)
def test_the_node_reads_what_a_driver_wrote_with_cv_bridge(
    bridge: cv_bridge.CvBridge, rgb: np.ndarray, encoding: str, conversion: int | None
) -> None:
    pixels = rgb if conversion is None else cv2.cvtColor(rgb, conversion)
    message = bridge.cv2_to_imgmsg(pixels, encoding)
    read = to_rgb(message)
    expected = rgb if encoding != 'mono8' else np.repeat(pixels[..., None], 3, -1)
    np.testing.assert_array_equal(read, expected)
