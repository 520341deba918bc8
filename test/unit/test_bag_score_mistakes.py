"""What is wrong with results or their truth is one sentence."""

from __future__ import annotations

import json

import pytest

from pdl_ros.demo.labelled_bag import START, write_street_bag
from pdl_ros.errors import PdlError
from pdl_ros.evaluation.recordings.result import BagScores
from pdl_ros.evaluation.recordings.saved_scores import read_scores, to_dict
from pdl_ros.labels import LabelSet

from .scored_bags import NODE, stamps, write_results
from .test_bag_score import COUNT, evaluated, every_digit, score, street, truth_folder

__all__ = ['street']


def test_maps_of_another_size_are_refused_with_the_stamp(street, tmp_path):
    truth = write_street_bag(tmp_path / 'small', COUNT, size=(80, 128))
    with pytest.raises(PdlError, match=rf'of {START} has the shape \(160, 256\).*\(80, 128\)'):
        score(street.found, truth)


@pytest.mark.parametrize('side', ['prediction', 'truth'])
def test_a_class_that_the_label_set_lacks_is_refused(street, tmp_path, side):
    if side == 'truth':
        samples = [s._replace(panoptic=s.panoptic + 60_000) for s in street.samples]
        found = street.found
        truth = truth_folder(tmp_path / 'truth', street._replace(samples=samples), stamps(COUNT))
    else:
        results = [r._replace(panoptic=r.panoptic + 60_000) for r in street.results]
        found = write_results(tmp_path / 'out', street.labels, results, stamps(COUNT))
        truth = street.truth
    with pytest.raises(PdlError, match=rf"(labels|prediction) of {START} .*'scene' ends at 6"):
        score(found, truth)


def test_a_bag_without_label_info_needs_a_label_set_and_one_of_other_classes_is_refused(
    street, tmp_path
):
    out = write_results(
        tmp_path / 'out', street.labels, street.results, stamps(COUNT), ['label_info']
    )
    truth = truth_folder(tmp_path / 'truth', street, stamps(COUNT))
    with pytest.raises(PdlError, match='give the label set with --labels'):
        score(out, truth)
    total = BagScores([score(out, truth, labels=street.labels)]).compute()
    assert every_digit(total) == evaluated(street.samples, street.results, street.labels)
    with pytest.raises(PdlError, match=r'differs in the number of classes \(11 and 7\)'):
        score(street.found, truth, labels=LabelSet.load('camvid'))


def test_recordings_of_other_labels_or_without_ap_do_not_merge(street, tmp_path):
    one = score(street.found, street.truth)
    without = write_results(
        tmp_path / 'a', street.labels, street.results, stamps(COUNT), ['instances']
    )
    with pytest.raises(PdlError, match="by the rule 'cityscapes'"):
        BagScores([one, score(without, street.truth)])


def test_a_damaged_message_is_named(street, tmp_path):
    from pdl_ros.bags.reader import open_bag
    from pdl_ros.bags.writer import BagWriter

    bag = open_bag(street.found)
    with BagWriter(tmp_path / 'bad') as writer:
        numbers = {t.name: writer.add_topic(t.name, t.type) for t in bag.topics}
        for message in bag.messages(bag.topics):
            data = message.data
            if message.topic.name == f'{NODE}/panoptic/image':
                data = data[: len(data) // 2]
            writer.write(numbers[message.topic.name], message.log_time, data)
    with pytest.raises(PdlError, match=rf'^{NODE}/panoptic/image, the frame of {START}: '):
        score(tmp_path / 'bad', street.truth)


BAD_FOLDERS = {
    'holds no label image whose name is a stamp': {'left.png': b''},
    'is no PNG': {f'{START}.png': b'JFIF'},
    'is named by no time': {f'{10**18 * 9}_999999999.png': b''},
    'line 3': {'stamps.csv': b'stamp,file\n1,a.png\nx,b.png\n'},
    'not within its folder': {'stamps.csv': b'stamp,file\n1,../a.png\n'},
    'lists a.png, which is not there': {'stamps.csv': b'stamp,file\n1,a.png\n'},
    'lists no file': {'stamps.csv': b'stamp,file\n'},
    'has no stamp in nanoseconds': {'stamps.csv': b'time,name\n1,a.png\n'},
    'is no table of stamps': {'stamps.csv': b'\xff\xfe\n'},
}


@pytest.mark.parametrize('says', BAD_FOLDERS)
def test_a_folder_that_is_no_truth_is_a_sentence(street, tmp_path, says):
    for name, data in BAD_FOLDERS[says].items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(PdlError, match=says):
        score(street.found, tmp_path, labels=street.labels)


BAD_FILES = {
    'is no JSON file': lambda d: '{',
    'holds no scores of recordings': lambda d: json.dumps({'pq': 1}),
    'is damaged: its recordings': lambda d: json.dumps({**d, 'recordings': [{'name': 'x'}]}),
    'an unknown rule for AP': lambda d: json.dumps({**d, 'ap_rule': 'voc'}),
}


@pytest.mark.parametrize('says', BAD_FILES)
def test_a_file_that_holds_no_scores_is_a_sentence(street, tmp_path, says):
    data = to_dict(BagScores([score(street.found, street.truth)]))
    file = tmp_path / 'scores.json'
    file.write_text(BAD_FILES[says](data))
    with pytest.raises(PdlError, match=says):
        read_scores(file)
