"""Several data sets as one: how often each is drawn, what its classes become, what is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pdl_ros.datasets.mixture import MixedSet, Mixture, open_mixture, open_sets
from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelSet
from test.unit import trees
from test.unit.drawn import Drawn

STREET = LabelSet.load('street')
NAMES = [c.name for c in STREET.classes]


def _data_set(
    folder: Path, classes: dict[str, bool], values: np.ndarray, names: str = 'ab'
) -> None:
    for name in names:
        for kind in ('images', 'panoptic'):
            (folder / kind / 'train').mkdir(parents=True, exist_ok=True)
        image = np.full((*values.shape, 3), 90, np.uint8)
        cv2.imwrite(str(folder / 'images' / 'train' / f'{name}.png'), image)
        cv2.imwrite(str(folder / 'panoptic' / 'train' / f'{name}.png'), values.astype(np.uint16))
    rows = [{'name': n, 'color': [i, i, i], 'thing': t} for i, (n, t) in enumerate(classes.items())]
    (folder / 'labels.yaml').write_text(yaml.safe_dump({'name': folder.name, 'classes': rows}))


@pytest.fixture
def file(tmp_path) -> Path:
    """Two sets: towns, whose trams and cars are one class, and fields, where only cars were
    labelled.
    """
    values = np.zeros((16, 24), np.int32)
    values[4:8, 4:8], values[10:14, 4:8], values[:, 20:] = 1001, 1000, 65535
    _data_set(tmp_path / 'town', {'street': False, 'vehicle': True}, values)
    values = np.full((16, 24), 65535)
    values[4:8, 4:8] = 1
    _data_set(tmp_path / 'field', {'car': True}, values, 'abcd')
    made = tmp_path / 'mixture.yaml'
    _write(made)
    return made


def _write(made: Path, **changes: object) -> None:
    classes = {'street': 'road', 'vehicle': 'car|large vehicle'}
    town = {'folder': 'town', 'weight': 1, 'classes': classes}
    field = {'folder': 'field', 'weight': 3}
    data = {'labels': 'street', 'sets': {'town': {**town, **changes}, 'field': field}}
    made.write_text(yaml.safe_dump(data, sort_keys=False))


def test_each_set_says_what_it_knows_in_the_classes_that_are_trained(file):
    mixture = open_mixture(file, 'train')
    vehicle = (NAMES.index('car'), NAMES.index('large vehicle'))
    assert mixture.groups == (vehicle,)
    town, field = (s.dataset[0] for s in mixture.sets)
    group = STREET.num_classes
    assert [(s.class_id, s.is_crowd) for s in town.segments] == [
        (NAMES.index('road'), False), (group, True), (group, False),
    ]  # fmt: skip
    assert [(s.class_id, s.is_crowd) for s in field.segments] == [(vehicle[0], False)]


def test_instances_that_nobody_told_apart_are_crowds(file):
    _write(file, crowds=['vehicle'])
    town = open_mixture(file, 'train').sets[0].dataset[0]
    assert [s.is_crowd for s in town.segments] == [False, True, True]


def test_a_set_may_lack_a_split_but_not_all_sets(file):
    for kind in ('images', 'panoptic'):
        (file.parent / 'town' / kind / 'val').mkdir()
    _write(file, split='val')
    assert [s.name for s in open_mixture(file, 'train').sets] == ['field']
    with pytest.raises(PdlError, match=r"None of the sets of .* has a split 'test'"):
        open_mixture(file, 'test')


def _without_splits(folder: Path) -> None:
    for kind in ('images', 'panoptic'):
        for picture in (folder / kind / 'train').iterdir():
            picture.rename(folder / kind / picture.name)
        (folder / kind / 'train').rmdir()


def _rename_split(folder: Path, name: str) -> None:
    for kind in ('images', 'panoptic'):
        (folder / kind / 'train').rename(folder / kind / name)


def test_a_set_whose_pictures_are_in_no_split_is_not_left_out_of_a_training_without_a_word(
    file, caplog
):
    _without_splits(file.parent / 'field')
    assert [s.name for s in open_mixture(file, 'train').sets] == ['town']
    (said,) = caplog.messages
    assert said == f"{file}: without a split 'train', so left out: field."
    (file.parent / 'field' / 'train.txt').write_text('a\nb\n')
    caplog.clear()
    assert [len(s.dataset) for s in open_mixture(file, 'train').sets] == [2, 2]
    assert not caplog.messages
    # As `pdl_ros data check` asks for it: all pictures of one set, no split of the other.
    (file.parent / 'town' / 'panoptic' / 'val').mkdir()
    assert [s.name for s in open_sets(file, '')[2]] == ['field']


@pytest.mark.parametrize('named', ['train2017', 'train'])
def test_a_set_takes_part_in_training_by_its_split_as_a_folder_alone_would(file, caplog, named):
    _rename_split(file.parent / 'town', 'train2017')
    _write(file, split=named)
    assert [s.name for s in open_mixture(file, 'train').sets] == ['town', 'field']
    assert not caplog.messages


def test_of_two_splits_that_may_be_meant_a_set_says_which(file):
    town = file.parent / 'town'
    _rename_split(town, 'train2017')
    (town / 'panoptic' / 'train2014').mkdir()
    with pytest.raises(PdlError, match="has several splits 'train': train2014, train2017"):
        open_mixture(file, 'train')
    _write(file, split='train2017')
    assert len(open_mixture(file, 'train').sets) == 2


def test_nobody_is_warned_of_a_set_that_is_to_take_part_in_another_split(file, caplog):
    (file.parent / 'town' / 'panoptic' / 'val').mkdir()
    _write(file, split='val')
    assert [s.name for s in open_mixture(file, 'train').sets] == ['field']
    assert not caplog.messages


class _Numbers(Drawn):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int):
        return id(self), index


@given(st.lists(st.tuples(st.integers(1, 30), st.floats(0.2, 5)), min_size=1, max_size=4))
def test_an_epoch_has_every_picture_and_each_set_by_its_weight(sizes):
    data = [_Numbers(count) for count, _ in sizes]
    sets = [MixedSet(str(i), w, d) for i, ((_, w), d) in enumerate(zip(sizes, data, strict=True))]
    mixture = Mixture(data[0].label_set, (), sets)
    drawn = [mixture[i] for i in range(len(mixture))]
    total = sum(w for _, w in sizes)
    for (count, weight), dataset in zip(sizes, data, strict=True):
        own = [i for key, i in drawn if key == id(dataset)]
        assert set(own) == set(range(count))
        assert abs(len(own) - weight / total * len(drawn)) <= len(sizes)
        often = np.bincount(own)
        assert often.max() - often.min() <= 1


def test_a_set_of_weight_0_is_there_to_be_scored_but_never_drawn(file):
    _write(file, weight=0)
    mixture = open_mixture(file, 'train')
    assert len(mixture) == 4 and len(mixture.sets) == 2


@pytest.mark.parametrize('weight', [0, 100])
def test_who_is_scored_is_scored_on_every_picture_once_whatever_the_weights(file, weight):
    _write(file, weight=weight)
    mixture = open_mixture(file, 'train', scored=True)
    seen = [mixture[i] for i in range(len(mixture))]
    assert [s.name for s in seen] == [*'ab', *'abcd']


def test_numbers_that_nobody_names_are_refused_at_opening(file):
    (file.parent / 'town' / 'labels.yaml').unlink()
    _write(file, classes={})
    with pytest.raises(PdlError, match=r'town holds numbers without names; keep .*labels\.yaml'):
        open_mixture(file, 'train')


def test_a_number_that_a_mixture_leaves_out_is_to_be_named_in_the_mixture(file):
    (file.parent / 'town' / 'labels.yaml').unlink()
    (file.parent / 'rest.yaml').write_text(
        yaml.safe_dump({**STREET.to_dict(), 'ignore': 'rest'}, sort_keys=False)
    )
    for labels in ('street', 'rest.yaml'):  # whose rules do not hold here
        _write(file, classes={0: 'road'})
        file.write_text(file.read_text().replace('labels: street', f'labels: {labels}'))
        mixture = open_mixture(file, 'train')
        says = 'a.png holds class 1, of which the mixture says nothing; name it there under classes'
        with pytest.raises(PdlError, match=says):
            mixture.sets[0].dataset[0]


def test_a_value_of_a_semantic_png_that_a_mixture_leaves_out_is_to_be_named_in_it(file):
    trees.coco_instances(file.parent / 'polygons')
    sets = {'polygons': {'folder': 'polygons', 'semantic': {0: 'road'}}}
    file.write_text(yaml.safe_dump({'labels': 'street', 'sets': sets}))
    says = 'PNG of a holds 1, of which the mixture says nothing; name it there under semantic'
    with pytest.raises(PdlError, match=says):
        open_mixture(file, 'train')[0]


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'classes': {'street': 'rode'}}, r"class 'street' becomes 'rode', .*is it 'road'\?"),
        ({'classes': {'strete': 'road'}}, "names class 'strete', which .* lacks; it has street"),
        (
            {'classes': {'street': 'road'}},
            "does not say what its class 'vehicle' is; name it under",
        ),
        ({'classes': ['street']}, 'has a wrong value: classes is no table'),
        ({'classes': {0: 'road', 'street': 'road'}}, 'has one of them twice'),
        ({'classes': {'street': 3}}, 'class street is 3, which is no text'),
        ({'crowds': 'vehicle'}, 'crowds is no list'),
        ({'split': 'trian'}, "has no split 'trian'; it has train"),
        ({'folder': None}, 'folder is None, which is no text'),
        ({'folder': 'x' * 5000}, 'its folder cannot be read: File name too long'),
        ({'crowds': ['tram']}, "names class 'tram', which .* lacks"),
        ({'folder': 'nowhere'}, "set 'town': No folder .*nowhere"),
        ({'wieght': 2}, "has the key 'wieght'; it can have folder, split, weight"),
        ({'weight': -1}, 'weight is -1; give a number from 0'),
        ({'weight': 'much'}, "weight is 'much'; give a number"),
        ({'weight': None}, 'weight is None; give a number'),
        ({'weight': 9e5}, 'an epoch would be over a million pictures'),
        ({'unlabelled': 'nothing'}, "what is unlabelled becomes 'nothing'"),
        ({'unlabelled': 'road'}, 'is 16-bit PNGs, where a pixel without a label is void'),
    ],
)
def test_a_mistake_in_a_mixture_is_one_sentence(file, changes, sentence):
    _write(file, **changes)
    with pytest.raises(PdlError, match=sentence):
        open_mixture(file, 'train')


@pytest.mark.parametrize(
    'text', ['', '[1, 2]', 'labels: street', 'sets: {}', '{', '\0', '!!python/x y']
)
def test_what_is_no_mixture_is_refused_in_one_sentence(tmp_path, text):
    file = tmp_path / 'mixture.yaml'
    file.write_text(text)
    with pytest.raises(PdlError, match=r'mixture.yaml is (no mixture|not valid YAML)'):
        open_mixture(file, 'train')


@pytest.mark.parametrize(
    ('text', 'sentence'),
    [
        ('labels: street\nsets: {a: {folder: town}, a: {folder: field}}', "'a' stands twice"),
        ('labels: street\nweight: 3\nsets: {a: {folder: town}}', "has the key 'weight'"),
        ('sets: {a: {folder: town}}', 'does not say in which classes it is'),
        ('labels: strete\nsets: {a: {folder: town}}', 'mixture.yaml, labels: No label set'),
        ('labels: street\nsets: {3: {folder: town}}', 'has a set of the name 3'),
        ('labels: street\nsets: {"a\\e[2J": {folder: town}}', r"has a set of the name 'a\\x1b"),
        ('labels: street\nsets: {a: {folder: town, classes: {street: &x [*x]}}}', 'is a list'),
    ],
)
def test_a_strangers_mixture_neither_loses_a_set_nor_ends_in_a_traceback(file, text, sentence):
    file.write_text(text)
    with pytest.raises(PdlError, match=sentence):
        open_mixture(file, 'train')


@pytest.mark.parametrize(
    'changes',
    [
        {},
        {'classes': {'street': 'road', 'vehicle': 'car|person'}},
        {'classes': {'street': 'sky', 'vehicle': 'car|large vehicle'}},
        {'crowds': ['vehicle']},
        {'weight': 1.01},
    ],
)
def test_a_training_does_not_go_on_with_a_mixture_that_means_something_else(file, changes):
    pytest.importorskip('lightning_fabric')
    from pdl_ros.network.variants import get_variant
    from pdl_ros.training.state import identity
    from test.unit.drawn import SETTINGS

    def known() -> dict:
        return identity(get_variant('scene_tiny'), open_mixture(file, 'train'), SETTINGS)

    before, length = known(), len(open_mixture(file, 'train'))
    _write(file, **changes)
    assert len(open_mixture(file, 'train')) == length
    assert (known() == before) == (not changes)


def test_void_is_void_in_any_case_as_other_names_are(file):
    _write(file, classes={'street': 'Road', 'vehicle': 'Void'})
    assert open_mixture(file, 'train').sets[0].labelled == {NAMES.index('road')}


def test_a_set_is_chosen_by_its_name(file):
    assert [s.name for s in open_sets(file, 'train', ['field'])[2]] == ['field']
    with pytest.raises(PdlError, match="has no set 'fiedl'; it has town, field"):
        open_sets(file, 'train', ['fiedl'])


def test_a_joined_class_is_what_the_set_says_of_its_parts(file):
    names = ('van', 'tram', 'wreck', 'Van | tram', 'van|car', 'van|wreck')
    rows = [{'name': n, 'color': [i, 1, 1], 'thing': True} for i, n in enumerate(names)]
    labels = file.parent / 'field' / 'labels.yaml'
    labels.write_text(yaml.safe_dump({'name': 'field', 'classes': rows}))
    data = yaml.safe_load(file.read_text())
    data['sets']['field']['classes'] = {'van': 'car', 'tram': 'large vehicle', 'wreck': 'void'}
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    for value, becomes in ((3, {'car', 'large vehicle'}), (4, {'car'}), (5, set())):
        values = np.full((16, 24), value * 1000 + 1, np.uint16)
        for name in 'abcd':
            cv2.imwrite(str(file.parent / 'field' / 'panoptic' / 'train' / f'{name}.png'), values)
        mixture = open_mixture(file, 'train')
        ids = [(i,) for i in range(STREET.num_classes)] + list(mixture.groups)
        segments = mixture.sets[1].dataset[0].segments
        assert {NAMES[i] for s in segments for i in ids[s.class_id]} == becomes
