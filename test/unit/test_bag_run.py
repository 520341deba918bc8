"""A recording that is segmented keeps its times and its frames, whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rosbags.highlevel import AnyReader

from pdl_ros.bags.run import count_parts, finish_bag, run_bag
from pdl_ros.bags.run_settings import BagJob, RunSettings
from pdl_ros.bags.types import serialize
from pdl_ros.bags.writer import BagWriter, McapFileWriter
from pdl_ros.engines import EngineSettings
from pdl_ros.errors import PdlError
from pdl_ros.pipeline import Segmenter
from pdl_ros.tracking import Tracker

from . import recordings
from .drawn_bags import DELAY, IMAGE, PERIOD, START, image, pixels, read_all, record_streets, street

SETTINGS = RunSettings(weights='scene_tiny', device='cpu', engine='torch', precision='fp32')
NODE = '/panoptic_node'
OPTIONS = ('--weights', 'scene_tiny', '--engine', 'torch', '--precision', 'fp32')


@pytest.fixture(scope='module')
def segmenter() -> Segmenter:
    return Segmenter.load('scene_tiny', 'cpu', engine=EngineSettings('torch', 'fp32'))


@pytest.fixture(scope='module')
def bag(tmp_path_factory) -> Path:
    """One camera, eight frames."""
    return record_streets(tmp_path_factory.mktemp('recorded') / 'drive')


@pytest.fixture(scope='module')
def two(tmp_path_factory) -> Path:
    """Two cameras, eight frames each."""
    topics = ('/car/front/image_raw', '/car/left/image_raw')
    return record_streets(tmp_path_factory.mktemp('recorded') / 'two', topics)


def run(bag: Path, out: Path, segmenter: Segmenter | None, **changes):
    return run_bag(BagJob(bag, out, replace(SETTINGS, **changes)), segmenter=segmenter)


def command(*words: object) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, '-m', 'pdl_ros.cli', 'bag', 'run', *map(str, words), *OPTIONS]
    return subprocess.run(call, capture_output=True, text=True, timeout=120)


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
    for name, bag in bags.items():
        assert run(bag, tmp_path / f'of_{name}', segmenter, copy_inputs=True).frames == 4
        found = read_all(tmp_path / f'of_{name}')
        labels[name] = [pixels(m).tobytes() for _, m in found[f'{NODE}/panoptic/image']]
        stamps = {(m.header.stamp.nanosec, m.header.frame_id) for _, m in found['/image']}
        assert stamps == {(2, 'camera')}
    assert all(of_one == labels['sqlite'] for of_one in labels.values())


def recordings_compression():
    from rosbags.rosbag2 import CompressionMode

    return CompressionMode.MESSAGE


# --- Interrupted runs ---


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(two, tmp_path):
    """With ids that last: they depend on all that came before."""
    words = ('--no-timing', '--tracking', '--part-frames', '3')
    assert command(two, '-o', tmp_path / 'whole' / 'out', *words).returncode == 0
    out = tmp_path / 'killed' / 'out'
    call = [sys.executable, '-m', 'pdl_ros.cli', 'bag', 'run', str(two), '-o', str(out)]
    process = subprocess.Popen([*call, *words, *OPTIONS])
    end = time.monotonic() + 60
    while not list(out.glob('out_1.mcap')):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / 'metadata.yaml').exists(), 'it was through before it was killed'
    before = {file.name: file.stat().st_mtime_ns for file in out.glob('*.mcap')}
    done = command(two, '-o', out, *words)
    assert (done.returncode, 'were there already:' in done.stdout) == (0, True), done.stdout
    for name, changed in before.items():
        assert (out / name).stat().st_mtime_ns == changed
    files = sorted(path.name for path in (tmp_path / 'whole' / 'out').iterdir())
    assert files == sorted(path.name for path in out.iterdir())
    for name in files:
        assert (out / name).read_bytes() == (tmp_path / 'whole' / 'out' / name).read_bytes(), name


def test_parts_made_by_several_workers_are_those_of_one(two, tmp_path, segmenter):
    changes = {'part_frames': 3, 'timing': False, 'engine': 'torch'}
    run(two, tmp_path / 'one' / 'out', segmenter, **changes)
    job = BagJob(two, tmp_path / 'many' / 'out', replace(SETTINGS, **changes))
    parts = range(count_parts(job))
    assert len(parts) == 6
    run_bag(job, parts=parts[3:], segmenter=segmenter)
    with pytest.raises(PdlError, match='lacks 3 of 6 parts'):
        finish_bag(job)
    run_bag(job, parts=parts[:3], segmenter=segmenter)
    assert finish_bag(job).frames == 16
    for file in (tmp_path / 'one' / 'out').iterdir():
        assert (tmp_path / 'many' / 'out' / file.name).read_bytes() == file.read_bytes()


def test_tracking_cannot_be_divided_among_workers(two, tmp_path, segmenter):
    job = BagJob(two, tmp_path / 'out', replace(SETTINGS, tracking=True))
    with pytest.raises(PdlError, match='ids follow from what came before'):
        run_bag(job, parts=[0], segmenter=segmenter)


def test_ids_last_over_the_files_of_a_result(bag, tmp_path, segmenter):
    run(bag, tmp_path / 'out', segmenter, tracking=True, part_frames=3)
    tracker, found = Tracker(), read_all(tmp_path / 'out')
    for number, (at, things) in enumerate(found[f'{NODE}/instances']):
        tracks = tracker.update(segmenter(street(number)), at - DELAY)
        assert sorted(t.track_id for t in things.instances) == sorted(tracks.track_id.tolist())
    assert max(t.track_age for _, things in found[f'{NODE}/instances'] for t in things.instances)


def test_a_result_that_is_there_is_not_made_twice(bag, tmp_path, segmenter):
    run(bag, tmp_path / 'out', segmenter)
    again = run(bag, tmp_path / 'out', segmenter)
    assert (again.frames, again.made, again.exit_status) == (8, 0, 0)


def test_what_else_is_in_the_folder_of_the_result_is_left_alone(bag, tmp_path, segmenter):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'letter.txt').write_text('Dear')
    with pytest.raises(PdlError, match='is there already, and is not the result of this recording'):
        run(bag, tmp_path / 'out', segmenter)
    run(bag, tmp_path / 'done', segmenter)
    with pytest.raises(PdlError, match='with these settings; give another folder'):
        run(bag, tmp_path / 'done', segmenter, every=2)
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['letter.txt']


def test_a_disk_that_is_full_keeps_what_is_whole_and_the_run_goes_on(
    bag, tmp_path, segmenter, monkeypatch
):
    real, room = McapFileWriter.write, [30]

    def write(self, *words):
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(self, *words)

    monkeypatch.setattr(McapFileWriter, 'write', write)
    report = run(bag, tmp_path / 'out', segmenter, part_frames=3)
    assert (report.frames, report.total, report.exit_status) == (3, 8, 1)
    assert 'No space left on device; make room and give the same command' in report.failure
    assert len(read_all(tmp_path / 'out')[f'{NODE}/instances']) == 3
    assert not list((tmp_path / 'out').glob('*.part'))
    monkeypatch.undo()
    report = run(bag, tmp_path / 'out', segmenter, part_frames=3)
    assert (report.frames, report.made, report.exit_status) == (8, 5, 0)


def test_a_run_goes_on_with_the_engine_that_auto_came_to(bag, tmp_path, segmenter, monkeypatch):
    """Elsewhere, or another time, another might be the fastest."""
    chosen = replace(SETTINGS, engine='auto', precision='auto', batch=2, part_frames=3)
    job = BagJob(bag, tmp_path / 'out', chosen)
    run_bag(job, parts=[0], segmenter=segmenter)
    opened: list[RunSettings] = []

    def note(self: RunSettings) -> Segmenter:
        opened.append(self)
        return Segmenter.load('scene_tiny', 'cpu', engine=EngineSettings('torch', 'fp32'))

    monkeypatch.setattr(RunSettings, 'open_segmenter', note)
    assert run_bag(job).frames == 8
    assert [(s.engine, s.precision, s.batch) for s in opened] == [('torch', 'fp32', 2)]
    with pytest.raises(PdlError, match='not the result of this recording with these settings'):
        run_bag(BagJob(bag, tmp_path / 'out', replace(chosen, engine='onnx')))


@pytest.mark.slow
def test_a_disk_that_is_small_ends_a_run_in_words_and_more_room_lets_it_go_on(bag, tmp_path):
    """Compressed labels of a file take some 30 kB, and a file system of pages 4 kB at least."""
    disk = tmp_path / 'disk'
    disk.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=300k', 'tmpfs', str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('needs root')
    try:
        words = (bag, '-o', disk / 'out', '--part-frames', '2', '--copy-inputs')
        done = command(*words)
        assert done.returncode == 1, done.stdout + done.stderr
        assert 'cannot be written: No space left on device; make room' in done.stdout
        kept = len(read_all(disk / 'out')[f'{NODE}/instances'])
        assert 2 <= kept < 8 and f'{kept} of 8 images' in done.stdout
        subprocess.run(['mount', '-o', 'remount,size=10m', str(disk)], check=True)
        done = command(*words)
        assert (done.returncode, f'already: {kept}' in done.stdout) == (0, True), done.stdout
        assert len(read_all(disk / 'out')[f'{NODE}/instances']) == 8
    finally:
        subprocess.run(['umount', str(disk)], check=True)


def test_two_processes_do_not_write_one_result(bag, tmp_path, segmenter):
    job = BagJob(bag, tmp_path / 'out', replace(SETTINGS, part_frames=2))

    def second(done: int, total: int) -> None:
        with pytest.raises(PdlError, match='is being written by another process'):
            run_bag(job, segmenter=segmenter)
        seen.append(done)

    seen: list[int] = []
    assert run_bag(job, second, segmenter=segmenter).frames == 8
    assert seen == list(range(1, 9))


# --- Recordings as they are found ---


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
