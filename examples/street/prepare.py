"""Bring the data sets of docs/model_card.md into one layout, 16-bit PNGs with class names.

    python examples/street/prepare.py RAW OUT

RAW holds the data sets as their authors give them: camvid/, coco128_panoptic/, street/coco_mini/,
street/lima_streets/, street/idd_lite/, street/penn_fudan/. OUT gets a folder of each, which
examples/street/street.yaml mixes. What a set does not label is unknown (65535) there, and what its
labels leave open stands as class names joined by bars. One more is drawn here, to be scored on.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import yaml

from pdl_ros.datasets.layouts import open_source
from pdl_ros.datasets.mapped import read_pair
from pdl_ros.datasets.polygons import Instance, paint, polygon_mask
from pdl_ros.datasets.source import SourceLabels
from pdl_ros.demo.scene import SceneDataset
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import PANOPTIC_VOID

DIVISOR = 1000
THINGS = {'person', 'rider', 'car', 'large vehicle', 'two-wheeler'}
STREET = {'car', 'bus', 'truck', 'train', 'motorcycle', 'bicycle', 'traffic light', 'stop sign'}
SOME_STUFF = 'road|sidewalk|building|fence|pole|traffic sign|vegetation|sky'
COCO = {
    'person': 'person',
    'car': 'car',
    'bus': 'large vehicle',
    'truck': 'large vehicle',
    'train': 'large vehicle',
    'motorcycle': 'two-wheeler',
    'bicycle': 'two-wheeler',
    'traffic light': 'traffic sign',
    'stop sign': 'traffic sign',
    'road': 'road',
    'pavement-merged': 'sidewalk',
    'building-other-merged': 'building',
    'house': 'building',
    'roof': 'building',
    'fence-merged': 'fence',
    'wall-brick': 'building|fence',
    'wall-stone': 'building|fence',
    'wall-other-merged': 'building|fence',
    'sky-other-merged': 'sky',
    'tree-merged': 'vegetation',
    'grass-merged': 'vegetation',
    'dirt-merged': 'road|sidewalk|vegetation',
    'gravel': 'road|sidewalk|vegetation',
    'mountain-merged': 'building|vegetation',
}
# Things beside a street or in a field that are none of a street network's. What people wear and
# hold stays unknown: other sets count it to the person.
NONE_OF_OURS = {
    *('bird', 'cat', 'dog', 'horse', 'sheep', 'cow', 'elephant', 'bear', 'zebra', 'giraffe'),
    *('airplane', 'boat', 'bench', 'fire hydrant', 'parking meter', 'potted plant'),
}
SCENE = {'tree': 'vegetation', 'pavement': 'sidewalk'}
LIMA = {'Pista': 'road', 'Vehiculo': 'car|large vehicle', 'Peaton': 'person'}
LIMA_CROWD = {'Moto': 'rider|two-wheeler'}
IDD = (
    'road',
    'sidewalk|vegetation',
    'person|rider',
    'car|large vehicle|two-wheeler',
    'sidewalk|fence|pole|traffic sign',
    'building|vegetation',
    'sky',
)


class Writer:
    """A data set in the making: class names are numbered as they turn up."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._numbers = folder, dict[str, int]()

    def write(
        self,
        split: str,
        image: Path,
        size: tuple[int, int],
        regions: list[tuple[str, int, np.ndarray]],
    ) -> None:
        """Write a picture's labels: class name, number of the thing (0: a crowd, or stuff), mask;
        later ones in front."""
        values = np.full(size, PANOPTIC_VOID, np.uint16)
        for name, number, mask in regions:
            class_id = self._numbers.setdefault(name, len(self._numbers))
            values[mask] = class_id * DIVISOR + number
        target = self._folder / 'panoptic' / split / f'{image.stem}.png'
        link = self._folder / 'images' / split / image.name
        for path in (target, link):
            path.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            os.symlink(os.path.relpath(image, link.parent), link)
        cv2.imwrite(str(target), values)

    def close(self) -> None:
        classes = [
            {
                'name': n,
                'color': [40 * i % 256, 90 * i % 256, 200],
                'thing': bool(THINGS & set(n.split('|'))),
            }
            for i, n in enumerate(self._numbers)
        ]
        data = {'name': self._folder.name, 'label_divisor': DIVISOR, 'classes': classes}
        (self._folder / 'labels.yaml').write_text(yaml.safe_dump(data, sort_keys=False))


