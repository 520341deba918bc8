"""Labelled points out of a recording with depth, and the calibration beside its images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pdl_ros.bags.run import run_bag
from pdl_ros.bags.run_settings import BagJob, RunSettings
from pdl_ros.bags.types import serialize
from pdl_ros.bags.writer import BagWriter
from pdl_ros.engines import EngineSettings
from pdl_ros.messages.point_cloud import POINT
from pdl_ros.pipeline import Segmenter

from .drawn_bags import IMAGE, MAKE, PERIOD, SIZE, START, image, pixels, read_all, street

INFO = 'sensor_msgs/msg/CameraInfo'
HEIGHT, WIDTH = SIZE
FOCAL = 100.0


@pytest.fixture(scope='module')
def segmenter() -> Segmenter:
    return Segmenter.load('scene_tiny', 'cpu', engine=EngineSettings('torch', 'fp32'))


def depth_of(number: int) -> np.ndarray:
    """Millimetres, with a hole at the left."""
    depth = np.full(SIZE, 1000 + 100 * number, np.uint16)
    depth[:, :10] = 0
    return depth


def record_depth(folder: Path, shift: int = 0, without: int = -1, info_width: int = WIDTH) -> Path:
    """A camera, its calibration, and depth with stamps `shift` ns later, of one image without."""
    matrix = [FOCAL, 0, WIDTH / 2, 0, FOCAL, HEIGHT / 2, 0, 0, 1]
    projection = [FOCAL, 0, WIDTH / 2, 0, 0, FOCAL, HEIGHT / 2, 0, 0, 0, 1, 0]
    with BagWriter(folder) as writer:
        images = writer.add_topic('/front/image', IMAGE)
        infos = writer.add_topic('/front/camera_info', INFO)
        depths = writer.add_topic('/front/depth', IMAGE)
        for number in range(4):
            stamp = START + number * PERIOD
            header = MAKE.header(stamp, 'camera')
            info = MAKE.new(INFO, header=header, height=HEIGHT, width=info_width,
                            distortion_model='plumb_bob', k=matrix, p=projection)  # fmt: skip
            writer.write(infos, stamp + 1, serialize(info))
            writer.write(images, stamp + 2, serialize(image(street(number), stamp)))
            if number != without:
                values = depth_of(number)
                message = MAKE.new(IMAGE, header=MAKE.header(stamp + shift, 'camera'),
                                   height=HEIGHT, width=WIDTH, encoding='16UC1', step=2 * WIDTH,
                                   data=values.view(np.uint8).reshape(-1))  # fmt: skip
                writer.write(depths, stamp + 3, serialize(message))
    return folder


def run(bag: Path, out: Path, segmenter: Segmenter, points: str = 'dense', **changes):
    settings = RunSettings('scene_tiny', 'cpu', 'torch', 'fp32', points=points, **changes)
    return run_bag(BagJob(bag, out, settings), segmenter=segmenter)


def test_points_are_those_of_the_depth_image_with_the_labels_of_their_pixels(tmp_path, segmenter):
    report = run(record_depth(tmp_path / 'bag'), tmp_path / 'out', segmenter)
    assert (report.frames, report.notes) == (4, ())
    found = read_all(tmp_path / 'out')
    clouds = found['/panoptic_node/points']
    labels = found['/panoptic_node/semantic/image']
    assert [at for at, _ in clouds] == [at for at, _ in labels]
    for number, ((_, cloud), (_, semantic)) in enumerate(zip(clouds, labels, strict=True)):
        points = cloud.data.view(POINT)
        seen = depth_of(number) > 0
        assert len(points) == seen.sum() == cloud.width
        np.testing.assert_array_equal(points['class_id'], pixels(semantic)[seen])
        columns = np.nonzero(seen)[1]
        z = (1000 + 100 * number) / 1000
        np.testing.assert_allclose(points['z'], z, rtol=1e-6)
        np.testing.assert_allclose(points['x'], (columns - WIDTH / 2) / FOCAL * z, atol=1e-5)
        assert [field.name for field in cloud.fields][-2:] == ['class_id', 'instance_id']


def test_the_calibration_of_the_labels_is_that_of_the_images(tmp_path, segmenter):
    run(record_depth(tmp_path / 'bag'), tmp_path / 'out', segmenter, points='none')
    found = read_all(tmp_path / 'out')
    infos = found['/panoptic_node/semantic/camera_info']
    assert [(m.width, m.k[0]) for _, m in infos] == [(WIDTH, FOCAL)] * 4
    assert [m.header for _, m in infos] == [m.header for _, m in found['/panoptic_node/instances']]
    assert '/panoptic_node/points' not in found


def test_inputs_are_copied_with_what_belongs_to_them(tmp_path, segmenter):
    recorded = read_all(record_depth(tmp_path / 'bag', shift=1000))
    run(tmp_path / 'bag', tmp_path / 'out', segmenter, copy_inputs=True)
    found = read_all(tmp_path / 'out')
    for topic in ('/front/image', '/front/camera_info', '/front/depth'):
        copies = [serialize(message) for _, message in found[topic]]
        assert copies == [serialize(message) for _, message in recorded[topic]]
    assert [at for at, _ in found['/front/depth']] == [at for at, _ in found['/front/image']]


def test_an_image_whose_depth_is_lacking_has_no_points_and_that_is_said(tmp_path, segmenter):
    bag = record_depth(tmp_path / 'bag', without=2)
    report = run(bag, tmp_path / 'out', segmenter)
    assert report.exit_status == 0
    assert report.notes == ('/front/image: no points: no depth image has its stamp.',)
    times = [at for at, _ in read_all(tmp_path / 'out')['/panoptic_node/points']]
    assert times == [START + number * PERIOD + 2 for number in (0, 1, 3)]


@pytest.mark.parametrize(('shift', 'count'), [(20_000_000, 4), (49_000_000, 4), (51_000_000, 3)])
def test_depth_of_a_clock_of_its_own_is_taken_while_it_is_near(tmp_path, segmenter, shift, count):
    """51 ms after one image is 49 ms before the next, but for the first, which has none before."""
    bag = record_depth(tmp_path / 'bag', shift)
    run(bag, tmp_path / 'out', segmenter)
    clouds = read_all(tmp_path / 'out')['/panoptic_node/points']
    assert len(clouds) == count


def test_a_calibration_of_another_size_costs_only_what_it_is_for(tmp_path, segmenter):
    bag = record_depth(tmp_path / 'bag', info_width=2 * WIDTH)
    report = run(bag, tmp_path / 'out', segmenter)
    assert (report.frames, report.lost) == (4, 0)
    assert [note.split(':')[1] for note in report.notes] == [' no camera_info', ' no points']
    assert len(read_all(tmp_path / 'out')['/panoptic_node/instances']) == 4
