"""What is written in official formats is read back as it was, and foreign files are not trusted."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pdl_ros.datasets import Sample
from pdl_ros.errors import PdlError
from pdl_ros.evaluation import PanopticEvaluator
from pdl_ros.evaluation.official_ids import class_ids, image_id
from pdl_ros.evaluation.predictions import open_predictions, score_predictions
from pdl_ros.evaluation.submission import open_writer
from pdl_ros.labels import LabelSet

from .labelled_scenes import LABELS, THINGS, Scene, scenes

CITYSCAPES = LabelSet.load('cityscapes')
THINGS_OF = {'coco': (LABELS, THINGS), 'cityscapes': (CITYSCAPES, (13, 11, 18))}


class Labelled:
    """A data set of scenes."""

    def __init__(self, images: list[Scene], label_set: LabelSet) -> None:
        self.label_set, self._images = label_set, images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Sample:
        return self._images[index].sample


def written(kind: str, folder: Path, seed: int = 0) -> tuple[list[Scene], LabelSet]:
    label_set, things = THINGS_OF[kind]
    images = scenes(seed, 4, things)
    writer = open_writer(kind, folder, label_set)
    for image in images:
        writer.keep(writer.write(image.sample, image.result()))
    writer.close()
    return images, label_set


@pytest.mark.parametrize('kind', ['coco', 'cityscapes'])
def test_results_read_back_score_as_before_they_were_written(kind, tmp_path):
    images, label_set = written(kind, tmp_path)
    evaluator = PanopticEvaluator(label_set, 'cityscapes')
    for image in images:
        semantic = image.semantic if kind == 'cityscapes' else None
        evaluator.update(image.panoptic, image.sample, semantic, image.scores)
    found = open_predictions(tmp_path, label_set)
    scores = score_predictions(found, Labelled(images, label_set), quiet=True)
    assert scores.to_dict() == evaluator.compute().to_dict()
    assert scores.ap > 0


def test_instances_in_cityscapes_format_have_the_same_ap(tmp_path):
    images, label_set = written('cityscapes', tmp_path)
    (tmp_path / 'panoptic.json').unlink()
    evaluator = PanopticEvaluator(label_set, 'cityscapes')
    for image in images:
        evaluator.update(image.panoptic, image.sample, image.semantic, image.scores)
    found = open_predictions(tmp_path, label_set)
    scores = score_predictions(found, Labelled(images, label_set), quiet=True)
    assert (scores.ap, scores.ap50) == (evaluator.compute().ap, evaluator.compute().ap50)
    assert scores.pq_things == evaluator.compute().pq_things


def test_coco_instances_are_what_pycocotools_reads(tmp_path):
    from pycocotools import mask as masks

    images, _ = written('coco', tmp_path)
    by_image: dict[int, list] = {}
    for found in json.loads((tmp_path / 'instances.json').read_text()):
        by_image.setdefault(found['image_id'], []).append(found)
    for number, image in enumerate(images):
        rows = by_image.get(number, [])
        assert len(rows) == len(image.scores)
        for row, (value, score) in zip(rows, sorted(image.scores.items()), strict=True):
            assert (masks.decode(row['segmentation']) == (image.panoptic == value)).all()
            assert row['score'] == score


def test_ids_are_those_of_the_published_data():
    cityscapes, coco = CITYSCAPES, LabelSet.load('coco')
    ids = dict(zip((c.name for c in cityscapes.classes), class_ids(cityscapes), strict=True))
    assert (ids['road'], ids['person'], ids['bus'], ids['train'], ids['bicycle']) == (
        7, 24, 28, 31, 33,
    )  # fmt: skip
    ids = dict(zip((c.name for c in coco.classes), class_ids(coco), strict=True))
    assert (ids['person'], ids['stop sign'], ids['toothbrush'], ids['banner']) == (1, 13, 90, 92)
    assert (ids['curtain'], ids['tree-merged'], ids['rug-merged']) == (109, 184, 200)
    assert class_ids(LABELS) == (0, 1, 2, 3, 4)
    assert image_id('000000000139') == 139
    assert image_id('ulm_000000_000019') == 'ulm_000000_000019'


# --- what a user can get wrong ------------------------------------------------------------------


def spoil(folder: Path, **changes) -> None:
    """Change the first annotation of panoptic.json, or its first segment."""
    file = folder / 'panoptic.json'
    data = json.loads(file.read_text())
    first = data['annotations'][0]
    for name, value in changes.items():
        where = first if name in first else first['segments_info'][0]
        where[name] = value
    file.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ('changes', 'says'),
    [
        ({'category_id': 77}, 'the category 77 at the image 000000'),
        ({'id': 4242}, r'000000\.png holds the segment .* which its JSON lacks'),
        ({'segments_info': [{'id': 1, 'category_id': 0}] * 2}, 'which its JSON lacks'),
        ({'segments_info': None}, 'not in the panoptic format'),
        ({'segments_info': [{'id': 1}]}, 'not in the panoptic format'),
        ({'file_name': '../../secret.png'}, r"'\.\./\.\./secret\.png', which is not within"),
        ({'file_name': 'nowhere.png'}, r'nowhere\.png cannot be read'),
        ({'image_id': 99}, 'has nothing for the image 000000'),
        ({'score': 'high'}, 'not in the panoptic format'),
    ],
)
def test_wrong_panoptic_files_are_refused_in_a_sentence(changes, says, tmp_path):
    images, label_set = written('coco', tmp_path)
    spoil(tmp_path, **changes)
    with pytest.raises(PdlError, match=says):
        open_predictions(tmp_path, label_set).read(images[0].sample)


def test_a_segment_that_is_listed_and_not_in_the_png_is_refused_as_by_panopticapi(tmp_path):
    images, label_set = written('coco', tmp_path)
    file = tmp_path / 'panoptic.json'
    data = json.loads(file.read_text())
    data['annotations'][0]['segments_info'].append({'id': 4242, 'category_id': 2})
    file.write_text(json.dumps(data))
    with pytest.raises(PdlError, match=r'lacks the segment \[4242\]'):
        open_predictions(tmp_path, label_set).read(images[0].sample)


@pytest.mark.parametrize(
    ('text', 'says'),
    [
        ('masks/000000_0000.png 26\n', 'it must be: mask, label id, score'),
        ('masks/000000_0000.png 26 much\n', 'it must be'),
        ('/etc/passwd 26 0.5\n', 'not within its folder'),
        ('masks/000000_0000.png 26 0.5\n' * 2, 'overlaps another mask'),
    ],
)
def test_wrong_lines_of_instances_are_refused_in_a_sentence(text, says, tmp_path):
    images, label_set = written('cityscapes', tmp_path)
    (tmp_path / 'instances' / '000000.txt').write_text(text)
    with pytest.raises(PdlError, match=says):
        open_predictions(tmp_path / 'instances', label_set).read(images[0].sample)


def test_classes_without_instances_are_left_out_as_in_the_official_script(tmp_path):
    images, label_set = written('cityscapes', tmp_path)
    (tmp_path / 'instances' / '000000.txt').write_text('masks/000000_0000.png 29 0.5\n')
    found = open_predictions(tmp_path / 'instances', label_set).read(images[0].sample)
    assert (found.panoptic == 65535).all()
    assert found.scores == {}


def test_a_mask_of_another_size_and_a_coloured_one_are_refused(tmp_path):
    images, label_set = written('cityscapes', tmp_path)
    mask = next((tmp_path / 'instances' / 'masks').glob('000000_*'))
    for pixels in (np.ones((3, 3), np.uint8), np.ones((40, 56, 3), np.uint8)):
        cv2.imwrite(str(mask), pixels)
        with pytest.raises(PdlError, match="image's size"):
            open_predictions(tmp_path / 'instances', label_set).read(images[0].sample)


def test_a_folder_without_results_and_a_damaged_file_are_said_in_a_sentence(tmp_path):
    with pytest.raises(PdlError, match=r'neither panoptic\.json nor'):
        open_predictions(tmp_path, LABELS)
    for text in ('{', '[]', '{"annotations": 3}', '[' * 100_000):
        (tmp_path / 'panoptic.json').write_text(text)
        with pytest.raises(PdlError, match='not in the panoptic format'):
            open_predictions(tmp_path, LABELS)


def test_two_images_with_one_id_are_not_written_over_each_other(tmp_path):
    writer = open_writer('coco', tmp_path, LABELS)
    for name in ('7', '007'):
        image = scenes(0, 1, name=name)[0]
        record = writer.write(image.sample, image.result())
        if name == '7':
            writer.keep(record)
    with pytest.raises(PdlError, match='Two images have the id 7'):
        writer.keep(record)


def test_an_image_whose_name_has_a_space_cannot_be_written_for_cityscapes(tmp_path):
    image = scenes(0, 1, (13, 11, 18), name='my town')[0]
    with pytest.raises(PdlError, match='has a space in its name'):
        open_writer('cityscapes', tmp_path, CITYSCAPES).write(image.sample, image.result())
