"""What goes wrong with recordings costs only itself, in every command, and is said."""

from __future__ import annotations

import csv
import errno
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from pdl_ros.bags.bag import Bag
from pdl_ros.bags.contents import contents_of
from pdl_ros.bags.types import serialize, typestore
from pdl_ros.bags.writer import BagWriter, McapFileWriter
from pdl_ros.demo.labelled_bag import write_street_bag
from pdl_ros.sources.stamps import read_stamps

from .drawn_bags import DELAY, IMAGE, MAKE, PERIOD, SIZE, START, image, record_streets, street
from .recordings import data_file, record_mcap
from .test_bag_points import record_depth
from .test_cli import call

TINY = ('--weights', 'scene_tiny', '--device', 'cpu', '--engine', 'torch', '--precision', 'fp32')
HEIGHT, WIDTH = SIZE


def huge_size(data: bytes) -> bytes:
    """An image that says that it is 10 GB of pixels."""
    return data.replace(struct.pack('<II', HEIGHT, WIDTH), struct.pack('<II', 60000, 60000), 1)


def huge_length(data: bytes) -> bytes:
    """An image whose pixels are said to be 4 GB."""
    said = struct.pack('<I', HEIGHT * WIDTH * 3)
    head, _, tail = data.rpartition(said)
    return head + struct.pack('<I', 0xF0000000) + tail


def depth(data: bytes) -> bytes:
    """An image in an encoding that is no picture."""
    return data.replace(b'rgb8\0', b'16SC\0')


DAMAGE = {2: huge_size, 4: huge_length, 5: depth}


@pytest.fixture(scope='module')
def damaged(tmp_path_factory) -> Path:
    """Eight images, three of which are damaged, each in a way of its own."""
    folder = tmp_path_factory.mktemp('damaged') / 'drive'
    with BagWriter(folder) as writer:
        key = writer.add_topic('/image', IMAGE)
        for number in range(8):
            time = START + number * PERIOD
            data = serialize(image(street(number), time - DELAY))
            broken = DAMAGE[number](data) if number in DAMAGE else data
            assert (broken != data) == (number in DAMAGE)
            writer.write(key, time, broken)
    return folder


def test_damaged_images_cost_infer_only_themselves_and_are_said(damaged, tmp_path):
    done = call('infer', damaged, '-o', tmp_path / 'out', *TINY)
    assert done.returncode == 1
    assert '5 frames segmented' in done.stdout
    assert 'lost: 3' in done.stdout
    for number, why in ((3, '60000x60000'), (5, 'damaged'), (6, "'16SC'")):
        (line,) = (text for text in done.stdout.splitlines() if f'image {number}: ' in text)
        assert why in line
    stamps = [row.stamp for row in read_stamps(tmp_path / 'out')]
    assert stamps == [START + n * PERIOD - DELAY for n in range(8) if n not in DAMAGE]


def test_damaged_images_cost_a_video_and_reruns_file_only_themselves(damaged, tmp_path):
    pytest.importorskip('rerun')
    done = call('bag', 'run', damaged, '-o', tmp_path / 'out', '--rerun', tmp_path / 'a.rrd', *TINY)
    assert done.returncode == 1, done.stderr
    assert '5 of 8 images' in done.stdout
    assert 'a.rrd shows 5 images' in done.stdout
    done = call('bag', 'video', damaged, '--results', tmp_path / 'out', '-o', tmp_path / 'a.mp4')
    assert done.returncode == 1
    assert 'a.mp4: 5 images' in done.stdout
    assert 'lost: 3' in done.stdout


def test_where_no_image_can_be_decoded_infer_says_why_and_that_nothing_was_done(tmp_path):
    with BagWriter(tmp_path / 'drive') as writer:
        key = writer.add_topic('/image', IMAGE)
        writer.write(key, START, huge_size(serialize(image(street(0), START))))
    done = call('infer', tmp_path / 'drive', '-o', tmp_path / 'out', *TINY)
    assert done.returncode == 2
    sentence = done.stderr.splitlines()[-1]
    assert 'no image of /image can be decoded; the first: ' in sentence
    assert '60000x60000' in sentence


