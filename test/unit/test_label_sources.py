"""A label set says in a few words of YAML how the classes of data become its own."""

from __future__ import annotations

import json

import pytest

from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelSet, SourceClass
from pdl_ros.labels.sources import VOID, Target, resolve

from .trees import CAR, ROAD, SKY, label_set

DATA = (
    SourceClass(7, 'Road', False),
    SourceClass(8, 'dirt road', False),
    SourceClass(23, 'sky', False),
    SourceClass(26, 'car', alias='vehicle--car'),
    SourceClass(27, 'truck'),
    SourceClass(28, 'car group'),
    SourceClass(0, 'ego', False, is_ignored=True),
)
MAPPED = {
    'ignore': ['truck'],
    'car': {'from': ['vehicle--car'], 'crowd_from': ['car group']},
}
NAMED = {7: Target(ROAD), 23: Target(SKY), 26: Target(CAR), 0: VOID}


def test_classes_go_by_name_and_are_merged_ignored_and_made_crowds_as_the_label_set_says():
    mapped = label_set(**MAPPED, unlabelled='road')
    found = resolve(mapped, [c for c in DATA if c.id != 8], 'data')
    assert found == {**NAMED, 27: VOID, 28: Target(CAR, True)}
    merged = LabelSet.from_dict(
        {
            'name': 'merged',
            'ignore': ['car group'],
            'classes': [
                {'name': 'ground', 'color': [1, 2, 3], 'thing': False, 'from': ['ROAD', 8, 'ego']},
                {'name': 'sky', 'color': [4, 5, 6], 'thing': False},
                {'name': 'vehicle', 'color': [7, 8, 9], 'thing': True, 'from': ['car', 'truck']},
            ],
        }
    )
    found = resolve(merged, DATA, 'data')
    assert found[7] == found[8] == found[0] == Target(ROAD)
    assert found[26] == found[27] == Target(CAR)
    assert found[28] == VOID


def test_the_rest_may_be_ignored_in_a_word():
    assert resolve(label_set(ignore='rest'), DATA, 'data') == {
        **NAMED,
        **dict.fromkeys((8, 27, 28), VOID),
    }


def test_stuff_of_the_data_that_is_a_thing_here_is_a_crowd():
    found = resolve(label_set(ignore='rest', car={'from': ['car', 'dirt road']}), DATA, 'data')
    assert (found[26], found[8]) == (Target(CAR), Target(CAR, True))


@pytest.mark.parametrize(
    ('rules', 'says'),
    [
        ({}, r"data has 3 classes that label set 'world' lacks \(dirt road, truck, car group\)"),
        ({'ignore': ['trukc', 8, 28]}, r"names 'trukc', which data lacks; is it 'truck'\?"),
        ({'ignore': [99]}, 'names 99, which data lacks'),
        ({'ignore': ['car'], 'car': {'from': ['car', 'truck']}}, "gives 'car' of data two places"),
    ],
)
def test_what_does_not_fit_the_data_is_one_sentence(rules, says):
    with pytest.raises(PdlError, match=says) as error:
        resolve(label_set(**rules), DATA, 'data')
    assert '\n' not in str(error.value)


def test_data_of_numbers_are_train_ids_unless_the_label_set_maps_numbers():
    assert resolve(label_set(), (), 'data') == {0: Target(0), 1: Target(1), 2: Target(2)}
    assert resolve(label_set(ignore=[255]), (), 'data')[255] == VOID
    assert resolve(label_set(car={'from': [4, 5]}), (), 'data') == {4: Target(2), 5: Target(2)}
    by_name = label_set(car={'from': ['car', 'truck']}, ignore=['bus'])
    assert resolve(by_name, (), 'data') == {0: Target(0), 1: Target(1), 2: Target(2)}


def test_rules_for_other_data_do_not_stand_in_the_way_of_data_in_the_classes_of_the_label_set():
    own = [SourceClass(9, 'car'), SourceClass(5, 'road', False), SourceClass(7, 'sky', False)]
    by_name = label_set(car={'from': ['vehicle', 'truck']}, ignore=['bus'])
    assert resolve(by_name, own, 'data') == {9: Target(CAR), 5: Target(ROAD), 7: Target(SKY)}


def test_the_rules_stay_with_a_label_set_in_a_checkpoint_and_do_not_make_it_another_one():
    mapped = label_set(**MAPPED, unlabelled='road', semantic={3: 'sky', 9: 'void'})
    again = LabelSet.from_dict(json.loads(json.dumps(mapped.to_dict())))
    assert again.sources == mapped.sources
    assert again == label_set()
    assert hash(again) == hash(label_set())
    assert 'ignore' not in label_set().to_dict()


@pytest.mark.parametrize(
    ('rules', 'says'),
    [
        ({'unlabelled': 'grass'}, "'grass' is none of its classes"),
        ({'semantic': {1: 'grass'}}, "'grass' is none of its classes"),
    ],
)
def test_a_rule_about_a_class_that_there_is_not_is_refused(rules, says):
    with pytest.raises(PdlError, match=says):
        label_set(**rules)


@pytest.mark.parametrize(
    'line',
    ['ignore: 3.5', 'ignore: [[a]]', 'semantic: [1]', 'semantic: {a: road}', 'ignore: [true]'],
)
def test_a_rule_of_a_wrong_form_is_refused_with_the_file(tmp_path, line):
    file = tmp_path / 'mine.yaml'
    form = 'name: a\nclasses:\n  - {name: road, color: [1, 2, 3], thing: false}\n'
    file.write_text(f'{form}{line}\n')
    with pytest.raises(PdlError, match=r'mine\.yaml'):
        LabelSet.load(file)
