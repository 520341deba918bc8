"""Recordings as they are found: what is damaged or odd costs itself, and is said."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from pdl_ros.bags.types import serialize
from pdl_ros.bags.writer import BagWriter

from . import recordings
from .bag_runs import NODE, bag, command, run, segmenter, two
from .drawn_bags import IMAGE, PERIOD, START, image, pixels, read_all, street

__all__ = ['bag', 'segmenter', 'two']


def bag_of(folder: Path, messages, kind: str = IMAGE, topic: str = '/image') -> Path:
    """Write serialized messages, at 10 Hz."""
    with BagWriter(folder) as writer:
        number = writer.add_topic(topic, kind)
        for place, data in enumerate(messages):
            writer.write(number, START + place * PERIOD, data)
    return folder


def drawn(number: int, **changes) -> bytes:
    message = image(street(number), START + number * PERIOD)
    for name, value in changes.items():
        setattr(message, name, value)
    return serialize(message)


def test_images_that_cannot_be_read_cost_themselves_and_are_said(tmp_path, segmenter):
    broken = [
        drawn(0),
        drawn(1, encoding='32FC1'),
        drawn(2)[:400],
        drawn(3, height=2**31, step=2**31),
        drawn(4),
    ]
    report = run(bag_of(tmp_path / 'bag', broken), tmp_path / 'out', segmenter)
    assert (report.frames, report.lost, report.total, report.exit_status) == (2, 3, 5, 1)
    assert [sentence.partition(':')[0] for sentence in report.sentences] == [
        f'/image, image {number}' for number in (2, 3, 4)
    ]
    found = read_all(tmp_path / 'out')[f'{NODE}/timing']
    assert [(m.frames_received, m.frames_dropped) for _, m in found] == [(1, 0), (5, 3)]


def test_a_recording_that_was_cut_off_is_segmented_as_far_as_it_is_whole(
    tmp_path, segmenter, caplog
):
    whole = recordings.record_mcap(tmp_path / 'drive.mcap')
    cut = tmp_path / 'cut.mcap'
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    report = run(cut, tmp_path / 'out', segmenter)
    assert 2 <= report.frames < 12 and report.exit_status == 1 and not report.whole
    assert 'was cut off' in caplog.text


def test_images_that_change_their_size_and_encoding_are_segmented_each_at_its_own(
    tmp_path, segmenter
):
    small = street(1, 1, (64, 96))
    mixed = [
        drawn(0),
        serialize(image(small, START)),
        drawn(2, encoding='bgr8', data=street(2)[..., ::-1].reshape(-1)),
        drawn(3),
    ]
    report = run(bag_of(tmp_path / 'bag', mixed), tmp_path / 'out', segmenter, batch=4)
    assert (report.frames, report.exit_status) == (4, 0)
    labels = [pixels(m) for _, m in read_all(tmp_path / 'out')[f'{NODE}/panoptic/image']]
    for picture, found in zip((street(0), small, street(2), street(3)), labels, strict=True):
        np.testing.assert_array_equal(found, segmenter(picture).panoptic.numpy())


def test_stamps_that_jump_and_repeat_are_kept_and_said(tmp_path, segmenter):
    stamps = [START, START + PERIOD, START + PERIOD, START - PERIOD]
    messages = [serialize(image(street(n), stamp)) for n, stamp in enumerate(stamps)]
    report = run(bag_of(tmp_path / 'bag', messages), tmp_path / 'out', segmenter, tracking=True)
    assert (report.frames, report.exit_status) == (4, 0)
    assert [note.partition(';')[0] for note in report.notes] == [
        'stamps that are before that of the image before: 1',
        'stamps that are that of the image before: 1',
    ]
    kept = [m.header.stamp for _, m in read_all(tmp_path / 'out')[f'{NODE}/instances']]
    assert [s.sec * 10**9 + s.nanosec for s in kept] == stamps


@pytest.mark.parametrize(
    ('make', 'sentence'),
    [
        (lambda folder: bag_of(folder, []), 'has no topic with images of a camera; its topics: no'),
        (
            lambda folder: bag_of(folder, [b'\0\1\0\0'], 'std_msgs/msg/Empty', '/news'),
            r'its topics: /news \(std_msgs/msg/Empty\)',
        ),
        (lambda folder: folder, 'is not there; give a recording'),
    ],
    ids=['no messages', 'no images', 'nothing'],
)
def test_where_there_is_nothing_to_do_a_sentence_says_why(tmp_path, make, sentence):
    done = command(make(tmp_path / 'bag'), '-o', tmp_path / 'out')
    assert done.returncode == 2
    assert re.search(sentence, done.stderr)
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / 'out').exists()


def test_a_file_that_is_no_recording_is_refused_in_a_sentence(tmp_path):
    shutil.copy(__file__, tmp_path / 'drive.mcap')
    done = command(tmp_path / 'drive.mcap', '-o', tmp_path / 'out')
    assert (done.returncode, done.stderr.count('\n')) == (2, 1)
    assert 'does not begin like an MCAP' in done.stderr
