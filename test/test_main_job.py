"""The main job: train a tiny network on drawn streets, score it on streets it has not seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pdl_ros.demo.scene import SceneDataset
from pdl_ros.evaluation import Scores
from pdl_ros.evaluation.run import evaluate
from pdl_ros.network.variants import get_variant
from pdl_ros.pipeline import Segmenter

SIZE = (160, 256)
HELD_OUT = SceneDataset(30, *SIZE, first_seed=10_000)


def train(folder: Path, steps: int | None = None) -> tuple[Scores, Scores]:
    """Return scores on held-out scenes before and after the recipe of `scene_tiny`, or one of its
    form with fewer steps, through files.
    """
    pytest.importorskip('lightning_fabric', reason='needs pdl_ros[train]')
    from pdl_ros.training.imagenet import imagenet_weights
    from pdl_ros.training.recipes import recipe
    from pdl_ros.training.settings import RunSettings
    from pdl_ros.training.trainer import Trainer

    variant = get_variant('scene_tiny')
    settings = recipe(variant)
    trainer = Trainer(
        variant,
        SceneDataset(400, *SIZE),
        replace(settings, steps=steps or settings.steps),
        folder,
        imagenet_weights(variant.backbone),
        run=RunSettings(device='cpu'),
    )
    before = score(trainer.save_weights({}))
    trainer.run(quiet=True)
    return before, score(trainer.save_weights({}))


def score(weights: Path) -> Scores:
    return evaluate(Segmenter.load(weights, 'cpu'), HELD_OUT, quiet=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_tiny_network_learns_drawn_streets_to_a_panoptic_quality_of_30_in_a_sixth_of_its_recipe(
    tmp_path: Path,
) -> None:
    before, after = train(tmp_path, steps=100)
    assert before.pq < 0.2, 'an untrained network must not score: the scores are wrong'
    assert after.pq >= 0.3, after
    assert after.pq_things >= 0.05, after
    assert after.miou >= 0.4, after
