"""The weights in the package are what the README says they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from pdl_ros.datasets.label_folder import LabelFolder
from pdl_ros.evaluation import PanopticEvaluator
from pdl_ros.network import checkpoints
from pdl_ros.network.variants import get_variant
from pdl_ros.pipeline import Segmenter

SHIPPED = sorted(checkpoints.SHIPPED.glob('*.safetensors'))


def test_the_demo_needs_no_download_and_the_package_stays_small() -> None:
    assert {p.stem for p in SHIPPED} == {'camvid_efficientnet_lite0', 'scene_tiny'}
    assert sum(p.stat().st_size for p in SHIPPED) < 20e6


@pytest.mark.parametrize('path', SHIPPED, ids=lambda p: p.stem)
def test_the_header_tells_a_stranger_how_to_use_the_weights_and_how_good_they_are(
    path: Path,
) -> None:
    header = checkpoints.read(path).header
    variant = get_variant(path.stem)
    assert header['variant'] == path.stem
    assert header['label_set'] == variant.label_set.to_dict()
    assert header['normalisation'] == {'mean': list(variant.mean), 'std': list(variant.std)}
    assert header['commit']
    assert header['training']['steps'] > 0
    assert 0 < header['scores']['pq'] < 1


def test_the_street_weights_segment_real_streets_as_well_as_the_readme_says(camvid: Path) -> None:
    segmenter = Segmenter.load('camvid_efficientnet_lite0', 'cpu')
    dataset = LabelFolder(camvid, 'val', segmenter.label_set)
    evaluator = PanopticEvaluator(segmenter.label_set)
    for index in range(0, len(dataset), 10):
        sample = dataset[index]
        result = segmenter(sample.image)
        evaluator.update(result.panoptic, sample, result.semantic)
    scores = evaluator.compute()
    assert scores.pq > 0.55, scores
    assert scores.miou > 0.62, scores
