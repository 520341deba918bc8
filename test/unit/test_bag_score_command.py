"""`pdl_ros bag score` and `infer` on a bag, as a user calls them; and the page that is left."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from pdl_ros.cli import main
from pdl_ros.demo.labelled_bag import START, write_street_bag
from pdl_ros.demo.scene import Scene
from pdl_ros.engines import EngineSettings
from pdl_ros.evaluation.recordings.report import write_report
from pdl_ros.evaluation.recordings.result import BagScores
from pdl_ros.evaluation.recordings.saved_scores import read_scores
from pdl_ros.labels import LabelClass
from pdl_ros.pipeline import Segmenter
from pdl_ros.sources.stamps import read_stamps

from .browser import look_at, requests_of
from .scored_bags import stamps, write_results

TORCH = EngineSettings('torch', 'fp32')  # which engine is fastest is no matter here
COUNT, SIZE = 6, (96, 160)


@pytest.fixture(scope='module')
def bags(tmp_path_factory) -> Path:
    """A folder with `in`, a drawn street with its truth, and `out`, what a network says of it."""
    folder = tmp_path_factory.mktemp('bags')
    scene, segmenter = Scene(47, *SIZE), Segmenter.load('scene_tiny', 'cpu', engine=TORCH)
    results = [segmenter(scene.frame(n).image) for n in range(COUNT)]
    write_street_bag(folder / 'in', COUNT, size=SIZE)
    write_results(folder / 'out', scene.label_set, results, stamps(COUNT))
    return folder


@pytest.fixture
def run(monkeypatch, capsys, bags, tmp_path):
    """Call a command in a folder in which `in` and `out` are the bags."""
    for name in ('in', 'out'):
        (tmp_path / name).symlink_to(bags / name)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, 'argv', ['pdl_ros', *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        return status, *capsys.readouterr()

    return call


def test_scores_are_printed_kept_and_merged_again_from_their_files(run, tmp_path):
    first = ('bag', 'score', 'out', '--truth', 'in', '--identities', '--json', 'a.json')
    status, said, _ = run(*first)
    assert status == 0
    for words in ('Scores in percent; images: 6', '6 of 6 labelled frames', 'Flicker: ', 'IDF1'):
        assert words in said
    told = json.loads((tmp_path / 'a.json').read_text())
    assert told['frames'] == {'matched': 6, 'predicted_frames': 6, 'labelled_frames': 6}
    assert 0.3 < told['pq'] < 1
    assert told['stability']['id_switches'] is not None

    status, said, _ = run('bag', 'score', 'a.json', 'a.json', '--json', 'b.json')
    assert status == 0
    assert 'All 2 recordings: 12 of 12 labelled frames' in said
    twice = json.loads((tmp_path / 'b.json').read_text())
    for name in ('pq', 'miou', 'ap'):
        assert twice[name] == told[name]
    switches = told['stability']['id_switches']
    assert twice['stability'] == {**told['stability'], 'id_switches': 2 * switches}
    assert twice['images'] == 12


def test_one_recording_of_a_fleet_that_cannot_be_scored_costs_itself_and_status_1(run, tmp_path):
    (tmp_path / 'text.txt').write_text('no bag')
    status, said, _ = run('bag', 'score', 'text.txt', 'out', '--truth', 'in')
    assert status == 1
    assert 'images: 6' in said
    assert said.splitlines()[-1].startswith('text.txt is not among the scores: text.txt is neither')
    status, _, said = run('bag', 'score', 'text.txt', 'text.txt', '--truth', 'in')
    assert (status, said.count('\n')) == (2, 1)
    assert 'None of the 2 could be scored; the first: text.txt is not' in said


def test_several_recordings_are_scored_as_one_with_one_truth_or_one_for_each(run):
    once = run('bag', 'score', 'out', 'out', '--truth', 'in')
    each = run('bag', 'score', 'out', 'out', '--truth', 'in', '--truth', 'in')
    assert once == each
    assert 'images: 12' in once[1]


LIMITS = {
    'PQ is ': ('--min-pq', 0.99),
    'mIoU is ': ('--min-miou', 0.99),
    'AP is ': ('--min-ap', 0.99),
    'IDF1 is unknown': ('--min-idf1', 0.1),
    'Flicker is ': ('--max-flicker', 0.0001),
}


@pytest.mark.parametrize('says', LIMITS)
def test_a_ci_fails_with_status_1_and_a_sentence_where_a_score_is_too_bad(run, says):
    status, said, _ = run('bag', 'score', 'out', '--truth', 'in', *LIMITS[says])
    assert status == 1
    assert says in said.splitlines()[-1]
    assert 'that was asked for' in said


def test_a_ci_passes_where_all_scores_are_good_enough(run):
    limits = ('--min-pq', 0.3, '--min-miou', 0.3, '--min-matched', 1, '--max-flicker', 0.5)
    assert run('bag', 'score', 'out', '--truth', 'in', '--identities', *limits)[0] == 0


def test_a_recording_that_was_cut_off_is_scored_as_far_as_it_goes_with_status_1(run, tmp_path):
    whole = next((tmp_path / 'out').glob('*.mcap')).read_bytes()
    (tmp_path / 'cut.mcap').write_bytes(whole[: len(whole) - 3000])
    status, said, _ = run('bag', 'score', 'cut.mcap', '--truth', 'in')
    assert status == 1
    assert 'A recording is damaged, and what could be read of it was scored.' in said


MISTAKES = {
    'Give the truth with --truth': ('out',),
    '--truth is for recordings': ('a.json', '--truth', 'in'),
    '2 recordings have 3 truths': ('out', 'out', *(3 * ('--truth', 'in'))),
    'There is no nowhere': ('nowhere', '--truth', 'in'),
    'is neither a rosbag nor a folder': ('text.txt', '--truth', 'in'),
    'has no images on /x; its label images: ': ('out', '--truth', 'in', '--topic', '/x'),
    'has no panoptic label images': ('plain', '--truth', 'in'),
    'is its own truth': ('out', '--truth', 'out'),
    'cannot be scored against itself': (
        'out', '--truth', 'out', '--truth-topic', '/panoptic_node/panoptic/image'
    ),
    'it can be cityscapes, coco, none': ('out', '--truth', 'in', '--ap', 'voc'),
    'give finite numbers': ('out', '--truth', 'in', '--tolerance', 'inf'),
    'No label set': ('out', '--truth', 'in', '--labels', 'nowhere'),
    '--labels has label set': ('out', '--truth', 'in', '--labels', 'camvid'),
    'is no rosbag; give --images': ('out', '--truth', 'in', '--images', 'text.txt'),
    'has no topic with images': ('out', '--truth', 'in', '--images', 'out'),
    'is a folder; give the name of a file': ('out', '--truth', 'in', '--report', '.'),
    'is a folder of images, which has no topic': (
        'out', '--truth', 'pngs', '--truth-topic', '/truth'
    ),
}  # fmt: skip


@pytest.mark.parametrize('says', MISTAKES)
def test_a_users_mistake_is_one_sentence_and_status_2(run, says, tmp_path):
    (tmp_path / 'text.txt').write_text('no bag')
    (tmp_path / 'pngs').mkdir()
    _plain_bag(tmp_path / 'plain')
    status, _, said = run('bag', 'score', *MISTAKES[says])
    assert (status, said.count('\n')) == (2, 1)
    assert says in said


def _plain_bag(folder: Path) -> None:
    from pdl_ros.bags.bag_messages import BagMessages
    from pdl_ros.bags.types import serialize
    from pdl_ros.bags.writer import BagWriter
    from pdl_ros.messages.images import ImageWriter

    make = BagMessages()
    with BagWriter(folder) as bag:
        topic = bag.add_topic('/camera/image', 'sensor_msgs/msg/Image')
        image = ImageWriter(make, 'rgb8').fill(np.zeros((4, 4, 3)), make.header(START, 'camera'))
        bag.write(topic, START, serialize(image))


def test_what_infer_and_run_make_of_a_bag_has_the_scores_of_evaluate_to_the_last_digit(
    run, tmp_path
):
    used = (
        '--weights',
        'scene_tiny',
        '--device',
        'cpu',
        '--engine',
        'torch',
        '--precision',
        'fp32',
    )
    status, said, _ = run('infer', 'in:/camera/image', '-o', 'frames', *used)
    assert (status, said.splitlines()[-1]) == (0, '6 frames segmented into frames/')
    rows = read_stamps(tmp_path / 'frames')
    assert [row.stamp for row in rows] == stamps(COUNT)
    assert rows[0] == (START, 'camera', START + 2_000_000, f'{START}_panoptic.png')
    status, said, _ = run('bag', 'score', 'frames', '--truth', 'in', '--json', 'a.json')
    assert status == 0, said

    data, scene = tmp_path / 'data', Scene(47, *SIZE)
    for kind in ('images', 'panoptic'):
        (data / kind / 'val').mkdir(parents=True)
    for n in range(COUNT):
        sample = scene.frame(n)
        cv2.imwrite(str(data / 'images' / 'val' / f'{n}.png'), sample.image[..., ::-1])
        labels = sample.panoptic.astype(np.uint16)
        cv2.imwrite(str(data / 'panoptic' / 'val' / f'{n}.png'), labels)
    status, said, _ = run('evaluate', '--data', 'data', *used, '--json', 'b.json')
    assert status == 0, said
    status, _, said = run('bag', 'run', 'in', '-o', 'ran', *used, '--labels', 'png')
    assert status == 0, said
    status, said, _ = run('bag', 'score', 'ran', '--truth', 'in', '--json', 'c.json')
    assert status == 0, said
    ours, theirs, bags = (json.loads((tmp_path / f'{x}.json').read_text()) for x in 'abc')
    for name in ('pq', 'sq', 'rq', 'miou', 'iiou', 'ap', 'ap50', 'classes', 'confusion'):
        assert ours[name] == theirs[name] == bags[name], name


def test_frames_of_a_bag_that_repeat_their_stamp_do_not_overwrite_each_other(run, tmp_path):
    from .recordings import record

    record(tmp_path / 'same', {'/image': 'rgb8'}, frames=3)
    status, _, _ = run('infer', 'same', '-o', 'o', '--weights', 'scene_tiny', '--device', 'cpu')
    assert status == 0
    names = ['1000000002_panoptic.png', '1000000002-1_panoptic.png', '1000000002-2_panoptic.png']
    assert [row.file for row in read_stamps(tmp_path / 'o')] == names
    assert all((tmp_path / 'o' / name).is_file() for name in names)


# --- the page -------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The headings of a page, and every tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == 'h2' and data.strip():
            self.headings.append(data)
            self.tags.append(('', {}))


def test_the_page_shows_time_classes_stability_confusion_and_the_worst_frames(run, tmp_path):
    pytest.importorskip('matplotlib')
    command = ('bag', 'score', 'out', 'out', '--truth', 'in', '--identities')
    assert run(*command, '--window', 0.1, '--report', 'r.html')[0] == 0
    page = Page((tmp_path / 'r.html').read_text())
    assert page.headings == [
        'Recordings, in percent',
        'Over time',
        'Scores in percent',
        'Stability',
        'Pixels of each labelled class by predicted class, in percent',
        'The worst frames, by the mean PQ of the classes in them',
    ]
    tags = [tag for tag, _ in page.tags]
    assert tags.count('svg') == 1
    assert tags.count('table') == 3
    assert tags.count('img') == 2 * 3, 'picture, truth and prediction of the worst of each'
    assert 'script' not in tags
    assert all(a['src'].startswith('data:') for tag, a in page.tags if tag == 'img')


def test_a_page_of_scores_out_of_a_file_has_the_worst_frames_without_pictures(run, tmp_path):
    pytest.importorskip('matplotlib')
    assert run('bag', 'score', 'out', '--truth', 'in', '--json', 'a.json')[0] == 0
    assert run('bag', 'score', 'a.json', '--report', 'r.html')[0] == 0
    text = (tmp_path / 'r.html').read_text()
    assert '<img' not in text
    assert 'at the stamp 17000000' in text


def test_the_page_is_shown_by_a_browser_and_asks_the_network_for_nothing(run, tmp_path):
    pytest.importorskip('matplotlib')
    run('bag', 'score', 'out', '--truth', 'in', '--json', 'a.json', '--report', 'r.html')
    folders = [tmp_path / name for name in ('one', 'two', 'three')]
    for folder in folders:
        folder.mkdir()
    seen = look_at(tmp_path / 'r.html', folders[0])
    assert seen.shape == (2400, 1100, 3)
    used = (seen < 250).any(2).any(1)
    assert used[:200].any(), 'the title is there'
    assert used[1200:].any(), 'and so is what comes after the curves'
    assert len(np.unique(seen.reshape(-1, 3), axis=0)) > 1000, 'with colours of pictures'

    # Whoever recorded a bag chose the names in it: they are words, and nothing leaves the page.
    hostile = '<img src="http://pdl-ros.invalid/name.png">'
    (recording,) = read_scores(tmp_path / 'a.json')
    classes = recording.label_set.classes
    labels = replace(
        recording.label_set, classes=(LabelClass(hostile, (1, 2, 3), False), *classes[1:])
    )
    evil = replace(recording, name=hostile, label_set=labels, notes=[hostile])
    for window in evil.windows:
        window.evaluator.label_set = labels
    scores = BagScores([evil])
    write_report(scores, scores.compute(), tmp_path / 'evil.html')
    assert requests_of(tmp_path / 'evil.html', folders[1]) == []
    (tmp_path / 'plain.html').write_text(f'<html><body>{hostile}</body></html>')
    assert requests_of(tmp_path / 'plain.html', folders[2]) == ['http://pdl-ros.invalid/name.png']


# --- the demo -------------------------------------------------------------------------------------


def test_the_demo_goes_from_a_bag_to_a_scored_report_and_shows_the_commands(run, tmp_path):
    pytest.importorskip('matplotlib')
    demo = ('demo', '--bag', '-o', 'd', '--frames', 4, '--device', 'cpu')
    status, said, _ = run(*demo)
    assert status == 0
    for words in (
        '$ pdl_ros bag run d/street -o d/results',
        '$ pdl_ros bag score d/results --truth d/street',
        '4 of 4 labelled frames have a prediction',
        'Identities, by tracks',
    ):
        assert words in said
    told = json.loads((tmp_path / 'd' / 'scores.json').read_text())
    assert told['pq'] > 0.7, 'the network was trained on such streets'
    assert (tmp_path / 'd' / 'report.html').is_file()

    status, said, _ = run(*demo)
    assert status == 0, 'a second time it goes on with what is there'
    assert 'd/street is there already and is used' in said
    assert json.loads((tmp_path / 'd' / 'scores.json').read_text()) == told


def test_the_demo_of_a_bag_has_no_other_source(run):
    status, _, said = run('demo', '--bag', '--source', 'x.mp4')
    assert (status, said.count('\n')) == (2, 1)
    assert '--bag records a drawn street' in said


@pytest.mark.parametrize('way', [(), ('--bag',)])
def test_the_demo_of_fewer_frames_than_none_is_a_sentence_and_leaves_no_empty_street(
    run, tmp_path, way
):
    status, _, said = run('demo', *way, '-o', 'd', '--frames', -1)
    assert (status, said.count('\n')) == (2, 1)
    assert 'may not be negative' in said or 'neither may be negative' in said
    assert not (tmp_path / 'd').exists()
