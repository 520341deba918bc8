"""A set is scored in the classes that its labels tell apart, and in no other."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdl_ros.errors import PdlError
from pdl_ros.evaluation.sets.classes import NOTHING, SetClasses, set_classes
from pdl_ros.labels import LabelSet

STREET = LabelSet.load('street')
NAMES = [c.name for c in STREET.classes]
STUFF = 'road|sidewalk|building|fence|pole|traffic sign|vegetation|sky'


def classes_of(*names: str) -> SetClasses:
    """Return the classes of a set that labels these, of which some may be joined by bars."""
    ids = [tuple(sorted(NAMES.index(n) for n in name.split('|'))) for name in names]
    groups = tuple(i for i in ids if len(i) > 1)
    labelled = [i[0] if len(i) == 1 else len(NAMES) + groups.index(i) for i in ids]
    return set_classes(STREET, groups, labelled, 'mine')


def names(classes: SetClasses) -> list[str]:
    return [c.name for c in classes.label_set.classes]


def left_open(classes: SetClasses) -> list[str]:
    scored = names(classes)
    return [' or '.join(scored[i] for i in group) for group in classes.groups]


def test_classes_that_only_stand_together_are_one():
    camvid = classes_of('road', 'sky', 'person', 'rider|two-wheeler', 'car|large vehicle')
    assert names(camvid) == ['road', 'sky', 'person', 'rider|two-wheeler', 'car|large vehicle']
    assert camvid.groups == ()
    car = camvid.label_set.classes[4]
    assert (car.color, car.is_thing) == (STREET.classes[NAMES.index('car')].color, True)


def test_groups_that_overlap_are_one_class():
    idd = classes_of('road', 'sidewalk|vegetation', 'building|vegetation', 'fence|pole')
    assert names(idd) == ['road', 'sidewalk|building|vegetation', 'fence|pole']


def test_a_group_of_classes_that_are_also_labelled_alone_leaves_open_and_joins_nothing():
    coco = classes_of('building', 'fence', 'building|fence', 'person', 'person|rider', 'car')
    assert names(coco) == ['building', 'fence', 'person', 'car']
    assert left_open(coco) == ['building or fence', 'person']


def test_labels_that_say_only_that_there_is_no_thing_do_not_make_all_stuff_one_class():
    coco = classes_of('building', 'sky', 'car', 'fence|pole', STUFF)
    assert names(coco) == ['building', 'fence|pole', 'sky', 'car']
    assert left_open(coco) == ['building or fence|pole or sky']
    boxes = classes_of('car', STUFF)
    assert names(boxes) == [STUFF, 'car'], 'the only truth there is about stuff'
    assert boxes.groups == ()


def test_a_group_in_which_nothing_is_scored_speaks_against_all_that_is():
    far = classes_of('car', 'fence|pole', 'fence|pole|sky', 'road', 'road|sky')
    assert names(far) == ['road', 'fence|pole', 'car']
    assert left_open(far) == ['fence|pole', 'road']
    assert classes_of('car', 'road', 'road|sky').targets[len(NAMES)] == 2


def test_a_set_in_the_classes_of_the_label_set_has_the_very_label_set():
    assert classes_of(*NAMES).label_set is STREET
    assert classes_of(*NAMES).members == tuple((i,) for i in range(len(NAMES)))


def test_stuff_and_things_that_are_one_cannot_be_counted():
    (mixed,) = classes_of('pole|person').label_set.classes
    assert not mixed.is_thing


def test_a_prediction_that_may_be_several_is_the_first_that_the_set_scores():
    classes = classes_of('road', 'two-wheeler', 'person')
    place = {name: i for i, name in enumerate(names(classes))}
    either = [NAMES.index('rider'), NAMES.index('two-wheeler')]
    assert classes.place(either) == place['two-wheeler']
    assert classes.place([NAMES.index('sky')]) == NOTHING
    assert classes.place([]) == NOTHING


def test_a_set_that_labels_nothing_is_refused_in_a_sentence():
    with pytest.raises(PdlError, match="Set 'mine' labels no class that could be scored"):
        classes_of()


# --- against a definition that is slow and plain ---------------------------------------------


def parts_by_hand(count: int, named: list[frozenset[int]]) -> set[frozenset[int]]:
    """Say which classes are one: whoever stands with whom, link by link."""
    unknown = [c - {i for (i,) in (a for a in named if len(a) == 1)} for c in named]
    unknown = [c for c in unknown if len(c) > 1]
    precise = [c for c in unknown if not any(o < c for o in unknown)]
    parts = set()
    for start in range(count):
        found = {start}
        for _ in range(count):
            found |= {i for c in precise if c & found for i in c}
        parts.add(frozenset(found))
    return {p for p in parts if any(c <= p for c in named)}


@settings(deadline=None, max_examples=200)
@given(st.sets(st.frozensets(st.integers(0, 5), min_size=1, max_size=5), min_size=1, max_size=6))
def test_every_label_is_one_scored_class_or_leaves_several_open(named):
    label_set = LabelSet('six', STREET.classes[:6])
    groups = tuple(tuple(sorted(c)) for c in named if len(c) > 1)
    labelled = [min(c) if len(c) == 1 else 6 + groups.index(tuple(sorted(c))) for c in named]
    parts = parts_by_hand(6, list(named))
    if not parts:
        with pytest.raises(PdlError):
            set_classes(label_set, groups, labelled, 'mine')
        return
    found = set_classes(label_set, groups, labelled, 'mine')
    assert {frozenset(m) for m in found.members} == parts
    assert not any(set(a) & set(b) for a, b in itertools.combinations(found.members, 2))
    for label in labelled:
        classes = {label} if label < 6 else set(groups[label - 6])
        target, count = found.targets[label], len(found.members)
        if target < count:
            assert classes <= set(found.members[target])
        else:
            touched = [i for i, m in enumerate(found.members) if classes & set(m)]
            assert list(found.groups[target - count]) == touched
            assert not any(classes <= part for part in parts)