def camvid(raw: Path, out: Path) -> None:
    """Its own classes; a link."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ('images', 'panoptic'):
        if not (out / name).exists():
            os.symlink(os.path.relpath(raw / 'camvid' / name, out), out / name)
    (out / 'labels.yaml').write_text(LabelSet.load('camvid').to_yaml())


def coco(raw: Path, out: Path) -> None:
    """Pictures with people or vehicles, for training also with what is none of ours; stuff where
    COCO's panoptic labels are at hand. Every tenth id is kept for validation, and is used there if
    it is of a street.
    """
    writer, done = Writer(out), set[str]()
    sources = [
        *(open_source(raw / 'coco128_panoptic', split) for split in ('train2017', 'val2017')),
        open_source(raw / 'street' / 'coco_mini', ''),
    ]
    for source in sources:
        names = {c.id: c.name for c in source.classes}
        has_stuff = source.layout == 'COCO panoptic'
        for i, image in enumerate(source.names):
            if image in done:
                continue
            picture, labels = read_pair(source, i)
            shown = {names[s.class_id] for s in labels.segments}
            kept = int(image) % 10 == 0
            if not shown & (STREET if kept else {*STREET, 'person', *NONE_OF_OURS}):
                continue
            done.add(image)
            size = picture.shape[:2]
            unlabelled = labels.values == 0
            regions = [] if has_stuff else [(SOME_STUFF, 0, unlabelled)]
            wheels = _grown(labels, names, {'bicycle', 'motorcycle'})
            for number, s in enumerate(labels.segments, 1):
                mask = labels.values == s.value
                name = names[s.class_id]
                street = COCO.get(name)
                if street is None:
                    none_of_ours = name in NONE_OF_OURS and not kept
                    if name.endswith('-merged') or name.endswith('-other') or none_of_ours:
                        regions.append((SOME_STUFF, 0, mask))
                    continue
                if name == 'person' and (mask & wheels).any():
                    street = 'person|rider'
                thing = street in THINGS or street == 'person|rider'
                regions.append((street, 0 if s.is_crowd or not thing else number, mask))
            writer.write('val' if kept else 'train', source.image(i), size, regions)
    writer.close()


def _grown(labels: SourceLabels, names: dict[int, str], wanted: set[str]) -> np.ndarray:
    """Return the (H, W) mask of things of some classes, two pixels wider."""
    inside = np.zeros(labels.values.shape, np.uint8)
    for s in labels.segments:
        if names[s.class_id] in wanted:
            inside[labels.values == s.value] = 1
    return cv2.dilate(inside, np.ones((5, 5), np.uint8)).astype(bool)


def lima(raw: Path, out: Path) -> None:
    """Polygons; what nobody drew is unknown. A motorbike is one polygon with its rider."""
    writer = Writer(out)
    folder = raw / 'street' / 'lima_streets'
    for split, own in (('train', 'train'), ('val', 'valid')):
        labels = json.loads((folder / f'{own}.json').read_text())
        for name, shapes in sorted(labels.items()):
            image = folder / 'images' / own / name
            if not image.exists():
                image = folder / 'images' / name
            size = _read(image, cv2.IMREAD_COLOR).shape[:2]
            instances = [Instance(i, False, _drawer(s)) for i, s in enumerate(shapes)]
            values = paint(instances, size, Path('none'), name).values
            regions = []
            for i, shape in enumerate(shapes):
                label = shape['label']
                mask = values == 1000 + i
                if label in LIMA:
                    thing = LIMA[label] != 'road'
                    regions.append((LIMA[label], i + 1 if thing else 0, mask))
                elif label in LIMA_CROWD:
                    regions.append((LIMA_CROWD[label], 0, mask))
            writer.write(split, image, size, regions)
    writer.close()


def _drawer(shape: dict):
    corners = np.stack([shape['x'], shape['y']], 1)
    return lambda size: [polygon_mask(corners, size)]


def idd(raw: Path, out: Path) -> None:
    """Seven coarse classes, no instances; of val every second, which its scores were always of."""
    writer = Writer(out)
    folder = raw / 'street' / 'idd_lite'
    for split, every in (('train', 1), ('val', 2)):
        pairs = _pairs(folder / 'labels' / split, folder / 'images' / split)
        for file, image in list(pairs)[::every]:
            labels = _read(file)
            regions = [(name, 0, labels == i) for i, name in enumerate(IDD) if (labels == i).any()]
            writer.write(split, image, labels.shape[:2], regions)
    writer.close()


def penn_fudan(raw: Path, out: Path) -> None:
    """Pedestrians; not drawn for training."""
    writer = Writer(out)
    folder = raw / 'street' / 'penn_fudan'
    pairs = list(_pairs(folder / 'instances', folder / 'images'))
    for i, (file, image) in enumerate(pairs):
        labels = _read(file)
        regions = [('person', int(n), labels == n) for n in np.unique(labels) if n]
        split = 'val' if i >= len(pairs) - 50 else 'train'
        writer.write(split, image, labels.shape[:2], regions)
    writer.close()


def drawn(_raw: Path, out: Path) -> None:
    """Streets as the demo draws them, whose truth is exact; not for training."""
    writer, streets = Writer(out), SceneDataset(50, 360, 480, first_seed=20_000)
    names = [SCENE.get(c.name, c.name) for c in streets.label_set.classes]
    (out / 'pictures').mkdir(parents=True, exist_ok=True)
    for i in range(len(streets)):
        sample = streets[i]
        image = out / 'pictures' / f'{i:03}.png'
        cv2.imwrite(str(image), sample.image[..., ::-1])
        regions = [
            (
                names[s.class_id],
                number if names[s.class_id] in THINGS else 0,
                sample.panoptic == s.id,
            )
            for number, s in enumerate(sample.segments, 1)
        ]
        writer.write('val', image, sample.image.shape[:2], regions)
    writer.close()


def _read(file: Path, how: int = cv2.IMREAD_UNCHANGED) -> np.ndarray:
    pixels = cv2.imread(str(file), how)
    if pixels is None:
        raise SystemExit(f'{file} is missing or damaged; look whether its data set is complete.')
    return pixels


def _pairs(labels: Path, images: Path) -> Iterator[tuple[Path, Path]]:
    pictures = {p.stem: p for p in images.iterdir()}
    for file in sorted(labels.glob('*.png')):
        for stem in (
            file.stem,
            file.stem.replace('_label', '_image'),
            file.stem.replace('_mask', ''),
        ):
            if stem in pictures:
                yield file, pictures[stem]
                break


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('raw', type=Path)
    parser.add_argument('out', type=Path)
    args = parser.parse_args()
    for make in (camvid, coco, lima, idd, penn_fudan, drawn):
        make(args.raw, args.out / make.__name__)
        print(
            make.__name__,
            *(
                f'{s} {len(os.listdir(args.out / make.__name__ / "images" / s))}'
                for s in os.listdir(args.out / make.__name__ / 'images')
            ),
        )


if __name__ == '__main__':
    main()
