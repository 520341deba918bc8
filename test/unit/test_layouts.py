"""Every published layout is recognised and read as it lies on the disk, into the same record."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from pdl_ros.datasets import layouts
from pdl_ros.datasets.layouts import open_dataset, recognise
from pdl_ros.datasets.own_labels import find_label_set
from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelSet

from ..conftest import SHARED
from . import trees
from .test_cli import call
from .trees import CAR, HEIGHT, ROAD, SKY, TREES, WIDTH, expected, regions

DATA = SHARED / 'data'


def needs(path: Path) -> Path:
    if not path.is_dir():
        pytest.skip(f'needs the data that is not shipped with the project ({path.name})')
    return path


# --- the same world in every layout ---------------------------------------------------------------


@pytest.mark.parametrize('tree', TREES)
@pytest.mark.parametrize('split', ['train', 'val'])
def test_every_layout_is_recognised_and_says_the_same(tmp_path, caplog, tree, split):
    write, name, rules = TREES[tree]
    write(tmp_path)
    with caplog.at_level('INFO', 'pdl_ros.datasets'):
        dataset = open_dataset(tmp_path, split, trees.label_set(**rules))
    assert f'{tmp_path} is {name}; {split}: 1 images.' in caplog.text
    sample = dataset[0]
    assert (sample.image.shape, sample.image.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)
    assert abs(int(sample.image[5, 5, 0]) - 220) < 20  # the sky is bright
    assert (sample.panoptic.shape, sample.panoptic.dtype) == ((HEIGHT, WIDTH), np.int32)
    assert regions(sample) == expected(crowd=tree not in trees.WITHOUT_CROWDS)


@pytest.mark.slow
@pytest.mark.parametrize('tree', TREES)
def test_every_layout_is_checked_trained_on_and_scored_by_one_command_each(tmp_path, tree):
    write, name, rules = TREES[tree]
    write(tmp_path / 'data')
    labels = tmp_path / 'labels.yaml'
    labels.write_text(yaml.safe_dump(trees.label_set(**rules).to_dict()))
    checked = call('data', 'check', tmp_path / 'data', '--labels', labels)
    assert checked.returncode == 0, checked.stderr
    assert name in checked.stdout
    run = tmp_path / 'run'
    arguments = ('--data', tmp_path / 'data', '--labels', labels, '--out', run)
    small = ('--backbone-weights', 'none', '--steps', 1, '--batch-size', 1, '--device', 'cpu')
    trained = call('train', 'scene_tiny', *arguments, *small)
    assert trained.returncode == 0, trained.stderr
    weights = run / 'weights.safetensors'
    scored = call('evaluate', '--data', tmp_path / 'data', '--weights', weights, '--device', 'cpu')
    assert scored.returncode == 0, scored.stderr
    assert 'images: 1' in scored.stdout


def test_an_unknown_folder_is_refused_with_the_layouts_that_are_known(tmp_path):
    with pytest.raises(PdlError, match='Cityscapes, Mapillary Vistas, COCO panoptic') as error:
        recognise(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_a_split_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    trees.coco_panoptic(tmp_path)
    with pytest.raises(PdlError, match=r"no split 'test'; it has train2017, val2017\."):
        open_dataset(tmp_path, 'test', trees.label_set())


# --- Cityscapes -----------------------------------------------------------------------------------


def test_what_cityscapes_leaves_out_is_void_unless_a_label_set_asks_for_it(tmp_path):
    trees.cityscapes(tmp_path)
    path = next((tmp_path / 'gtFine' / 'val').glob('*/*.png'))
    parking, caravan, trailers = 9, 29000, 30
    values = trees.world((7, parking, 0), [caravan, 26001], trailers)
    trees.save(path, values.astype(np.uint16))
    everything = LabelSet.load('cityscapes')
    sample = open_dataset(tmp_path, 'val', everything)[0]
    assert {everything.classes[s.class_id].name for s in sample.segments} == {'road', 'car'}
    asked = trees.label_set(ignore='rest', car={'from': ['car', 'caravan', 'trailer']})
    sample = open_dataset(tmp_path, 'val', asked)[0]
    kinds = sorted((s.class_id, s.is_crowd) for s in sample.segments)
    assert kinds == [(ROAD, False), (CAR, False), (CAR, False), (CAR, True)]


def test_cityscapes_without_instances_teaches_semantics_with_all_things_as_crowds(tmp_path):
    trees.cityscapes(tmp_path)
    for path in (tmp_path / 'gtFine').glob('*/*/*_instanceIds.png'):
        values = trees.world((7, 23, 0), [26, 26], 26).astype(np.uint8)
        trees.save(path.with_name(path.name.replace('instanceIds', 'labelIds')), values)
        path.unlink()
    sample = open_dataset(tmp_path, 'train', trees.label_set(ignore='rest'))[0]
    assert [(s.class_id, s.is_crowd) for s in sample.segments] == [
        (ROAD, False),
        (SKY, False),
        (CAR, True),
    ]


# --- COCO panoptic --------------------------------------------------------------------------------


def test_real_coco_pictures_have_the_segments_and_areas_that_their_json_says(tmp_path):
    root = needs(DATA / 'coco128_panoptic')
    coco = LabelSet.load('coco')
    assert find_label_set(root) == coco
    dataset = open_dataset(root, 'val', coco)
    data = json.loads((root / 'annotations' / 'panoptic_val2017.json').read_text())
    names = {c['id']: c['name'] for c in data['categories']}
    told = {a['file_name'][:-4]: a['segments_info'] for a in data['annotations']}
    for index in range(0, len(dataset), 9):
        sample = dataset[index]
        areas = dict(zip(*np.unique(sample.panoptic, return_counts=True), strict=True))
        found = [
            (s.id, coco.classes[s.class_id].name, s.is_crowd, areas[s.id]) for s in sample.segments
        ]
        assert found == [
            (s['id'], names[s['category_id']], bool(s['iscrowd']), s['area'])
            for s in told[sample.name]
        ]


def test_the_sample_of_panopticapi_is_read_with_its_pictures():
    root = needs(DATA / 'panopticapi_sample') / 'sample_data'
    dataset = open_dataset(root, 'examples', LabelSet.load('coco'))
    assert [dataset[i].name for i in range(2)] == ['000000142238', '000000439180']
    assert len(dataset[0].segments) > 5


@pytest.mark.parametrize(
    ('change', 'says'),
    [
        (lambda s: s.pop(), '1 ids that panoptic_val2017.json does not list, the first is 77'),
        (lambda s: s.append(dict(s[0])), 'lists segment 70000 of 000000000009.png twice'),
        (lambda s: s[0].update(category_id=5), 'does not name'),
        (lambda s: s[0].update(id=1 << 40), 'no panoptic JSON of COCO'),
        (lambda s: s[0].pop('id'), 'no panoptic JSON of COCO'),
    ],
)
def test_a_panoptic_json_that_does_not_fit_its_pngs_is_refused_in_a_sentence(
    tmp_path, change, says
):
    trees.coco_panoptic(tmp_path)
    file = tmp_path / 'annotations' / 'panoptic_val2017.json'
    data = json.loads(file.read_text())
    change(data['annotations'][0]['segments_info'])
    file.write_text(json.dumps(data))
    with pytest.raises(PdlError, match=says):
        open_dataset(tmp_path, 'val', trees.label_set())[0]


@pytest.mark.parametrize('text', ['', '{', '[' * 100_000, 'null', '[]', '{"images": 3}'])
def test_a_damaged_json_is_refused_by_name(tmp_path, text):
    trees.coco_panoptic(tmp_path)
    (tmp_path / 'annotations' / 'panoptic_val2017.json').write_text(text)
    with pytest.raises(PdlError, match=r'panoptic_val2017\.json'):
        open_dataset(tmp_path, 'val', trees.label_set())


# --- splits, and images left out ------------------------------------------------------------------


def test_a_folder_without_splits_is_divided_by_lists_of_names(tmp_path):
    label_set = trees.label_set()
    values = trees.world((0, 1000, 65535), [2001, 2002], 2000).astype(np.uint16)
    for name in ('frame.1', 'frame.2', 'frame.3'):
        trees.picture(tmp_path / 'images' / f'{name}.jpg')
        trees.save(tmp_path / 'panoptic' / f'{name}.png', values)
    assert len(open_dataset(tmp_path, '', label_set)) == 3
    with pytest.raises(PdlError, match=r'has no splits; write the names .*val\.txt'):
        open_dataset(tmp_path, 'val', label_set)
    (tmp_path / 'train.txt').write_text('frame.3.jpg\nframe.1\n\n')
    (tmp_path / 'val.txt').write_text('frame.2\n')
    assert [s.name for s in open_dataset(tmp_path, 'train', label_set)] == ['frame.1', 'frame.3']
    assert [s.name for s in open_dataset(tmp_path, 'val', label_set)] == ['frame.2']
    (tmp_path / 'val.txt').write_text('frame.9')
    with pytest.raises(PdlError, match=r'names 1 images that .* lacks, the first is frame\.9'):
        open_dataset(tmp_path, 'val', label_set)


def test_images_that_skip_txt_names_are_left_out_of_their_split_and_that_is_said(tmp_path, caplog):
    trees.own_pngs(tmp_path)
    for split in ('train', 'val'):
        for folder, suffix in (('images', '.jpg'), ('panoptic', '.png')):
            there = tmp_path / folder / split / f'a{suffix}'
            there.with_name(f'b{suffix}').write_bytes(there.read_bytes())
    (tmp_path / 'skip.txt').write_text('# blurred\ntrain/a\n')
    with caplog.at_level('INFO', 'pdl_ros.datasets'):
        assert [s.name for s in open_dataset(tmp_path, 'train', trees.label_set())] == ['b']
    assert f'{tmp_path / layouts.SKIPPED} names 1 images of split train: left out.' in caplog.text
    assert len(open_dataset(tmp_path, 'val', trees.label_set())) == 2


# --- label sets that do not fit -------------------------------------------------------------------


def test_numbers_without_names_are_refused_where_they_count_what_is_stuff_in_the_label_set():
    root = needs(DATA / 'cwfid')
    with pytest.raises(PdlError, match=r"class 1 apart, which is stuff in label set 'camvid'"):
        open_dataset(root, '', LabelSet.load('camvid'))


def test_a_folder_with_its_own_label_set_is_not_read_with_the_ids_of_another(tmp_path):
    trees.own_pngs(tmp_path)
    with pytest.raises(PdlError, match=r"has 3 classes that .* 'field' lacks \(road, sky, car"):
        open_dataset(tmp_path, 'val', trees.FIELD)


def test_classes_of_the_data_go_by_their_names_not_by_their_numbers(tmp_path):
    trees.own_pngs(tmp_path)
    label_set = trees.label_set()
    turned = replace(label_set, classes=label_set.classes[::-1])
    sample = open_dataset(tmp_path, 'val', turned)[0]
    (sky,) = (s for s in sample.segments if turned.classes[s.class_id].name == 'sky')
    assert (sample.panoptic == sky.id)[:16].all()


@pytest.mark.parametrize('tree', ['cityscapes', 'mapillary_v1.2', 'coco_panoptic', 'yolo'])
def test_a_label_set_of_other_classes_is_one_sentence_and_not_a_wrong_training(tmp_path, tree):
    TREES[tree][0](tmp_path)
    with pytest.raises(PdlError, match=r"that label set 'field' lacks \(") as error:
        open_dataset(tmp_path, 'train', trees.FIELD)
    assert '\n' not in str(error.value)


# --- pictures of all kinds ------------------------------------------------------------------------


@pytest.mark.parametrize('mode', ['L', 'CMYK', 'I;16', 'P', 'RGBA'])
def test_grey_cmyk_16_bit_palette_and_transparent_pictures_are_trained_on_as_rgb(tmp_path, mode):
    trees.own_pngs(tmp_path)
    file = tmp_path / 'images' / 'train' / 'a.jpg'
    with Image.open(file) as image:
        grey = np.asarray(image.convert('L'))
        deep = Image.fromarray(grey.astype(np.uint16) * 256)
        palette = Image.Palette.ADAPTIVE if mode == 'P' else Image.Palette.WEB
        other = deep if mode == 'I;16' else image.convert(mode, palette=palette)
    other.save(file.with_suffix('.jpg' if mode in ('L', 'CMYK') else '.png'))
    if mode not in ('L', 'CMYK'):
        file.unlink()
    sample = open_dataset(tmp_path, 'train', trees.label_set())[0]
    assert regions(sample) == expected()
    assert np.abs(sample.image.astype(int) - grey[..., None]).max() < 8


@pytest.mark.parametrize('as_shown', [True, False])
def test_polygons_lie_on_a_turned_picture_as_its_json_says_the_size(tmp_path, as_shown):
    trees.coco_instances(tmp_path)
    for png in (tmp_path / 'semantic').glob('*/*.png'):
        png.unlink()
    file = tmp_path / 'images' / 'val' / 'a.jpg'
    with Image.open(file) as image:
        pixels = np.asarray(image)
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.rot90(pixels) if as_shown else pixels
    Image.fromarray(np.ascontiguousarray(stored)).save(file, exif=exif, quality=95)
    sample = open_dataset(tmp_path, 'val', trees.label_set())[0]
    assert regions(sample) == {r for r in expected() if r[0] == CAR}
    assert np.abs(sample.image.astype(int) - pixels).mean() < 4
