"""What a YAML says about a teacher: how it takes pictures, and what its classes are elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelSet
from pdl_ros.teachers import description
from pdl_ros.teachers.description import TeacherDescription

from ..conftest import SHARED

SHIPPED = sorted((Path(description.__file__).parent / 'descriptions').glob('*.yaml'))
SOUND = {'kind': 'semantic', 'size': [64, 96], 'classes': ['road', 'car']}


def written(folder: Path, **changes: object) -> Path:
    file = folder / 'mine.yaml'
    kept = {key: value for key, value in {**SOUND, **changes}.items() if value is not None}
    file.write_text(yaml.safe_dump(kept))
    return file


@pytest.mark.parametrize('labels', ['street', 'camvid', 'cityscapes'])
@pytest.mark.parametrize('file', SHIPPED, ids=lambda file: file.stem)
def test_every_shipped_teacher_is_of_use_for_the_street_label_sets(file, labels):
    label_set = LabelSet.load(labels)
    taught = {i for ids in TeacherDescription.load(file).targets(label_set) for i in ids}
    things = {i for i in label_set.thing_ids if label_set.classes[i].name != 'train'}
    assert things <= taught
    if TeacherDescription.load(file).kind == 'semantic':
        assert taught == set(range(label_set.num_classes))


def test_merged_classes_become_the_one_that_the_label_set_has():
    street = LabelSet.load('street')
    teacher = TeacherDescription.load(SHIPPED[0])
    names = [(ids and street.classes[ids[0]].name) or '' for ids in teacher.targets(street)]
    found = dict(zip(teacher.classes, names, strict=True))
    assert found['wall'] == found['fence'] == 'fence'
    assert found['traffic light'] == found['traffic sign'] == 'traffic sign'
    assert found['terrain'] == found['vegetation'] == 'vegetation'
    assert found['truck'] == found['bus'] == found['train'] == 'large vehicle'
    assert found['motorcycle'] == found['bicycle'] == 'two-wheeler'
    assert found['background'] == ''


def test_the_rules_of_the_label_set_hold_where_the_description_says_nothing(tmp_path):
    classes = [
        {'name': 'ground', 'color': [1, 1, 1], 'thing': False, 'from': ['road', 'grass']},
        {'name': 'car', 'color': [2, 2, 2], 'thing': True},
    ]
    label_set = LabelSet.from_dict({'name': 'mine', 'classes': classes})
    teacher = TeacherDescription.load(written(tmp_path))
    assert teacher.targets(label_set) == ((0,), (1,))


def test_a_box_of_a_person_is_that_of_a_rider_too():
    street = LabelSet.load('street')
    boxes = TeacherDescription.load(next(f for f in SHIPPED if 'yolox' in f.stem))
    ids = boxes.targets(street)[boxes.classes.index('person')]
    assert [street.classes[i].name for i in ids] == ['person', 'rider']


def test_a_description_beside_the_network_comes_before_the_shipped_one(tmp_path):
    network = tmp_path / 'yolox_nano_416.onnx'
    assert TeacherDescription.find(network).size == (416, 416)
    written(tmp_path).rename(tmp_path / 'yolox_nano_416.yaml')
    assert TeacherDescription.find(network).size == (64, 96)


@pytest.mark.parametrize(
    ('changes', 'says'),
    [
        ({'kind': 'poses'}, "kind is 'poses'; it is semantic or boxes"),
        ({'size': [64]}, 'not describe a teacher'),
        ({'size': [64, 10**6]}, 'from 32 to 4096'),
        ({'size': 'large'}, "'large' is no list"),
        ({'order': 'hsv'}, 'it is rgb or bgr'),
        ({'range': 100}, 'it is 1 or 255'),
        ({'std': [0, 1, 1]}, 'std is above 0'),
        ({'mean': [float('nan'), 0, 0]}, 'mean and std are three numbers'),
        ({'classes': []}, 'classes is empty'),
        ({'classes': ['car', 'car']}, 'names one twice'),
        ({'classes': None}, "not describe a teacher: it lacks 'classes'"),
        ({'size': [float('inf'), 64]}, 'not describe a teacher'),
        ({'becomes': {'tram': 'car'}}, "'tram'"),
        ({'becomes': ['car']}, 'not describe a teacher'),
        ({'flip': True}, "no key ['flip']"),
    ],
)
def test_a_mistake_in_a_description_is_one_sentence(tmp_path, changes, says):
    with pytest.raises(PdlError, match=r'mine\.yaml') as told:
        TeacherDescription.load(written(tmp_path, **changes))
    assert says in str(told.value)


def test_what_is_no_yaml_is_one_sentence_and_never_run(tmp_path):
    file = tmp_path / 'mine.yaml'
    for text in ('- a list', '{', '!!python/object/apply:os.system [echo]', '\0'):
        file.write_text(text)
        with pytest.raises(PdlError, match=r'mine\.yaml'):
            TeacherDescription.load(file)


def test_a_network_that_nobody_describes_is_said_with_what_to_write(tmp_path):
    with pytest.raises(PdlError, match=r'write other\.yaml beside it'):
        TeacherDescription.find(tmp_path / 'other.onnx')


def test_a_teacher_of_other_things_is_refused(tmp_path):
    teacher = TeacherDescription.load(written(tmp_path, classes=['cup', 'fork']))
    with pytest.raises(PdlError, match='No class of the teacher mine'):
        teacher.targets(LabelSet.load('street'))


def test_the_shipped_descriptions_are_of_the_teachers_that_there_are():
    folder = SHARED / 'data' / 'street' / 'teachers'
    if not folder.is_dir():
        pytest.skip('needs the data that is not shipped with the project (teachers)')
    there = {file.stem for file in folder.iterdir()}
    assert {file.stem for file in SHIPPED} <= there
