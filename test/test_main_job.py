"""The main job: train a tiny network on drawn streets, score it on streets it has not seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from pdl_ros.demo.scene import SceneDataset
from pdl_ros.evaluation import Scores
from pdl_ros.evaluation.run import evaluate
from pdl_ros.network.variants import get_variant
from pdl_ros.pipeline import Segmenter

SIZE = (160, 256)
HELD_OUT = SceneDataset(30, *SIZE, first_seed=10_000)


@pytest.fixture(scope='module')
def scores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scores]:
    """Scores on held-out scenes before and after the recipe of `scene_tiny`, through files."""
    pytest.importorskip('lightning_fabric', reason='needs pdl_ros[train]')
    from pdl_ros.training.recipes import imagenet_weights, recipe
    from pdl_ros.training.trainer import Trainer

    variant = get_variant('scene_tiny')
    trainer = Trainer(
        variant,
        SceneDataset(400, *SIZE),
        recipe(variant),
        tmp_path_factory.mktemp('run'),
        imagenet_weights(variant.backbone),
        device='cpu',
    )
    before = score(trainer.save_weights({}))
    trainer.run(quiet=True)
    return {'before': before, 'after': score(trainer.save_weights({}))}


def score(weights: Path) -> Scores:
    return evaluate(Segmenter.load(weights, 'cpu'), HELD_OUT, quiet=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_tiny_network_learns_drawn_streets_to_a_panoptic_quality_of_80(
    scores: dict[str, Scores],
) -> None:
    assert scores['before'].pq < 0.2, 'an untrained network must not score: the scores are wrong'
    after = scores['after']
    assert after.pq >= 0.8, after
    assert after.pq_things >= 0.5, after
    assert after.miou >= 0.8, after
