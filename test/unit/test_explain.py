"""What each head costs is told by the real fusion, with the truth in its place."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from pdl_ros.datasets import PanopticDataset, Sample
from pdl_ros.demo.scene import SceneDataset
from pdl_ros.errors import PdlError
from pdl_ros.evaluation.causes import CAUSES
from pdl_ros.evaluation.explain import NO_LIMIT, PREDICTED, explain
from pdl_ros.evaluation.report import print_explanation
from pdl_ros.evaluation.run import evaluate
from pdl_ros.evaluation.truth_heads import HEADS, TruthHeads
from pdl_ros.fusion import FusionSettings
from pdl_ros.network.heads import HeadOutputs
from pdl_ros.pipeline import Segmenter

from .labelled_scenes import LABELS, VOID, scenes


@pytest.fixture(scope='module')
def segmenter() -> Segmenter:
    return Segmenter.load('scene_tiny', 'cpu')


@pytest.fixture(scope='module')
def streets() -> SceneDataset:
    return SceneDataset(3, 160, 256, first_seed=10_000)


@pytest.fixture(scope='module')
def explained(segmenter, streets):
    return explain(segmenter, streets, quiet=True)


def test_the_scores_are_those_without_an_explanation(segmenter, streets, explained):
    scores, explanation = explained
    assert scores.to_dict() == evaluate(segmenter, streets, quiet=True).to_dict()
    assert explanation.truth[PREDICTED] == scores


def test_true_heads_score_a_hundred_and_no_truth_costs(explained):
    truth = explained[1].truth
    assert truth[NO_LIMIT].pq == 1
    assert truth[' + '.join(HEADS)].pq_things == 1
    assert len(truth) == 1 + 7 + 1
    assert truth['semantics'].pq_stuff > truth[PREDICTED].pq_stuff
    assert truth['centres'].pq_stuff == truth[PREDICTED].pq_stuff


def test_every_labelled_thing_has_one_cause(explained, streets):
    scores, explanation = explained
    labelled = sum(c.tp + c.fn for c in scores.classes[-4:] if not np.isnan(c.ap))
    told = explanation.to_dict()['things']
    assert sum(row['total'] for row in told.values()) == labelled > 0
    found = sum(c.tp for c in scores.classes if not np.isnan(c.ap))
    assert told['found']['total'] == found
    for row in told.values():
        assert sum(row['by_size'].values()) == sum(row['by_class'].values()) == row['total']


def test_the_worst_images_are_named_first(explained, streets):
    worst = explained[1].to_dict()['worst_images']
    assert sorted(f['name'] for f in worst) == sorted(streets[i].name for i in range(3))
    assert [f['pq'] for f in worst] == sorted(f['pq'] for f in worst)


def test_the_explanation_can_be_read_and_kept(explained, capsys):
    json.dumps(explained[1].to_dict(), allow_nan=False)
    print_explanation(explained[1])
    said = capsys.readouterr().out
    assert all(word in said for word in (*HEADS, *CAUSES, NO_LIMIT))


def test_data_of_another_label_set_is_refused(segmenter):
    class Other:
        label_set = LABELS

    other: PanopticDataset = Other()  # type: ignore[assignment]
    with pytest.raises(PdlError, match='must be the same'):
        explain(segmenter, other, quiet=True)


# --- heads of any grid, frames of any size -----------------------------------------------------


def blind_heads(size: tuple[int, int], stride: int) -> HeadOutputs:
    """Heads of a network that has learnt nothing."""
    h, w = (n // stride for n in size)
    torch.manual_seed(0)
    semantic = torch.randn(1, LABELS.num_classes, h, w)
    return HeadOutputs(semantic, torch.zeros(1, 1, h, w), torch.zeros(1, 2, h, w), stride)


@pytest.mark.parametrize('network', [(40, 56), (20, 28), (80, 112), (48, 64)])
def test_truth_is_whole_whatever_the_size_of_the_networks_input(network):
    sample, settings = scenes(0)[0].sample, FusionSettings(stuff_area=0)
    valid = network if network != (48, 64) else (40, 56)  # the rest is padding
    truth = TruthHeads(blind_heads(network, 4), valid, sample, LABELS, settings)
    result = truth.fuse_all_true()
    labelled = sample.panoptic != VOID
    right = result.semantic.numpy() == sample.panoptic // 1000
    assert right[labelled].mean() > (0.999 if network[0] <= 40 or network == (48, 64) else 0.93)


def test_without_truth_the_heads_are_those_of_the_network():
    sample, settings = scenes(0)[0].sample, FusionSettings(stuff_area=10)
    heads = blind_heads((40, 56), 4)
    truth = TruthHeads(heads, (40, 56), sample, LABELS, settings)
    from pdl_ros.fusion import fuse

    expected = fuse(heads, LABELS, settings, (40, 56), (40, 56))
    assert torch.equal(truth.fuse(()).panoptic, expected.panoptic)
    scaled = TruthHeads(heads, (20, 28), sample, LABELS, replace(settings, rescale=True))
    assert scaled.settings.stuff_area == 40


def test_true_offsets_bring_things_to_their_centres():
    sample: Sample = scenes(0)[0].sample
    settings = FusionSettings(stuff_area=0)
    truth = TruthHeads(blind_heads((40, 56), 4), (40, 56), sample, LABELS, settings)
    instances = truth.fuse_all_true().instance.numpy()
    for s in sample.segments:
        if LABELS.classes[s.class_id].is_thing and not s.is_crowd:
            ids = instances[sample.panoptic == s.id]
            assert len(np.unique(ids)) == 1
            assert ids[0] > 0
