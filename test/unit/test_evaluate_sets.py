"""`pdl_ros evaluate` on a mixture: each set by what it labels, whatever the network calls it."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from pdl_ros.datasets.mixture import open_sets
from pdl_ros.datasets.mixture_file import read_network_classes
from pdl_ros.evaluation.sets.run import judged_sets, score_set
from pdl_ros.evaluation.sets.sheet import file_name, things_in_words
from pdl_ros.imaging import files
from pdl_ros.pipeline import Segmenter
from pdl_ros.runtime.files import atomic_write

from .street_files import write_streets
from .test_evaluate_command import run

USED = ('--weights', 'scene_tiny', '--device', 'cpu')


@pytest.fixture(scope='module')
def streets(tmp_path_factory) -> Path:
    """A folder of two drawn streets with mixtures beside it: their own classes, and others."""
    root = tmp_path_factory.mktemp('mixed')
    write_streets(root / 'drawn')
    same = {'labels': 'scene', 'sets': {'drawn': {'folder': 'drawn', 'weight': 0}}}
    (root / 'same.yaml').write_text(yaml.safe_dump(same))
    wide = 'road|sidewalk|building|vegetation|sky'
    whole = {'tree': 'building|vegetation', 'building': 'building|vegetation', 'sky': 'void'}
    void = dict.fromkeys(['tree', 'building', 'pavement', 'sky', 'road'], 'void')
    street = {
        'labels': 'street',
        'networks': {'scene': {'tree': 'vegetation', 'pavement': 'sidewalk'}},
        'sets': {
            'whole': {'folder': 'drawn', 'classes': {**whole, 'pavement': wide}},
            'people': {'folder': 'drawn', 'classes': void, 'crowds': ['car']},
        },
    }
    (root / 'street.yaml').write_text(yaml.safe_dump(street, sort_keys=False))
    return root


def scores_of(monkeypatch, file: Path, *arguments: object) -> dict:
    assert run(monkeypatch, '--json', file, *arguments) == 0
    return json.loads(file.read_text())


@pytest.mark.parametrize('rule', ['cityscapes', 'coco'])
def test_a_set_in_the_classes_of_the_network_has_the_scores_of_its_folder(
    rule, streets, tmp_path, monkeypatch
):
    file, rest = tmp_path / 'scores.json', (*USED, '--ap', rule)
    plain = scores_of(monkeypatch, file, '--data', streets / 'drawn', *rest)
    mixed = scores_of(monkeypatch, file, '--data', streets / 'same.yaml', *rest)
    drawn = mixed['sets']['drawn']
    cars = plain['classes'][5]
    assert drawn.pop('whole_things')['car'] == pytest.approx(cars['pq']), 'no pixel is unknown'
    assert drawn == {key: plain[key] for key in drawn}
    assert cars['tp'] > 0
    assert mixed['mean'].pop('pq_whole_things') == pytest.approx(plain['pq_things'])
    assert mixed['mean'] == {key: plain[key] for key in mixed['mean']}


def test_each_set_is_scored_by_what_it_labels_and_all_are_compared(
    streets, tmp_path, monkeypatch, capsys
):
    file, rest = tmp_path / 'scores.json', (*USED, '--ap', 'none')
    plain = scores_of(monkeypatch, file, '--data', streets / 'drawn', *rest)
    capsys.readouterr()
    mixed = scores_of(monkeypatch, file, '--data', streets / 'street.yaml', *rest)
    said = capsys.readouterr().out
    assert re.search(r'whole: scores.*people: scores.*│ mean +│ +│', said, re.DOTALL)
    whole, people = (
        {c['name']: c for c in mixed['sets'][name]['classes']} for name in ('whole', 'people')
    )
    assert [*whole] == ['road', 'building|vegetation', 'person', 'car']
    assert [*people] == ['person', 'car']
    known = {c['name']: c for c in plain['classes']}
    # What the truth of a class is does not change, so what there is to find is the same.
    for name in ('person', 'car'):
        assert whole[name]['tp'] + whole[name]['fn'] == known[name]['tp'] + known[name]['fn'] > 0
        assert whole[name]['fp'] <= known[name]['fp']
    assert people['person']['tp'] >= known['person']['tp']
    assert (people['car']['pq'], people['car']['iou'] > 0.5) == (None, True)
    assert mixed['sets']['people']['pq'] == people['person']['pq']


def test_what_each_head_costs_is_told_for_each_set(streets, tmp_path, monkeypatch, capsys):
    arguments = ('--data', streets / 'street.yaml', *USED, '--explain', '--ap', 'none')
    mixed = scores_of(monkeypatch, tmp_path / 'why.json', *arguments)
    said = capsys.readouterr().out
    assert said.count('What became of') == 2
    for name, scores in mixed['sets'].items():
        told = scores['explanation']['truth_in_place_of']
        assert told['as predicted']['pq'] == scores['pq'], name
        assert told['all, stuff of any area']['pq'] == 1, name
        assert told['semantics']['pq'] > told['as predicted']['pq'], name


def test_some_images_are_scored_where_all_would_take_long(streets, tmp_path, monkeypatch):
    arguments = ('--data', streets / 'street.yaml', '--set', 'people', *USED, '--images', 1)
    mixed = scores_of(monkeypatch, tmp_path / 'one.json', *arguments)
    assert [*mixed['sets']] == ['people']
    assert mixed['sets']['people']['images'] == 1
    folder = ('--data', streets / 'drawn', *USED, '--images', 1)
    assert scores_of(monkeypatch, tmp_path / 'one.json', *folder)['images'] == 1


def test_a_set_without_the_split_is_named_and_the_others_are_scored(
    streets, tmp_path, monkeypatch, capsys
):
    file = changed(streets, tmp_path)
    data = yaml.safe_load(file.read_text())
    later = write_streets(tmp_path / 'later')
    for kind in ('images', 'panoptic'):
        (later / kind / 'val').rename(later / kind / 'train')
    data['sets']['people'] |= {'folder': str(later), 'split': 'train'}
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    assert run(monkeypatch, '--data', file, *USED, '--ap', 'none', '--images', 1) == 0
    said = capsys.readouterr().out
    assert "Not scored, as they have no split 'val': people" in said
    assert 'whole: scores' in said


def test_a_strangers_name_of_a_set_is_no_markup_of_the_terminal(
    streets, tmp_path, monkeypatch, capsys
):
    data = yaml.safe_load((streets / 'same.yaml').read_text())
    data['sets'] = {'[/x]': {'folder': str(streets / 'drawn')}}
    file = tmp_path / 'markup.yaml'
    file.write_text(yaml.safe_dump(data))
    assert run(monkeypatch, '--data', file, *USED, '--ap', 'none', '--images', 1) == 0
    assert '[/x]: scores' in capsys.readouterr().out


def test_pictures_of_each_set_are_written_with_what_was_found(
    streets, tmp_path, monkeypatch, capsys
):
    out = tmp_path / 'sheets'
    file = changed(streets, tmp_path)
    data = yaml.safe_load(file.read_text())
    data['sets']['../out_of it'] = people = data['sets'].pop('people')
    data['sets']['../out of it'] = people
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    assert run(monkeypatch, '--data', file, *USED, '--ap', 'none', '--sheet', out) == 0
    sheets = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.glob('**/*.jpg'))
    names = ('..%2Fout of it.jpg', '..%2Fout_of it.jpg', 'whole.jpg')
    assert sheets == [f'sheets/{name}' for name in names]
    assert str(out / 'whole.jpg') in capsys.readouterr().out.replace('\n', '')
    sheet = cv2.imread(str(out / 'whole.jpg'))
    assert sheet.shape[1] == 3 * 480 + 4 * 6
    image, labels, prediction = (
        sheet[36:336, 6 + 486 * i :][:, :480].astype(int) for i in range(3)
    )
    same = np.abs(image - labels).max(2) < 30
    assert 0.05 < same.mean() < 0.6, 'sky is void in these labels, and all else is painted'
    assert (np.abs(labels - prediction).max(2) < 60).mean() > 0.5


def test_a_sheet_that_cannot_be_written_costs_no_scores(streets, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(files._LONGEST, '.jpg', 100)
    scores, rest = tmp_path / 'scores.json', ('--ap', 'none', '--sheet', tmp_path)
    assert run(monkeypatch, '--data', streets / 'same.yaml', *USED, *rest, '--json', scores) == 2
    assert 'drawn.jpg would be' in capsys.readouterr().err
    assert 'drawn' in json.loads(scores.read_text())['sets']


def test_a_long_name_of_a_set_is_cut_to_a_files_and_stays_its_own(tmp_path):
    names = ['straße ' * 40 + end for end in ('a', 'b')]
    written = [tmp_path / f'{file_name(name)}.jpg' for name in (*names, 'street 1')]
    for path in written:
        with atomic_write(path) as file:
            file.write(b'x')
    assert len({p.name for p in tmp_path.iterdir()}) == 3
    assert written[2].name == 'street 1.jpg'


def test_the_words_under_a_picture_count_what_the_scores_count(streets):
    segmenter = Segmenter.load('scene_tiny', 'cpu')
    file = streets / 'street.yaml'
    of_network = read_network_classes(file, segmenter.label_set)
    whole, _ = judged_sets(*open_sets(file, 'val'), of_network)
    scores, counted = score_set(segmenter, whole, 'none', quiet=True).scores, Counter()
    for i in range(2):
        sample = whole.truth[i]
        there, found = things_in_words(whole, sample, whole.results(segmenter(sample.image)))
        for number, name in re.findall(r'(\d+) (\w+)', there):
            counted['there', name] += int(number)
        for number, name in re.findall(r'(\d+) of \d+ (\w+)', found):
            counted['found', name] += int(number)
    for c in scores.classes[2:]:
        assert counted['there', c.name] == c.tp + c.fn > 0
        assert counted['found', c.name] == c.tp


def changed(streets: Path, tmp_path: Path, **changes: object) -> Path:
    data = yaml.safe_load((streets / 'street.yaml').read_text())
    data.update(changes)
    for rules in data['sets'].values():
        rules['folder'] = str(streets / 'drawn')
    (tmp_path / 'changed.yaml').write_text(yaml.safe_dump(data, sort_keys=False))
    return tmp_path / 'changed.yaml'


@pytest.mark.parametrize(
    ('networks', 'says'),
    [
        (None, 'does not say what the classes pavement, tree of the network are'),
        ({'scene': {'tree': 'forest', 'pavement': 'sidewalk'}}, "becomes 'forest'"),
        ({'scene': {'river': 'void'}}, "has the class 'river', which the network lacks"),
        ({'scene': 'street'}, 'is no table of classes'),
        ([1], 'networks is no table'),
    ],
)
def test_what_the_classes_of_a_network_are_is_said_or_asked_for_in_a_sentence(
    networks, says, streets, tmp_path, monkeypatch, capsys
):
    file = changed(streets, tmp_path, networks=networks)
    assert run(monkeypatch, '--data', file, *USED) == 2
    said = capsys.readouterr().err
    assert says in said
    assert 'Traceback' not in said


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['--set', 'moon'], "has no set 'moon'; it has whole, people"),
        (['--split', 'test'], "None of the sets of .* has a split 'test'"),
        (['--write', 'coco', '-o', 'x'], '--write takes one data set'),
        (['--predictions', '.', '--labels', 'scene'], '--predictions needs --labels and one data'),
    ],
)
def test_a_users_mistake_is_one_sentence(arguments, says, streets, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, '--data', streets / 'street.yaml', *USED, *arguments) == 2
    said = capsys.readouterr().err
    assert re.search(says, said)
    assert 'Traceback' not in said


def test_a_set_is_named_of_a_mixture_only(streets, monkeypatch, capsys):
    assert run(monkeypatch, '--data', streets / 'drawn', *USED, '--set', 'drawn') == 2
    assert '--set and --sheet are about the sets of a mixture' in capsys.readouterr().err
