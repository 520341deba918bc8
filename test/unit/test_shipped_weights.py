"""The weights in the package are what the README says they are."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from pdl_ros.datasets.label_folder import LabelFolder
from pdl_ros.datasets.mixture import open_sets
from pdl_ros.datasets.mixture_file import read_network_classes
from pdl_ros.demo.cameras import open_camera
from pdl_ros.demo.scene import SceneDataset
from pdl_ros.engines import EngineSettings
from pdl_ros.evaluation import PanopticEvaluator
from pdl_ros.evaluation.run import evaluate
from pdl_ros.evaluation.sets.run import judged_sets, score_set
from pdl_ros.network import checkpoints, weight_files
from pdl_ros.network.variants import get_variant
from pdl_ros.pipeline import Segmenter

CLIP_LABELS = Path(__file__).parent / 'data' / 'clip_semantic.png'
# Least mIoU of six images of CamVid val.
STREETS = {'camvid_efficientnet_lite0': 0.67, 'camvid_efficientnet_lite0_small': 0.6}
# Least mIoU of six images of CamVid val, and least PQ of six of Penn-Fudan.
EVERYWHERE = {
    'street_efficientnet_lite0': (0.62, 0.6),
    'street_efficientnet_lite0_small': (0.55, 0.55),
}
CAMVID_AS_STREET = (
    'sky', 'building', 'pole', 'road', 'sidewalk', 'vegetation', 'traffic sign', 'fence',
    'car|large vehicle', 'person', 'rider|two-wheeler',
)  # fmt: skip
SHIPPED = sorted(weight_files.SHIPPED.glob('*.safetensors'))


def test_the_demo_needs_no_download_and_the_package_stays_small() -> None:
    assert {p.stem for p in SHIPPED} == {*STREETS, *EVERYWHERE, 'scene_tiny'}
    assert all(p.stat().st_size < 20e6 for p in weight_files.SHIPPED.iterdir())
    assert sum(p.stat().st_size for p in weight_files.SHIPPED.iterdir()) < 65e6


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


def test_the_scene_weights_segment_drawn_streets_as_well_as_the_readme_says() -> None:
    streets = SceneDataset(8, 160, 256, first_seed=10_000)  # not those of the training
    scores = evaluate(Segmenter.load('scene_tiny', 'cpu'), streets, quiet=True)
    assert scores.pq > 0.8, scores
    assert scores.pq_things > 0.6, scores
    assert scores.miou > 0.85, scores


@pytest.mark.parametrize(('precision', 'least'), [('fp32', 0.998), ('auto', 0.985)])
def test_the_street_weights_see_in_the_demos_clip_what_they_saw_when_they_were_shipped(
    precision: str, least: float
) -> None:
    """The first and the last frame; their labels were written by fp32. With red and blue exchanged
    0.86 of the pixels agree.
    """
    segmenter = Segmenter.load(
        'street_efficientnet_lite0', 'cpu', engine=EngineSettings('torch', precision)
    )
    own, names = segmenter.fusion, [c.name for c in segmenter.label_set.classes]
    car, fence = names.index('car'), names.index('fence')
    expected = np.split(cv2.imread(str(CLIP_LABELS), cv2.IMREAD_UNCHANGED), 2)
    for frame, labels, cars in zip(
        islice(open_camera('clip').frames(), 0, 50, 49), expected, (3, 2), strict=True
    ):
        result = segmenter(frame)
        semantic, instance = result.semantic.numpy(), result.instance.numpy()
        assert (semantic == labels).mean() > least
        assert (semantic == fence).mean() > 0.03, 'the railing'
        large = [r for r in result.segments.rows() if r['class_id'] == car and r['area'] > 3000]
        assert len(large) == cars, 'large cars behind the railing are one, or many, or a bicycle'
        assert (instance[semantic == car] > 0).mean() > 0.8, 'cars that are hardly believed'
        segmenter.fusion = replace(own, score_threshold=0.0)
        instance = segmenter(frame).instance.numpy()
        assert (instance[semantic == car] > 0).mean() > 0.95, 'cars without a centre'
        segmenter.fusion = own


@pytest.mark.parametrize('name', EVERYWHERE)
def test_the_street_weights_know_streets_of_two_data_sets_as_well_as_the_model_card_says(
    name: str, tmp_path: Path, camvid: Path
) -> None:
    """Six images of CamVid val, and six of Penn-Fudan, a place that no training saw."""
    file = tmp_path / 'mixture.yaml'
    classes = dict(enumerate(CAMVID_AS_STREET))
    folk = _people(camvid.parent / 'street' / 'penn_fudan', tmp_path / 'penn_fudan')
    sets = {'camvid': {'folder': str(camvid), 'classes': classes}, 'people': {'folder': str(folk)}}
    file.write_text(yaml.safe_dump({'labels': 'street', 'sets': sets}))
    segmenter = Segmenter.load(name, 'cpu')
    own = read_network_classes(file, segmenter.label_set)
    streets, people = (
        score_set(segmenter, judged, 'none', quiet=True).scores
        for judged in judged_sets(*open_sets(file, 'val'), own, 6)
    )
    least_miou, least_pq = EVERYWHERE[name]
    assert streets.miou > least_miou, streets
    assert people.pq > least_pq, people


def _people(source: Path, folder: Path) -> Path:
    """Write the last 50 pictures of Penn-Fudan as 16-bit PNGs."""
    for kind in ('images', 'panoptic'):
        (folder / kind / 'val').mkdir(parents=True)
    for labels in sorted((source / 'instances').glob('*.png'))[-50:]:
        numbers = cv2.imread(str(labels), cv2.IMREAD_UNCHANGED)
        values = np.where(numbers > 0, 1000 + numbers.astype(int), 65535)
        cv2.imwrite(str(folder / 'panoptic' / 'val' / labels.name), values.astype(np.uint16))
        [image] = (source / 'images').glob(f'{labels.stem}.*')
        (folder / 'images' / 'val' / image.name).symlink_to(image)
    classes = [
        {'name': n, 'color': [i, i, i], 'thing': i > 0} for i, n in enumerate(('road', 'person'))
    ]
    (folder / 'labels.yaml').write_text(yaml.safe_dump({'name': 'people', 'classes': classes}))
    return folder


@pytest.mark.parametrize(('weights', 'least'), STREETS.items())
def test_the_camvid_weights_segment_real_streets_as_well_as_the_docs_say(
    camvid: Path, weights: str, least: float
) -> None:
    segmenter = Segmenter.load(weights, 'cpu')
    dataset = LabelFolder(camvid, 'val', segmenter.label_set)
    evaluator = PanopticEvaluator(segmenter.label_set)
    for index in range(0, len(dataset), 20):
        sample = dataset[index]
        result = segmenter(sample.image)
        evaluator.update(result.panoptic, sample, result.semantic)
    scores = evaluator.compute()
    assert scores.pq > least - 0.07, scores
    assert scores.miou > least, scores
