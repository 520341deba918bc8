"""What labels leave open is learnt as what they say, no more: loss, targets, and what is pasted or
drawn in front.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch.nn import functional as F

from pdl_ros.datasets import Sample, Segment
from pdl_ros.datasets.groups import are_things, classes_named, is_mixed
from pdl_ros.datasets.mixture import MixedSet, Mixture
from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelSet
from pdl_ros.training.losses import bootstrapped_cross_entropy, joined_cross_entropy
from pdl_ros.training.paste import paste_things
from pdl_ros.training.railing import draw_railing
from pdl_ros.training.settings import AugmentationSettings, TargetSettings, railing_class
from pdl_ros.training.targets import make_targets
from test.unit.drawn import SCENE, Drawn

STREET = LabelSet.load('street')
NAMES = [c.name for c in STREET.classes]
CAR, LARGE, ROAD, PERSON = (NAMES.index(n) for n in ('car', 'large vehicle', 'road', 'person'))
FENCE = NAMES.index('fence')
GROUPS = ((ROAD, NAMES.index('sidewalk')), (CAR, LARGE), (ROAD, PERSON))
SOME_STUFF, SOME_VEHICLE, MIXED = (STREET.num_classes + g for g in range(3))


@given(
    st.integers(0, 2**32 - 1),
    st.sets(st.frozensets(st.integers(0, 5), min_size=2), min_size=1, max_size=4),
)
def test_the_loss_of_a_group_is_that_of_the_sum_of_its_probabilities(seed, groups):
    rng = np.random.default_rng(seed)
    groups = tuple(tuple(sorted(g)) for g in groups)
    logits = rng.normal(0, 3, (2, 6, 3, 4))
    labels = rng.integers(0, 6 + len(groups), (2, 3, 4))
    labels[rng.random(labels.shape) < 0.2] = 255
    found = joined_cross_entropy(torch.tensor(logits), torch.tensor(labels), groups).numpy()
    for n, y, x in np.ndindex(labels.shape):
        label = labels[n, y, x]
        p = np.exp(logits[n, :, y, x]) / np.exp(logits[n, :, y, x]).sum()
        members = [label] if label < 6 else groups[label - 6] if label != 255 else range(6)
        assert found[n, y, x] == pytest.approx(-np.log(p[list(members)].sum()), abs=1e-9)


def test_labels_that_leave_nothing_open_have_the_published_loss_to_the_last_bit():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 6, 8, 8), torch.randint(0, 6, (2, 8, 8))
    published = F.cross_entropy(logits, labels, ignore_index=255, reduction='none')
    assert torch.equal(joined_cross_entropy(logits, labels, ()), published)


def test_a_group_pushes_none_of_its_classes_against_another():
    logits = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64).view(1, 3, 1, 1).requires_grad_()
    weights = torch.ones(1, 1, 1)
    loss = bootstrapped_cross_entropy(
        logits, torch.full((1, 1, 1), 3), weights, 1.0, groups=((0, 1),)
    )
    loss.backward()
    first, second, other = logits.grad.flatten().tolist()
    assert first < 0 and second < 0 < other
    assert first / second == pytest.approx(
        np.exp(3.0)
    )  # as their probabilities: nobody is favoured


def _targets(*segments: Segment):
    panoptic = np.zeros((20, 30), np.int32)
    panoptic[5:15, 10:20] = 1
    return make_targets(panoptic, segments, STREET, groups=GROUPS)


def test_a_thing_of_an_open_class_has_its_centre_and_offsets():
    targets = _targets(Segment(0, ROAD), Segment(1, SOME_VEHICLE))
    assert targets.center_heatmap.max() == 1 and targets.offset_weight.sum() == 100
    assert targets.semantic[10, 15] == SOME_VEHICLE and targets.semantic_weight[10, 15] == 3


def test_where_some_stuff_is_no_centre_is_wanted_and_a_false_one_costs():
    targets = _targets(Segment(0, ROAD), Segment(1, SOME_STUFF))
    assert targets.center_heatmap.max() == 0 and targets.center_weight.all()
    assert targets.offset_weight.sum() == 0


def test_where_instances_are_not_known_centres_and_offsets_are_not_taught():
    targets = _targets(Segment(0, ROAD), Segment(1, CAR, is_crowd=True))
    assert targets.semantic[10, 15] == CAR
    assert not targets.center_weight[0, 5:15, 10:20].any() and targets.offset_weight.sum() == 0


def test_a_group_with_stuff_and_things_in_it_is_no_group_of_things_alone():
    assert is_mixed(GROUPS[2], STREET) and not is_mixed(GROUPS[1], STREET)
    assert are_things(STREET, GROUPS)[-3:] == [False, True, True]


def test_a_misspelt_class_is_told_with_what_it_may_have_been():
    with pytest.raises(PdlError, match=r"Set 'a': class 'x' becomes 'raod', .*'street' lacks; is"):
        classes_named('car|raod', STREET, "Set 'a': class 'x'")


def _crop(color: int, panoptic: np.ndarray, *segments: Segment) -> Sample:
    return Sample('', np.full((*panoptic.shape, 3), color, np.uint8), panoptic, segments)


THINGS = are_things(STREET, GROUPS)


@given(st.integers(0, 2**32 - 1))
def test_pasted_things_cover_what_was_there_and_change_nothing_else(seed):
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 3, (40, 40)).astype(np.int32)
    donor = np.full((40, 40), -1, np.int32)
    donor[:20, :20], donor[20:, 20:] = 0, 7
    sample = _crop(10, base, Segment(0, ROAD), Segment(1, CAR), Segment(2, PERSON, True))
    given_ = _crop(200, donor, Segment(0, SOME_VEHICLE), Segment(7, PERSON))
    pasted = paste_things(sample, given_, THINGS, rng)
    new = pasted.segments[3:]
    assert {s.class_id for s in new} <= {SOME_VEHICLE, PERSON}
    assert not {s.id for s in new} & {0, 1, 2}
    inside = np.isin(pasted.panoptic, [s.id for s in new])
    assert (pasted.panoptic[~inside] == base[~inside]).all()
    for s in new:
        box = np.s_[:20, :20] if s.class_id == SOME_VEHICLE else np.s_[20:, 20:]
        assert (pasted.panoptic[box] == s.id).all() and inside.sum() == 400 * len(new)
        assert (pasted.image[box][5:15, 5:15] == 200).all()
    far = np.s_[:18, 22:]
    assert (pasted.image[far] == 10).all()


@given(st.integers(0, 2**32 - 1))
@example(377)  # thin, and out of focus
@example(350189)  # between two rows of pixels
def test_things_behind_a_railing_stay_one_and_nothing_else_changes(seed):
    rng = np.random.default_rng(seed)
    base = np.arange(64, dtype=np.int32)[None].repeat(48, 0) // 16  # four upright stripes
    sample = _crop(120, base, Segment(0, ROAD), Segment(1, CAR), Segment(2, CAR))  # the last: void
    drawn = draw_railing(sample, FENCE, rng)
    assert drawn.segments[:3] == sample.segments and drawn.segments[3:] == (Segment(4, FENCE),)
    railing = drawn.panoptic == 4
    assert (drawn.panoptic[~railing] == base[~railing]).all()
    assert 0 < railing.mean() < 0.9
    far = cv2.dilate(railing.astype(np.uint8), np.ones((19, 19))) == 0
    assert (drawn.image[far] == 120).all()
    assert (sample.panoptic == base).all() and (sample.image == 120).all()


def test_a_railing_is_painted_where_its_label_says():
    seen = 0
    for seed in range(20):
        sample = _crop(255, np.zeros((96, 128), np.int32), Segment(0, ROAD))
        drawn = draw_railing(sample, FENCE, np.random.default_rng(seed))
        railing = drawn.panoptic == 1
        dark = drawn.image.mean(-1) < 200
        seen += dark[railing].mean() > 0.7 and dark[~railing].mean() < 0.1
    assert seen >= 12  # others are light, or thin


def test_a_label_set_without_a_class_for_railings_is_told_so():
    for name in ('rail', 'car'):  # a thing
        augmentation = AugmentationSettings((32, 32), railing=0.5, railing_class=name)
        with pytest.raises(PdlError, match=f"railing_class is '{name}'; the classes of stuff are"):
            railing_class(augmentation, STREET)
    assert railing_class(AugmentationSettings((32, 32), railing=0.5), STREET) == FENCE


def test_crowds_specks_and_stuff_are_not_pasted():
    donor = np.zeros((40, 40), np.int32)
    donor[:20], donor[30:33, :5] = 1, 2
    given_ = _crop(200, donor, Segment(0, ROAD), Segment(1, CAR, True), Segment(2, CAR))
    sample = _crop(10, np.zeros((40, 40), np.int32), Segment(0, ROAD))
    for seed in range(20):
        assert paste_things(sample, given_, THINGS, np.random.default_rng(seed)) is sample


class Partly(Drawn):
    """Drawn streets whose labels leave something out."""

    def __init__(self, rest: dict[int, int | None], groups=()) -> None:
        super().__init__()
        self.rest, self.groups = rest, groups

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        told = [(s, self.rest.get(s.class_id, s.class_id)) for s in sample.segments]
        segments = tuple(s._replace(class_id=c) for s, c in told if c is not None)
        return sample._replace(segments=segments)


def test_what_no_set_labels_whole_is_learnt_from_several():
    sky, road, car = 0, 4, 5
    joined = SCENE.num_classes
    groups = ((sky, road),)
    cars = Partly({sky: joined, road: joined}, groups)  # all that is no car is one
    stuff = Partly({car: None}, groups)  # cars are not labelled
    mixture = Mixture(SCENE, groups, [MixedSet('cars', 1, cars), MixedSet('stuff', 1, stuff)])
    batches = [mixture[i] for i in range(len(mixture))]
    images = torch.stack(
        [torch.from_numpy(b.image / 255).permute(2, 0, 1).float() for b in batches]
    )
    labels = [make_targets(b.panoptic, b.segments, SCENE, groups=groups).semantic for b in batches]
    wanted = torch.from_numpy(np.stack(labels)).long()
    few = np.s_[..., ::3, ::3]
    torch.manual_seed(0)
    network = torch.nn.Sequential(  # of colours alone, which are enough here
        torch.nn.Conv2d(3, 16, 1), torch.nn.ReLU(), torch.nn.Conv2d(16, SCENE.num_classes, 1)
    )
    optimizer = torch.optim.Adam(network.parameters(), 0.05)
    for _ in range(150):
        optimizer.zero_grad()
        loss = bootstrapped_cross_entropy(
            network(images[few]), wanted[few], torch.ones(()), 1.0, groups=groups
        )
        loss.backward()
        optimizer.step()
    sample = Drawn()[1]
    found = network(images[1:2]).argmax(1)[0].numpy()
    for segment in sample.segments:
        assert (found == segment.class_id)[sample.panoptic == segment.id].all(), segment


def test_rare_classes_weigh_more_and_open_ones_only_if_all_they_may_be_is_rare():
    settings = TargetSettings(rare_classes=('car', 'large vehicle'), rare_weight=7)
    panoptic = np.zeros((20, 30), np.int32)
    panoptic[5:15, 10:20], panoptic[:3, :3] = 1, 2
    segments = Segment(0, SOME_STUFF), Segment(1, SOME_VEHICLE), Segment(2, PERSON)
    targets = make_targets(panoptic, segments, STREET, settings, GROUPS)
    assert [targets.semantic_weight[at] for at in ((19, 29), (10, 15), (1, 1))] == [1, 7, 3]
    with pytest.raises(PdlError, match="rare_classes names 'tram'; the classes are road,"):
        make_targets(panoptic, segments, STREET, TargetSettings(rare_classes=('tram',)))
