"""A recording that is segmented keeps its times and its frames."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rosbags.highlevel import AnyReader

from pdl_ros.errors import PdlError

from . import recordings
from .bag_runs import NODE, bag, run, segmenter, two
from .drawn_bags import DELAY, IMAGE, PERIOD, START, pixels, read_all, street

__all__ = ['bag', 'segmenter', 'two']


def test_every_image_is_segmented_as_by_the_segmenter_and_keeps_its_times(bag, tmp_path, segmenter):
    report = run(bag, tmp_path / 'out', segmenter, overlay=True)
    assert (report.frames, report.total, report.lost, report.exit_status) == (8, 8, 0, 0)
    found = read_all(tmp_path / 'out')
    for name in ('semantic', 'instance', 'panoptic'):
        images = found[f'{NODE}/{name}/image']
        assert [at for at, _ in images] == [START + n * PERIOD + 1000 for n in range(8)]
        for number, (at, message) in enumerate(images):
            right = getattr(segmenter(street(number)), name).numpy()
            np.testing.assert_array_equal(pixels(message), right)
            stamp = message.header.stamp
            assert stamp.sec * 10**9 + stamp.nanosec == at - DELAY
            assert message.header.frame_id == 'image'
    assert len(found[f'{NODE}/overlay/image']) == 8
    assert len(found[f'{NODE}/instances']) == len(found[f'{NODE}/timing']) == 8
    (info,) = found[f'{NODE}/label_info']
    assert info[1].class_names == [c.name for c in segmenter.label_set.classes]
    assert all(message.network_ms > 0 for _, message in found[f'{NODE}/timing'])


def test_things_are_listed_as_they_are_in_the_instance_image(bag, tmp_path, segmenter):
    run(bag, tmp_path / 'out', segmenter)
    found = read_all(tmp_path / 'out')
    seen = 0
    images = found[f'{NODE}/instance/image']
    for (_, things), (_, labels) in zip(found[f'{NODE}/instances'], images, strict=True):
        values, areas = np.unique(pixels(labels), return_counts=True)
        known = dict(zip(values.tolist(), areas.tolist(), strict=True))
        known.pop(0, None)
        assert {thing.id: thing.area for thing in things.instances} == known
        seen += len(known)
    assert seen > 4


def test_cameras_have_topics_of_their_own_under_their_names(two, tmp_path, segmenter):
    report = run(two, tmp_path / 'out', segmenter, labels='png', batch=3)
    assert report.frames == 16
    found = read_all(tmp_path / 'out')
    for seed, camera in ((1, 'front'), (2, 'left')):
        labels = found[f'{NODE}/{camera}/panoptic/image/compressed']
        assert {m.format for _, m in labels} == {'16UC1; png compressed '}
        read = [cv2.imdecode(m.data, cv2.IMREAD_UNCHANGED) for _, m in labels]
        for number, picture in enumerate(read):
            right = segmenter(street(number, seed)).panoptic.numpy()
            np.testing.assert_array_equal(picture, right)
        assert {m.header.frame_id for _, m in labels} == {f'car_{camera}_image_raw'}
        assert f'{NODE}/{camera}/panoptic/image' not in found
        assert len(found[f'{NODE}/{camera}/label_info']) == 1
    assert [m.header.frame_id for _, m in found[f'{NODE}/label_info']] == ['']


def test_a_camera_can_be_chosen_and_named_and_its_images_kept(two, tmp_path, segmenter):
    run(two, tmp_path / 'out', segmenter, topics=('/car/left/image_raw',), copy_inputs=True)
    found = read_all(tmp_path / 'out')
    assert len(found[f'{NODE}/semantic/image']) == 8  # an only camera has no name
    for number, (at, message) in enumerate(found['/car/left/image_raw']):
        np.testing.assert_array_equal(message.data, street(number, 2).reshape(-1))
        assert at == START + number * PERIOD + 2000
    names = ('a=/car/left/image_raw', 'b=/car/front/image_raw')
    run(two, tmp_path / 'named', segmenter, topics=names)
    assert {f'{NODE}/a/instances', f'{NODE}/b/instances'} <= read_all(tmp_path / 'named').keys()
    with pytest.raises(PdlError, match='no images on /lost; its image topics: /car/front'):
        run(two, tmp_path / 'lost', segmenter, topics=('/lost',))


@pytest.mark.parametrize(
    ('slice_of', 'numbers'),
    [
        ({'start': 0.25}, range(3, 8)),
        ({'end': 0.25}, range(3)),
        ({'start': 0.15, 'end': 0.55, 'every': 2}, (2, 4)),
        ({'every': 3}, (0, 3, 6)),
        ({'start': START / 1e9 + 0.65}, (7,)),
    ],
    ids=str,
)
def test_a_part_of_a_recording_is_segmented(bag, tmp_path, segmenter, slice_of, numbers):
    report = run(bag, tmp_path / 'out', segmenter, **slice_of)
    assert report.frames == report.total == len(numbers)
    times = [at for at, _ in read_all(tmp_path / 'out')[f'{NODE}/instances']]
    assert times == [START + number * PERIOD + 1000 for number in numbers]


def test_other_readers_read_the_result(two, tmp_path, segmenter):
    run(two, tmp_path / 'out', segmenter, part_frames=5)
    with AnyReader([tmp_path / 'out']) as reader:
        count = reader.message_count
        assert count == 16 * 5 + 4 + 7  # label_info: in each file, and of each camera in it
        for connection, _, raw in reader.messages():
            read = reader.deserialize(raw, connection.msgtype)
            if connection.msgtype.endswith('PanopticInstanceArray'):
                assert (read.label_set, read.height) == ('scene', 96)
    heard = 0
    for file in sorted((tmp_path / 'out').glob('*.mcap')):
        with file.open('rb') as stream:
            decoded = make_reader(stream, decoder_factories=[DecoderFactory()])
            for schema, _, message, read in decoded.iter_decoded_messages():
                heard += 1
                if schema.name == IMAGE:
                    stamp = read.header.stamp
                    assert stamp.sec * 10**9 + stamp.nanosec == message.log_time - DELAY
    assert heard == count


def test_a_slice_without_images_is_said(bag, tmp_path, segmenter):
    with pytest.raises(PdlError, match=r'between --start and --end; it has 8 in 0\.700 s'):
        run(bag, tmp_path / 'out', segmenter, start=60.0)
    assert not (tmp_path / 'out').exists()


def test_recordings_of_every_format_give_the_same(tmp_path, segmenter):
    record = recordings.record
    bags = {
        'sqlite': record(tmp_path / 'a', {'/image': 'rgb8'}),
        'mcap': record(tmp_path / 'b', {'/image': 'rgb8'}, plugin=recordings.FORMATS[1]),
        'ros1': recordings.record_ros1(tmp_path / 'c.bag', 'lz4'),
        'file': recordings.record_mcap(tmp_path / 'd.mcap', 'lz4', range(4)),
        'messages': record(
            tmp_path / 'e', {'/image': 'bgr8'}, compression=recordings_compression()
        ),
    }
    labels = {}
    for name, recorded in bags.items():
        assert run(recorded, tmp_path / f'of_{name}', segmenter, copy_inputs=True).frames == 4
        found = read_all(tmp_path / f'of_{name}')
        labels[name] = [pixels(m).tobytes() for _, m in found[f'{NODE}/panoptic/image']]
        stamps = {(m.header.stamp.nanosec, m.header.frame_id) for _, m in found['/image']}
        assert stamps == {(2, 'camera')}
    assert all(of_one == labels['sqlite'] for of_one in labels.values())


def recordings_compression():
    from rosbags.rosbag2 import CompressionMode

    return CompressionMode.MESSAGE