@pytest.mark.parametrize('damage', ['cut', 'chunk'])
def test_what_is_whole_of_a_damaged_file_is_segmented_by_infer_with_status_1(tmp_path, damage):
    path = record_mcap(tmp_path / 'drive.mcap')
    data = bytearray(path.read_bytes())
    if damage == 'cut':
        del data[len(data) * 3 // 4 :]
    else:
        data[len(data) // 2] ^= 255
    path.write_bytes(data)
    done = call('infer', path, '-o', tmp_path / 'out', *TINY)
    assert done.returncode == 1
    assert 4 <= len(read_stamps(tmp_path / 'out')) < 12
    assert ('lost: ' in done.stdout) == (damage == 'chunk')


def test_a_part_that_is_not_there_is_a_loss_to_every_command(tmp_path):
    with BagWriter(tmp_path / 'drive', max_bytes=1, chunk_size=1) as writer:
        key = writer.add_topic('/image', IMAGE)
        for number in range(3):
            time = START + number * PERIOD
            writer.write(key, time, serialize(image(street(number), time)))
    (tmp_path / 'drive' / 'drive_1.mcap').unlink()
    calls = [
        ('bag', 'info', tmp_path / 'drive'),
        ('bag', 'run', tmp_path / 'drive', '-o', tmp_path / 'out', *TINY),
        ('bag', 'repair', tmp_path / 'drive', '-o', tmp_path / 'whole'),
        ('infer', tmp_path / 'drive', '-o', tmp_path / 'seen', *TINY),
    ]
    for words in calls:
        done = call(*words)
        assert done.returncode == 1, words
    assert 'drive_1.mcap' in call(*calls[0]).stdout
    assert len(read_stamps(tmp_path / 'seen')) == 2


def test_a_run_and_a_video_say_once_that_their_recording_was_cut_off(tmp_path, caplog):
    path = record_mcap(tmp_path / 'drive.mcap')
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    out, video = tmp_path / 'out', tmp_path / 'a.mp4'
    for words in (('run', path, '-o', out, *TINY), ('video', path, '--results', out, '-o', video)):
        caplog.clear()
        done = call('bag', *words)
        assert done.returncode == 1, done.stderr
        said = [r.getMessage() for r in caplog.records if r.name == 'pdl_ros.bags']
        assert len(said) == 1
        assert 'was cut off' in said[0]
    assert video.is_file()


def test_a_repair_on_a_full_disk_says_what_it_kept(tmp_path, monkeypatch):
    real, room = McapFileWriter.write, [5]

    def write(self, *words):
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(self, *words)

    bag = record_streets(tmp_path / 'drive')
    monkeypatch.setattr(McapFileWriter, 'write', write)
    done = call('bag', 'repair', bag, '-o', tmp_path / 'whole')
    assert done.returncode == 1
    assert '5 messages of 1 topics are saved' in done.stdout
    assert 'The rest is not: ' in done.stdout
    assert 'No space left on device' in done.stdout
    assert 'Nothing was lost' not in done.stdout
    kept = Bag(tmp_path / 'whole')
    assert sum(1 for _ in kept.messages(kept.topics)) == 5
    room[0] = 0
    done = call('bag', 'repair', bag, '-o', tmp_path / 'none')
    assert (done.returncode, done.stdout) == (2, '')
    assert 'No space left on device' in done.stderr


# --- SQLite ---------------------------------------------------------------------------------------


def as_sqlite(bag: Path, folder: Path) -> Path:
    """Write the messages of a bag into one of SQLite, with rosbags."""
    source = Bag(bag)
    with Writer(folder, version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        keys = {
            topic: writer.add_connection(topic.name, topic.type, typestore=typestore())
            for topic in source.topics
        }
        for message in source.messages(source.topics):
            writer.write(keys[message.topic], message.log_time, message.data)
    assert data_file(folder).suffix == '.db3'
    return folder


def test_recordings_in_sqlite_go_through_every_command(tmp_path):
    street_bag = write_street_bag(tmp_path / 'drawn', 6, size=SIZE)
    drive = as_sqlite(street_bag, tmp_path / 'drive')
    with_depth = as_sqlite(record_depth(tmp_path / 'depth_mcap'), tmp_path / 'depth')
    options = ('--tracking', '--points', 'dense', '--copy-inputs', *TINY)
    calls = [
        ('bag', 'info', drive),
        ('bag', 'run', with_depth, '-o', tmp_path / 'points', *options),
        ('bag', 'run', drive, '-o', tmp_path / 'ran', '--tracking', '--overlay', *TINY),
        ('bag', 'video', drive, '--results', tmp_path / 'ran', '-o', tmp_path / 'a.mp4'),
        ('infer', f'{drive}:/camera/image', '-o', tmp_path / 'seen', *TINY),
        ('bag', 'repair', drive, '-o', tmp_path / 'whole'),
    ]
    for words in calls:
        done = call(*words)
        assert done.returncode == 0, (words, done.stderr)
    assert {topic.name for topic in Bag(tmp_path / 'points').topics} >= {'/panoptic_node/points'}
    results = as_sqlite(tmp_path / 'ran', tmp_path / 'results')
    tables = []
    for predicted, truth in ((results, drive), (tmp_path / 'ran', street_bag)):
        done = call('bag', 'score', predicted, '--truth', truth, '--identities')
        assert done.returncode == 0, done.stderr
        assert 'Flicker: ' in done.stdout
        tables.append([line for line in done.stdout.splitlines() if '│' in line])
    assert tables[0] == tables[1]
    done = call('bag', 'run', drive, with_depth, '-o', tmp_path / 'many', '--jobs', '2', *TINY)
    assert done.returncode == 0, done.stdout


# --- names ----------------------------------------------------------------------------------------

TOPIC = '/ca méra "x" <script>alert(1)</script> [red]\'& ünï/image'
FRAME_ID = '<b>frame</b>, "q";\n\x1b[31m ünï'


def test_names_of_any_letters_harm_no_page_table_or_terminal(tmp_path):
    with BagWriter(tmp_path / 'in <i>') as writer:
        keys = [writer.add_topic(name, IMAGE) for name in (TOPIC, '/truth/panoptic/image')]
        for number in range(3):
            stamp = START + number * PERIOD
            writer.write(keys[0], stamp, serialize(image(street(number), stamp, FRAME_ID)))
            fields = {'height': HEIGHT, 'width': WIDTH, 'encoding': '16UC1', 'step': 2 * WIDTH}
            header, labels = MAKE.header(stamp, FRAME_ID), np.zeros((HEIGHT, WIDTH), np.uint16)
            truth = MAKE.new(IMAGE, header=header, data=labels.view(np.uint8).ravel(), **fields)
            writer.write(keys[1], stamp, serialize(truth))
    bag = tmp_path / 'in <i>'
    done = call('bag', 'info', bag)
    assert TOPIC in done.stdout
    assert done.returncode == 0
    assert call('infer', f'{bag}:{TOPIC}', '-o', tmp_path / 'seen', *TINY).returncode == 0
    text = (tmp_path / 'seen' / 'stamps.csv').read_text()
    assert '\x1b' not in text
    rows = list(csv.DictReader(text.splitlines()))  # a line is a frame
    assert [row['frame_id'] for row in rows] == ['<b>frame</b>, "q";??[31m ünï'] * 3
    assert call('bag', 'run', bag, '-o', tmp_path / 'out', '--copy-inputs', *TINY).returncode == 0
    page = tmp_path / 'page.html'
    done = call(
        'bag', 'score', tmp_path / 'seen', '--truth', bag, '--images', f'{bag}:{TOPIC}',
        '--report', page,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = page.read_text()
    assert 'in &lt;i&gt;' in written
    assert 'in <i>' not in written
    assert '<script>alert' not in written
    assert call('bag', 'video', tmp_path / 'out', '-o', tmp_path / 'a.mp4').returncode == 0


# --- looked at ------------------------------------------------------------------------------------


def test_labels_as_png_are_labels_to_bag_info_and_an_overlay_is_a_result(tmp_path):
    bag = record_streets(tmp_path / 'drive', frames=range(2))
    done = call('bag', 'run', bag, '-o', tmp_path / 'out', '--labels', 'png', '--overlay', *TINY)
    assert done.returncode == 0
    found = {topic.name.removeprefix('/panoptic_node/'): topic for topic in
             contents_of(tmp_path / 'out').topics}  # fmt: skip
    for name in ('semantic', 'instance', 'panoptic'):
        topic = found[f'{name}/image/compressed']
        assert (topic.use, topic.height, topic.width, topic.why_not) == ('labels', *SIZE, '')
    assert found['overlay/image'].use == 'result'
    assert 'Score it: ' in call('bag', 'info', tmp_path / 'out').stdout


def test_a_recording_without_messages_has_no_time(tmp_path):
    with BagWriter(tmp_path / 'drive') as writer:
        writer.add_topic('/image', IMAGE)
    done = call('bag', 'info', tmp_path / 'drive')
    assert done.returncode == 0
    assert 'drive: no messages; ' in done.stdout
    assert '1970' not in done.stdout


# --- without the extras ---------------------------------------------------------------------------

WITHOUT = """
import importlib.machinery, sys
hidden = set(sys.argv[1].split(','))
real = importlib.machinery.PathFinder.find_spec
def find_spec(name, path=None, target=None):
    return None if name.partition('.')[0] in hidden else real(name, path, target)
importlib.machinery.PathFinder.find_spec = find_spec
from pdl_ros.cli import main
for line in sys.stdin.read().splitlines():
    sys.argv = ['pdl_ros', *line.split()]
    try:
        main()
    except SystemExit as ended:
        print('status', ended.code, flush=True)
"""


@pytest.mark.parametrize(
    ('hidden', 'extra', 'commands'),
    [
        (
            'rosbags,mcap,mcap_ros2,lz4,zstandard',
            'bag',
            ['bag info in', 'bag run in -o o', 'bag run in in2 -o o', 'bag repair in -o o',
             'bag video in -o o.mp4', 'infer in -o o', 'demo --bag -o o'],
        ),
        ('mcap', 'bag', ['bag info in', 'bag run in -o o', 'bag repair in -o o']),
        ('av', 'video', ['bag video in -o o.mp4']),
        ('rerun', 'rerun', ['bag run in -o o --rerun r', 'infer in -o o --rerun r',
                            'demo --bag -o o --rerun r']),
        ('ray', 'ray', ['bag run in -o o --ray auto']),
        ('matplotlib', 'evaluate', ['bag score in --truth in --report r.html', 'demo --bag -o o']),
    ],
)  # fmt: skip
def test_a_missing_extra_is_named_before_any_work(tmp_path, hidden, extra, commands):
    record_streets(tmp_path / 'in', frames=range(1))
    command = [sys.executable, '-c', WITHOUT, hidden]
    done = subprocess.run(
        command, input='\n'.join(commands), capture_output=True, text=True, cwd=tmp_path,
        timeout=120,
    )  # fmt: skip
    assert done.stdout.splitlines() == ['status 2'] * len(commands), done.stdout + done.stderr
    said = done.stderr.splitlines()
    assert len(said) == len(commands)
    for line in said:
        assert line.startswith('pdl_ros: This needs the package ')
        assert line.endswith(f"pip install 'pdl_ros[{extra}]'.")
    assert [path.name for path in tmp_path.iterdir()] == ['in']
