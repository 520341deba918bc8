"""One small world, written in every layout that data sets are published in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from pdl_ros.datasets import Sample
from pdl_ros.labels import LabelSet

HEIGHT, WIDTH = 48, 64
ROAD, SKY, CAR = range(3)
# top, bottom, left, right. The two cars touch; nobody told the cars of the crowd apart.
CARS = [(20, 30, 5, 20), (20, 32, 20, 40)]
CROWD = (34, 40, 44, 60)
VOID = (44, 48, 0, 64)
SPLITS = ('train', 'val')


def label_set(**more: object) -> LabelSet:
    """The label set of the world; more: keys of its YAML, and those of class car under `car`."""
    car = more.pop('car', {})
    classes = [
        {'name': 'road', 'color': [128, 64, 128], 'thing': False},
        {'name': 'sky', 'color': [70, 130, 180], 'thing': False},
        {'name': 'car', 'color': [0, 0, 142], 'thing': True, **car},  # type: ignore[dict-item]
    ]
    return LabelSet.from_dict({'name': 'world', 'classes': classes, **more})


FIELD = LabelSet.from_dict(
    {
        'name': 'field',
        'classes': [
            {'name': 'soil', 'color': [120, 80, 40], 'thing': False},
            {'name': 'crop', 'color': [0, 200, 0], 'thing': True},
            {'name': 'weed', 'color': [200, 0, 0], 'thing': True},
        ],
    }
)
"""Of another world: as many classes, none of the same name."""


def fill(values: np.ndarray, box: tuple[int, int, int, int], value: int) -> np.ndarray:
    top, bottom, left, right = box
    values[top:bottom, left:right] = value
    return values


def world(stuff: tuple[int, int, int], cars: list[int], crowd: int | None) -> np.ndarray:
    """(H, W) int32 map: stuff is (road, sky, void), cars two values, crowd one (None: road)."""
    road, sky, void = stuff
    values = np.full((HEIGHT, WIDTH), road, np.int32)
    values[:16] = sky
    for box, value in zip(CARS, cars, strict=True):
        fill(values, box, value)
    if crowd is not None:
        fill(values, CROWD, crowd)
    return fill(values, VOID, void)


def regions(sample: Sample) -> set[tuple[int, bool, bytes]]:
    """What a sample says: class, crowd and mask of each segment that has a pixel."""
    masks = ((s.class_id, s.is_crowd, sample.panoptic == s.id) for s in sample.segments)
    return {(c, crowd, mask.tobytes()) for c, crowd, mask in masks if mask.any()}


def expected(crowd: bool = True) -> set[tuple[int, bool, bytes]]:
    """The regions of the world."""
    values = world((1, 2, 0), [3, 4], 5 if crowd else None)
    found = [(ROAD, False, 1), (SKY, False, 2), (CAR, False, 3), (CAR, False, 4)]
    found += [(CAR, True, 5)] * crowd
    return {(c, is_crowd, (values == v).tobytes()) for c, is_crowd, v in found}


def save(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def picture(path: Path) -> Path:
    pixels = world((90, 220, 0), [150, 40], 20)
    return save(path, np.repeat(pixels[..., None], 3, 2).astype(np.uint8))


def own_pngs(root: Path) -> None:
    values = world((0, 1000, 65535), [2001, 2002], 2000).astype(np.uint16)
    for split in SPLITS:
        picture(root / 'images' / split / 'a.jpg')
        save(root / 'panoptic' / split / 'a.png', values)
    (root / 'labels.yaml').write_text(yaml.safe_dump(label_set().to_dict()))


def cityscapes(root: Path) -> None:
    values = world((7, 23, 0), [26000, 26001], 26).astype(np.uint16)
    for split in SPLITS:
        name = 'ulm_000000_000019'
        picture(root / 'leftImg8bit' / split / 'ulm' / f'{name}_leftImg8bit.png')
        save(root / 'gtFine' / split / 'ulm' / f'{name}_gtFine_instanceIds.png', values)


def mapillary(root: Path, version: str = '') -> None:
    """The index of a class in the configuration is its id; numbers begin with 0."""
    names = [('nature--sky', 'Sky'), ('construction--flat--road', 'Road')]
    names += [('object--vehicle--car', 'Car'), ('object--vehicle--vehicle-group', 'Vehicle Group')]
    names += [('unlabeled', 'Unlabeled')]
    labels = [
        {
            'name': name,
            'readable': readable,
            'instances': readable == 'Car',
            'evaluate': readable not in ('Vehicle Group', 'Unlabeled'),
            'color': [i, 0, 0],
        }
        for i, (name, readable) in enumerate(names)
    ]
    config = f'config_{version}.json' if version else 'config.json'
    root.mkdir(parents=True, exist_ok=True)
    (root / config).write_text(json.dumps({'labels': labels}))
    group = 3 * 256 if version == 'v2.0' else None
    values = world((256, 0, 4 * 256), [2 * 256, 2 * 256 + 1], group).astype(np.uint16)
    for split in ('training', 'validation'):
        picture(root / split / 'images' / 'xYz.jpg')
        save(root / split / version / 'instances' / 'xYz.png', values)


CATEGORIES = [
    {'id': 3, 'name': 'car', 'isthing': 1, 'color': [0, 0, 142]},
    {'id': 149, 'name': 'road', 'isthing': 0, 'color': [128, 64, 128]},
    {'id': 187, 'name': 'sky', 'isthing': 0, 'color': [70, 130, 180]},
]


def coco_panoptic(root: Path) -> None:
    ids = {'road': 70000, 'sky': 256, 'first': 1, 'second': 5_000_000, 'crowd': 77}
    values = world((ids['road'], ids['sky'], 0), [ids['first'], ids['second']], ids['crowd'])
    rgb = np.stack([values % 256, values // 256 % 256, values // 65536], -1).astype(np.uint8)
    kinds = {'road': 149, 'sky': 187}
    segments = [
        {'id': v, 'category_id': kinds.get(k, 3), 'iscrowd': int(k == 'crowd')}
        for k, v in ids.items()
    ]
    for split in ('train2017', 'val2017'):
        picture(root / split / '000000000009.jpg')
        save(root / 'annotations' / f'panoptic_{split}' / '000000000009.png', rgb)
        image = {'id': 9, 'file_name': '000000000009.jpg', 'height': HEIGHT, 'width': WIDTH}
        note = {'image_id': 9, 'file_name': '000000000009.png', 'segments_info': segments}
        data = {'images': [image], 'annotations': [note], 'categories': CATEGORIES}
        (root / 'annotations' / f'panoptic_{split}.json').write_text(json.dumps(data))


def corners(box: tuple[int, int, int, int]) -> list[float]:
    top, bottom, left, right = box
    return [left, top, right, top, right, bottom, left, bottom]


def runs(box: tuple[int, int, int, int]) -> dict[str, object]:
    """Run lengths of COCO as numbers: down the columns, others' pixels first."""
    flat = fill(np.zeros((HEIGHT, WIDTH), int), box, 1).T.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *changes.tolist(), flat.size]).tolist()
    return {'size': [HEIGHT, WIDTH], 'counts': counts}


