"""What `pdl_ros bag score` says of a recording is what `pdl_ros evaluate` says of its images."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from pdl_ros.datasets import Sample
from pdl_ros.demo.labelled_bag import START, write_labelled_bag, write_street_bag
from pdl_ros.demo.scene import FPS, Scene
from pdl_ros.engines import EngineSettings
from pdl_ros.errors import PdlError
from pdl_ros.evaluation import PanopticEvaluator
from pdl_ros.evaluation.recordings import frames
from pdl_ros.evaluation.recordings.images import find_pictures, open_images
from pdl_ros.evaluation.recordings.label_sets import choose_label_set
from pdl_ros.evaluation.recordings.result import BagScores, RecordingScore
from pdl_ros.evaluation.recordings.saved_scores import read_scores, to_dict, write_scores
from pdl_ros.evaluation.recordings.score import ScoreSettings, score_recording
from pdl_ros.evaluation.run import count_result
from pdl_ros.fusion import PanopticResult
from pdl_ros.labels import LabelSet
from pdl_ros.pipeline import Segmenter
from pdl_ros.tracking import Tracker, Tracks

from .scored_bags import NODE, stamps, write_results

TORCH = EngineSettings('torch', 'fp32')  # which engine is fastest is no matter here
COUNT, SIZE = 8, (160, 256)


class Street(NamedTuple):
    """A drawn street as a bag with its truth, and what the tiny network says of it."""

    truth: Path
    found: Path
    samples: list[Sample]
    results: list[PanopticResult]
    tracks: list[Tracks]
    labels: LabelSet


@pytest.fixture(scope='module')
def street(tmp_path_factory) -> Street:
    folder = tmp_path_factory.mktemp('street')
    scene, segmenter, tracker = (
        Scene(47, *SIZE),
        Segmenter.load('scene_tiny', 'cpu', engine=TORCH),
        Tracker(),
    )
    samples = [scene.frame(n) for n in range(COUNT)]
    results = [segmenter(sample.image) for sample in samples]
    tracks = [tracker.update(r, s) for r, s in zip(results, stamps(COUNT), strict=True)]
    truth = write_street_bag(folder / 'in', COUNT, size=SIZE)
    found = write_results(folder / 'out', scene.label_set, results, stamps(COUNT), tracks=tracks)
    return Street(truth, found, samples, results, tracks, scene.label_set)


def score(found: Path, truth: Path, images=None, labels=None, **settings) -> RecordingScore:
    predictions, wanted = frames.open_predictions(found), frames.open_truth(truth)
    label_set = choose_label_set(predictions, wanted, labels)
    chosen = ScoreSettings(**settings)
    return score_recording(predictions, wanted, label_set, images, chosen, quiet=True)


def every_digit(scores) -> str:
    return json.dumps(scores.to_dict())


def evaluated(samples, results, labels: LabelSet, rule: str = 'cityscapes') -> str:
    evaluator = PanopticEvaluator(labels, rule)
    for sample, result in zip(samples, results, strict=True):
        evaluator.add(count_result(evaluator, sample, result))
    return every_digit(evaluator.compute())


@pytest.mark.parametrize('rule', ['none', 'cityscapes', 'coco'])
def test_the_scores_of_a_bag_are_those_of_evaluate_to_the_last_digit(street, rule):
    if rule == 'coco':
        pytest.importorskip('pycocotools')
    found = score(street.found, street.truth, ap_rule=rule)
    assert found.matching == (COUNT, COUNT, COUNT)
    total = BagScores([found]).compute()
    assert every_digit(total) == evaluated(street.samples, street.results, street.labels, rule)


@pytest.mark.parametrize('panoptic', ['32SC1', 'png'])
def test_label_images_count_the_same_however_they_are_recorded(street, tmp_path, panoptic):
    out = write_results(
        tmp_path / 'out', street.labels, street.results, stamps(COUNT), panoptic=panoptic
    )
    total = BagScores([score(out, street.truth)]).compute()
    assert every_digit(total) == evaluated(street.samples, street.results, street.labels)


def test_camvid_is_scored_from_a_bag_as_from_its_files(camvid, tmp_path):
    from pdl_ros.datasets.label_folder import LabelFolder

    drive = LabelFolder(camvid, 'val', LabelSet.load('camvid'))
    segmenter = Segmenter.load('camvid_efficientnet_lite0', 'cpu', engine=TORCH)
    samples = [drive[n] for n in (0, 40, 80)]
    results = [segmenter(sample.image) for sample in samples]
    truth = write_labelled_bag(tmp_path / 'in', samples, drive.label_set, FPS)
    found = write_results(tmp_path / 'out', drive.label_set, results, stamps(3))
    total = BagScores([score(found, truth)]).compute()
    assert every_digit(total) == evaluated(samples, results, drive.label_set)


def test_windows_add_up_to_the_whole_and_stand_at_their_times(street):
    found = score(street.found, street.truth, window=0.2)
    assert [w.start - START for w in found.windows] == [0, 200_000_000, 400_000_000]
    assert [w.evaluator.images for w in found.windows] == [3, 3, 2]
    whole = BagScores([score(street.found, street.truth, window=100)])
    assert every_digit(BagScores([found]).compute()) == every_digit(whole.compute())
    first = evaluated(street.samples[:3], street.results[:3], street.labels)
    assert every_digit(found.windows[0].evaluator.compute()) == first
    with pytest.raises(PdlError, match='at most 2000 are kept'):
        score(street.found, street.truth, window=1e-5)


def test_recordings_merge_from_bags_or_files_to_what_one_bag_would_have(street, tmp_path):
    parts, files = [], []
    for start, stop in ((0, 3), (3, 8)):
        times = stamps(COUNT)[start:stop]
        out = write_results(tmp_path / f'{start}', street.labels, street.results[start:stop], times)
        parts.append(score(out, street.truth))
        files.append(tmp_path / f'{start}.json')
        write_scores(BagScores(parts[-1:]), files[-1])
    whole = every_digit(BagScores([score(street.found, street.truth)]).compute())
    assert every_digit(BagScores(parts).compute()) == whole
    read = [recording for file in reversed(files) for recording in read_scores(file)]
    assert every_digit(BagScores(read).compute()) == whole
    assert to_dict(BagScores(list(reversed(read)))) == to_dict(BagScores(parts))
    assert BagScores(parts).matching == (8, 8, 16)


def test_a_score_can_be_made_in_another_process_and_sent_back(street):
    found = score(street.found, street.truth, find_pictures([street.truth]), identities=True)
    sent = pickle.loads(pickle.dumps(found))
    assert to_dict(BagScores([sent])) == to_dict(BagScores([found]))
    assert sent.worst[0].pictures.keys() == {'picture', 'truth', 'prediction'}


def test_identities_and_flicker_are_counted_where_there_is_something_to_count_by(street):
    plain = BagScores([score(street.found, street.truth)])
    assert set(plain.stability().values()) == {None}
    assert any('--images' in note for note in plain.recordings[0].notes)
    assert any('--identities' in note for note in plain.recordings[0].notes)

    images = find_pictures([street.found, street.truth])
    assert images is not None
    assert images.where.endswith(':/camera/image')
    found = BagScores([score(street.found, street.truth, images, identities=True)])
    told = found.stability()
    assert told['id_switches'] == 0
    assert 0.5 < told['idf1'] <= 1
    assert 0 < told['flicker'] < 0.1
    assert told['still_share'] > 0.5
    assert found.recordings[0].is_tracked


def test_a_tracker_that_renames_a_car_in_every_frame_is_seen(street, tmp_path):
    renamed = [t._replace(track_id=t.track_id + 100 * n) for n, t in enumerate(street.tracks)]
    out = write_results(
        tmp_path / 'out', street.labels, street.results, stamps(COUNT), tracks=renamed
    )
    told = BagScores([score(out, street.truth, identities=True)]).stability()
    steady = BagScores([score(street.found, street.truth, identities=True)]).stability()
    assert told['id_switches'] > 10
    assert told['idf1'] < 0.5 * steady['idf1']


def test_a_prediction_that_flips_between_frames_flickers_more(street, tmp_path):
    def flipped(result: PanopticResult) -> PanopticResult:
        semantic = result.semantic.clone()
        semantic[:80] = (semantic[:80] + 1) % 7
        return result._replace(semantic=semantic)

    results = [flipped(r) if n % 2 else r for n, r in enumerate(street.results)]
    out = write_results(tmp_path / 'out', street.labels, results, stamps(COUNT))
    images = open_images(f'{street.truth}:/camera/image')
    wild = BagScores([score(out, street.truth, images)]).stability()['flicker']
    calm = BagScores([score(street.found, street.truth, images)]).stability()['flicker']
    assert wild > 0.3 > calm


@pytest.mark.parametrize('bframes', [0, 2])
def test_pictures_may_be_a_video_whose_packets_are_not_in_the_order_of_time(tmp_path, bframes):
    pytest.importorskip('av')
    from .video_recordings import encode, number_of, record_video

    packets = encode('h264', 12, bframes)
    images = open_images(f'{record_video(tmp_path / "drive.mcap", packets)}:/video')
    by_time = np.argsort(images.stamps)
    assert (by_time.tolist() != list(range(12))) == bool(bframes)
    loaded = [load() for load in images.load(by_time[3:])]
    assert [number_of(rgb) for rgb in loaded if rgb is not None] == list(range(3, 12))

    cut = record_video(tmp_path / 'cut.mcap', packets[2:])  # until the next key frame
    images = open_images(f'{cut}:/video')
    loaded = [load() for load in images.load(np.argsort(images.stamps))]
    assert [rgb is None for rgb in loaded] == [True] * 3 + [False] * 7


def test_frames_are_followed_in_the_order_of_their_stamps_whenever_they_were_recorded(
    street, tmp_path
):
    turned = write_results(
        tmp_path / 'out',
        street.labels,
        street.results[::-1],
        stamps(COUNT)[::-1],
        tracks=street.tracks[::-1],
        times_of_log=stamps(COUNT),
    )
    images = find_pictures([street.truth])
    one, other = (
        BagScores([score(bag, street.truth, images, identities=True)])
        for bag in (turned, street.found)
    )
    assert one.stability() == other.stability()
    assert every_digit(one.compute()) == every_digit(other.compute())


def test_the_worst_frames_are_a_second_apart_and_have_their_pictures(street, tmp_path):
    times = [START + n * 400_000_000 for n in range(COUNT)]
    out = write_results(tmp_path / 'out', street.labels, street.results, times)
    truth = truth_folder(tmp_path / 'truth', street, times)
    worst = score(out, truth, labels=street.labels, worst=2).worst
    assert [frame.pq for frame in worst] == sorted(frame.pq for frame in worst)
    assert abs(worst[0].stamp - worst[1].stamp) >= 10**9
    assert {name: p.shape for name, p in worst[0].pictures.items()} == {
        'truth': (300, 480, 3),
        'prediction': (300, 480, 3),
    }


def truth_folder(folder: Path, street: Street, times, name='{}.png') -> Path:
    folder.mkdir()
    for sample, stamp in zip(street.samples, times, strict=True):
        file = folder / name.format(stamp, *divmod(stamp, 10**9))
        cv2.imwrite(str(file), sample.panoptic.astype(np.uint16))
    return folder


@pytest.mark.parametrize('name', ['{}.png', '{1}_{2:09d}.png', '{0}_panoptic.png', '{1}.{2}.png'])
def test_truth_may_be_label_pngs_that_are_named_by_their_stamps(street, tmp_path, name):
    truth = truth_folder(tmp_path / 'truth', street, stamps(COUNT), name)
    (truth / 'notes.txt').write_text('not a label image')
    total = BagScores([score(street.found, truth)]).compute()
    assert every_digit(total) == evaluated(street.samples, street.results, street.labels)


def test_truth_may_be_label_pngs_of_any_name_that_a_table_of_stamps_lists(street, tmp_path):
    truth = truth_folder(tmp_path / 'truth', street, range(COUNT), 'left {0}.png')
    rows = (f'{stamp},left {n}.png\n' for n, stamp in enumerate(stamps(COUNT)))
    (truth / 'stamps.csv').write_text('stamp,file\n' + ''.join(rows))
    total = BagScores([score(street.found, truth)]).compute()
    assert every_digit(total) == evaluated(street.samples, street.results, street.labels)


def test_truth_may_be_a_topic_of_the_same_bag_and_is_not_taken_for_the_prediction(street, tmp_path):
    from pdl_ros.bags.reader import open_bag
    from pdl_ros.bags.writer import BagWriter

    with BagWriter(tmp_path / 'both') as writer:
        for bag in (open_bag(street.truth), open_bag(street.found)):
            numbers = {t.name: writer.add_topic(t.name, t.type) for t in bag.topics}
            for message in bag.messages(bag.topics):
                writer.write(numbers[message.topic.name], message.log_time, message.data)
    both = tmp_path / 'both'
    predictions = frames.open_predictions(both)
    assert predictions.where == f'{both}:{NODE}/panoptic/image'
    wanted = frames.open_truth(both, '/truth/panoptic/image')
    found = score_recording(predictions, wanted, street.labels, quiet=True)
    assert every_digit(BagScores([found]).compute()) == evaluated(
        street.samples, street.results, street.labels
    )


def test_of_several_cameras_one_is_named_and_its_own_things_are_taken(street, tmp_path):
    from pdl_ros.bags.reader import open_bag
    from pdl_ros.bags.writer import BagWriter

    with BagWriter(tmp_path / 'two') as writer:
        for camera, results in (('front', street.results), ('left', street.results[::-1])):
            folder = write_results(
                tmp_path / camera,
                street.labels,
                results,
                stamps(COUNT),
                ['label_info'],
                node=f'{NODE}/{camera}',
            )
            bag = open_bag(folder)
            numbers = {t.name: writer.add_topic(t.name, t.type) for t in bag.topics}
            for message in bag.messages(bag.topics):
                writer.write(numbers[message.topic.name], message.log_time, message.data)
        info = writer.add_topic(f'{NODE}/label_info', 'pdl_ros/msg/LabelInfo')
        (topic,) = (t for t in open_bag(street.found).topics if t.name.endswith('label_info'))
        message = next(open_bag(street.found).messages([topic]))
        writer.write(info, message.log_time, message.data)
    with pytest.raises(PdlError, match=f'several label images.*{NODE}/left/panoptic/image'):
        frames.open_predictions(tmp_path / 'two')
    front = frames.open_predictions(tmp_path / 'two', f'{NODE}/front/panoptic/image')
    assert front.label_set == street.labels
    found = score_recording(front, frames.open_truth(street.truth), street.labels, quiet=True)
    wanted = evaluated(street.samples, street.results, street.labels)
    assert every_digit(BagScores([found]).compute()) == wanted


def test_frames_without_their_things_are_left_out_and_that_is_said(street, tmp_path):
    from pdl_ros.bags.reader import open_bag
    from pdl_ros.bags.writer import BagWriter

    bag = open_bag(street.found)
    with BagWriter(tmp_path / 'gap') as writer:
        numbers = {t.name: writer.add_topic(t.name, t.type) for t in bag.topics}
        lost = 0
        for message in bag.messages(bag.topics):
            if message.topic.name.endswith('/instances') and lost < 2:
                lost += 1
                continue
            writer.write(numbers[message.topic.name], message.log_time, message.data)
    found = score(tmp_path / 'gap', street.truth)
    assert found.matching == (COUNT - 2, COUNT - 2, COUNT)
    assert found.notes[0] == (
        f'2 of {COUNT} frames on {NODE}/panoptic/image have no message on {NODE}/instances and '
        'are left out.'
    )


@pytest.mark.parametrize(
    ('left_out', 'says'), [('instances', 'AP is left out'), ('semantic/image', 'IoU is that of')]
)
def test_a_bag_with_fewer_topics_is_scored_by_those_it_has(street, tmp_path, left_out, says):
    out = write_results(tmp_path / 'out', street.labels, street.results, stamps(COUNT), [left_out])
    found = score(out, street.truth)
    assert any(note.startswith(says) for note in found.notes)
    total = BagScores([found]).compute()
    whole = BagScores([score(street.found, street.truth)]).compute()
    assert total.pq == whole.pq
    assert (total.ap == whole.ap) == (left_out != 'instances')
    assert (total.miou == whole.miou) == (left_out == 'instances')


def test_a_tolerance_finds_what_was_stamped_anew(street, tmp_path):
    late = [stamp + 3_000_000 for stamp in stamps(COUNT)]
    out = write_results(tmp_path / 'out', street.labels, street.results, late)
    with pytest.raises(PdlError, match='the nearest two are 3 ms apart'):
        score(out, street.truth)
    total = BagScores([score(out, street.truth, tolerance=5_000_000)]).compute()
    assert every_digit(total) == evaluated(street.samples, street.results, street.labels)


def test_pictures_of_other_frames_are_no_pictures_and_that_is_said(street, tmp_path):
    half = [s + (n % 2) * 1_000_000 for n, s in enumerate(stamps(COUNT))]
    for times, says in (
        ([s + 1_000_000 for s in half], 'Flicker is left out: no picture of '),
        (half, f'{COUNT // 2} of {COUNT} predicted frames have no picture in '),
    ):
        out = write_results(tmp_path / says[:5], street.labels, street.results, times)
        images = find_pictures([street.truth])
        found = score(out, street.truth, images, tolerance=3_000_000)
        assert any(note.startswith(says) for note in found.notes), found.notes
        assert found.flickers == (not says.startswith('Flicker'))


def test_numbers_of_stuff_in_a_truth_do_not_matter_as_in_a_data_set(street, tmp_path):
    def renumbered(sample: Sample) -> Sample:
        panoptic = sample.panoptic.copy()
        panoptic[:, :100][panoptic[:, :100] == 0] = 5  # a second piece of sky
        return sample._replace(panoptic=panoptic)

    changed = street._replace(samples=[renumbered(s) for s in street.samples])
    truth = truth_folder(tmp_path / 'truth', changed, stamps(COUNT))
    total = BagScores([score(street.found, truth)]).compute()
    assert every_digit(total) == evaluated(street.samples, street.results, street.labels)
