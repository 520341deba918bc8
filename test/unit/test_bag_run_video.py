"""A recorded video is segmented picture by picture, as if its pictures had been recorded."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pdl_ros.bags.run import count_parts, finish_bag, run_bag
from pdl_ros.bags.run_settings import BagJob, RunSettings
from pdl_ros.engines import EngineSettings
from pdl_ros.pipeline import Segmenter
from pdl_ros.sources import open_source

from .drawn_bags import pixels, read_all
from .recordings import PERIOD, START, McapFile
from .video_recordings import GROUP, Packet, encode, protobuf_message, record_video

SETTINGS = RunSettings(
    weights='scene_tiny', device='cpu', engine='torch', precision='fp32', timing=False
)
PANOPTIC = '/panoptic_node/panoptic/image'


@pytest.fixture(scope='module')
def segmenter() -> Segmenter:
    return Segmenter.load('scene_tiny', 'cpu', engine=EngineSettings('torch', 'fp32'))


def run(bag: Path, out: Path, segmenter: Segmenter, **changes):
    return run_bag(BagJob(bag, out, replace(SETTINGS, **changes)), segmenter=segmenter)


def numbers_in(out: Path) -> list[int]:
    """Return the numbers of the pictures in a result, by their stamps."""
    return [message.header.stamp.nanosec for _, message in read_all(out)[PANOPTIC]]


@pytest.fixture(scope='module')
def packets() -> list[Packet]:
    return encode('h264', 20, bframes=2)


@pytest.mark.parametrize(('codec', 'bframes'), [('h264', 0), ('h264', 2), ('h265', 2)])
def test_results_have_the_stamps_and_log_times_of_the_packets(tmp_path, segmenter, codec, bframes):
    packets = encode(codec, 12, bframes)
    bag = record_video(tmp_path / 'drive.mcap', packets, codec)
    report = run(bag, tmp_path / 'out', segmenter)
    assert (report.frames, report.lost, report.notes, report.exit_status) == (12, 0, (), 0)
    sent = [packet.number for packet in packets]
    pictures = list(open_source(str(bag)))
    for log_time, message in read_all(tmp_path / 'out')[PANOPTIC]:
        number = message.header.stamp.nanosec
        assert log_time == START + sent.index(number) * PERIOD
        right = segmenter(pictures[number]).panoptic.numpy()
        np.testing.assert_array_equal(pixels(message), right)
    assert sorted(numbers_in(tmp_path / 'out')) == list(range(12))


@pytest.mark.parametrize('rules', ['', ':open-gop=1'])
def test_parts_made_by_several_workers_are_those_of_one(tmp_path, segmenter, rules):
    bag = record_video(tmp_path / 'drive.mcap', encode('h264', 20, bframes=2, more=rules))
    run(bag, tmp_path / 'one', segmenter, part_frames=7)
    job = BagJob(bag, tmp_path / 'two' / 'one', replace(SETTINGS, part_frames=7))
    for part in reversed(range(count_parts(job))):
        run_bag(job, parts=[part], segmenter=segmenter)
    assert finish_bag(job).frames == 20
    for file in sorted((tmp_path / 'one').glob('*.mcap')):
        assert file.read_bytes() == (tmp_path / 'two' / 'one' / file.name).read_bytes()
    assert sorted(numbers_in(tmp_path / 'one')) == list(range(20))


def test_what_a_missing_beginning_costs_is_a_note_and_what_damage_costs_is_lost(
    tmp_path, segmenter, packets
):
    damaged = packets[2:]
    at = 2 * GROUP  # of the second group that is whole
    damaged[at] = damaged[at]._replace(data=damaged[at].data[:8] + b'\xff' * 300)
    report = run(record_video(tmp_path / 'a.mcap', damaged), tmp_path / 'out', segmenter)
    assert report.exit_status == 1
    assert any('starts in the middle of a group' in note for note in report.notes)
    assert 1 <= report.lost <= GROUP
    assert f'packet {at + 1} is damaged' in report.sentences[0]
    found = sorted(numbers_in(tmp_path / 'out'))
    assert len(found) == report.frames == 20 - GROUP - report.lost
    assert damaged[at].number not in found


def test_of_every_second_packet_the_picture_is_segmented_and_no_other(tmp_path, segmenter, packets):
    bag = record_video(tmp_path / 'drive.mcap', packets)
    run(bag, tmp_path / 'out', segmenter, every=2, part_frames=7)
    right = sorted(packet.number for packet in packets[::2])
    assert sorted(numbers_in(tmp_path / 'out')) == right


def test_a_slice_begins_in_the_middle_of_a_group_with_its_own_first_picture(
    tmp_path, segmenter, packets
):
    bag = record_video(tmp_path / 'drive.mcap', packets)
    report = run(bag, tmp_path / 'out', segmenter, start=0.8, end=1.5)
    assert report.notes == ()
    assert sorted(numbers_in(tmp_path / 'out')) == sorted(p.number for p in packets[8:15])


def test_a_video_that_is_kept_beside_its_results_can_be_segmented_again(
    tmp_path, segmenter, packets
):
    bag = record_video(tmp_path / 'drive.mcap', packets)
    run(bag, tmp_path / 'out', segmenter, copy_inputs=True)
    first, again = list(open_source(str(bag))), list(open_source(f'{tmp_path}/out:/video'))
    np.testing.assert_array_equal(first, again)
    shutil.rmtree(tmp_path / 'out')


def test_a_video_as_protobuf_is_kept_as_one_of_ros_2(tmp_path, segmenter, packets):
    file = McapFile(tmp_path / 'drive.mcap', profile='')
    name = 'foxglove.CompressedVideo'
    channel = file.topic('/video', name, b'', 'protobuf', 'protobuf')
    for place, packet in enumerate(packets):
        file.write(channel, START + place * PERIOD, protobuf_message(packet))
    run(file.finish(), tmp_path / 'out', segmenter, copy_inputs=True)
    assert sorted(numbers_in(tmp_path / 'out')) == list(range(20))
    copied = read_all(tmp_path / 'out')['/video']
    assert [message.timestamp.nanosec for _, message in copied] == [p.number for p in packets]
    assert [bytes(message.data) for _, message in copied] == [p.data for p in packets]