def semantic_png(path: Path) -> None:
    """What things leave of the stuff, in train ids."""
    save(path, fill(world((ROAD, SKY, 255), [ROAD, ROAD], ROAD), VOID, 255).astype(np.uint8))


def coco_instances(root: Path) -> None:
    for split in SPLITS:
        picture(root / 'images' / split / 'a.jpg')
        semantic_png(root / 'semantic' / split / 'a.png')
        image = {'id': 4, 'file_name': 'a.jpg', 'height': HEIGHT, 'width': WIDTH}
        notes = [
            {'id': i, 'image_id': 4, 'category_id': 3, 'iscrowd': 0, 'segmentation': [corners(box)]}
            for i, box in enumerate(CARS)
        ]
        crowd = {
            'id': 9,
            'image_id': 4,
            'category_id': 3,
            'iscrowd': 1,
            'segmentation': runs(CROWD),
        }
        data = {'images': [image], 'annotations': [*notes, crowd], 'categories': CATEGORIES[:1]}
        (root / 'annotations').mkdir(exist_ok=True)
        (root / 'annotations' / f'instances_{split}.json').write_text(json.dumps(data))


def yolo(root: Path) -> None:
    lines = []
    for kind, box in [(1, CROWD), *((0, box) for box in CARS)]:
        x, y = corners(box)[::2], corners(box)[1::2]
        points = ' '.join(f'{a / WIDTH:.6f} {b / HEIGHT:.6f}' for a, b in zip(x, y, strict=True))
        lines.append(f'{kind} {points}\n')
    for split in SPLITS:
        picture(root / 'images' / split / 'a.jpg')
        semantic_png(root / 'semantic' / split / 'a.png')
        (root / 'labels' / split).mkdir(parents=True)
        (root / 'labels' / split / 'a.txt').write_text(''.join(lines))
    config = {'path': '/home/somebody/set', 'train': 'images/train', 'val': 'images/val'}
    names = {0: 'car', 1: 'many cars'}
    (root / 'data.yaml').write_text(yaml.safe_dump({**config, 'names': names}))


# Layout: how it is written, what it is called, what its label set needs besides names.
TREES: dict[str, tuple[Callable[[Path], None], str, dict[str, object]]] = {
    'own_pngs': (own_pngs, '16-bit PNGs', {}),
    'cityscapes': (cityscapes, 'Cityscapes', {'ignore': 'rest'}),
    'mapillary_v1.2': (mapillary, 'Mapillary Vistas v1.2', {}),
    'mapillary_v2.0': (
        lambda root: mapillary(root, 'v2.0'),
        'Mapillary Vistas v2.0',
        {'car': {'from': ['car'], 'crowd_from': ['vehicle group']}},
    ),
    'coco_panoptic': (coco_panoptic, 'COCO panoptic', {}),
    'coco_instances': (coco_instances, 'COCO instances', {}),
    'yolo': (yolo, 'YOLO polygons', {'car': {'crowd_from': ['many cars']}}),
}
WITHOUT_CROWDS = ('mapillary_v1.2',)
