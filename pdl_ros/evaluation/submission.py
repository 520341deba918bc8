"""Results in the formats that the official evaluations and their servers take.

COCO panoptic: https://cocodataset.org/#format-results; Cityscapes: the headers of the evaluation
scripts in github.com/mcordts/cityscapesScripts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pdl_ros.datasets import Sample
from pdl_ros.errors import require
from pdl_ros.evaluation.official_ids import class_ids, image_id
from pdl_ros.fusion import PanopticResult
from pdl_ros.imaging.files import write_image
from pdl_ros.imaging.masks import coco_masks
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import PANOPTIC_VOID
from pdl_ros.runtime.files import atomic_write, write_json

FORMATS = ('coco', 'cityscapes')

PANOPTIC, INSTANCES, SEMANTIC = 'panoptic', 'instances', 'semantic'
"""Names of the folders, and of JSON files, within a folder of results."""


class Record(NamedTuple):
    """What JSON files hold of one image: its panoptic annotation, and its instances."""

    panoptic: dict[str, Any]
    instances: list[dict[str, Any]]


class CocoWriter:
    """``panoptic.json`` with ``panoptic/NAME.png``, and ``instances.json`` for mask AP.

    The segments of `panoptic.json` carry the score of things too, which official tools do not read.
    """

    def __init__(self, folder: Path, label_set: LabelSet) -> None:
        self.folder, self.ids = folder, class_ids(label_set)
        self._panoptic: list[dict[str, Any]] = []
        self._instances: list[dict[str, Any]] = []
        self._images: set[int | str] = set()

    def write(self, sample: Sample, result: PanopticResult) -> Record:
        """Write the PNG of an image."""
        panoptic = result.panoptic.numpy()
        # 0 is void there, and a class here.
        ids = np.where(panoptic == PANOPTIC_VOID, 0, panoptic + 1)
        write_image(self.folder / PANOPTIC / f'{sample.name}.png', id_colors(ids))
        rows = result.segments.rows()
        segments = [
            {'id': row['id'] + 1, 'category_id': self.ids[row['class_id']]}
            | ({'score': row['score']} if row['is_thing'] else {})
            for row in rows
        ]
        image = image_id(sample.name)
        annotation = {
            'image_id': image,
            'file_name': f'{sample.name}.png',
            'segments_info': segments,
        }
        return Record(annotation, self._masks(image, panoptic, rows))

    def keep(self, record: Record) -> None:
        """Remember what the JSON files hold of an image."""
        image = record.panoptic['image_id']
        require(
            image not in self._images,
            f'Two images have the id {image!r}, by which results are told apart; rename one.',
        )
        self._images.add(image)
        self._panoptic.append(record.panoptic)
        self._instances += record.instances

    def close(self) -> None:
        """Write the JSON files."""
        self.write_panoptic()
        write_json(self.folder / f'{INSTANCES}.json', self._instances)

    def write_panoptic(self) -> None:
        """Write ``panoptic.json`` alone."""
        write_json(self.folder / f'{PANOPTIC}.json', {'annotations': self._panoptic})

    def _masks(
        self, image: int | str, panoptic: np.ndarray, rows: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        things = [row for row in rows if row['is_thing']]
        masks = coco_masks(panoptic, [row['id'] for row in things]) if things else []
        return [
            {
                'image_id': image,
                'category_id': self.ids[row['class_id']],
                'segmentation': {'size': list(panoptic.shape), 'counts': counts.decode('ascii')},
                'score': row['score'],
            }
            for row, counts in zip(things, masks, strict=True)
        ]


class CityscapesWriter:
    """``panoptic.json`` with ``panoptic/NAME.png``, ``instances/NAME.txt`` with their masks, and
    ``semantic/NAME.png`` of label ids.
    """

    def __init__(self, folder: Path, label_set: LabelSet) -> None:
        self.folder = folder
        self._panoptic = CocoWriter(folder, label_set)
        self._ids = np.zeros(256, np.uint8)  # 0: unlabelled
        self._ids[: label_set.num_classes] = class_ids(label_set)

    def write(self, sample: Sample, result: PanopticResult) -> Record:
        """Write the files of an image."""
        require(
            not any(letter.isspace() for letter in sample.name),
            f'The image {sample.name!r} has a space in its name, which ends a name in '
            "Cityscapes' format of instances; rename it.",
        )
        semantic = self._ids[result.semantic.numpy()]
        write_image(self.folder / SEMANTIC / f'{sample.name}.png', semantic)
        panoptic, lines = result.panoptic.numpy(), []
        things = (row for row in result.segments.rows() if row['is_thing'])
        for number, row in enumerate(things):
            name = f'masks/{sample.name}_{number:04d}.png'
            mask = (panoptic == row['id']).astype(np.uint8) * 255
            write_image(self.folder / INSTANCES / name, mask)
            lines.append(f'{name} {self._ids[row["class_id"]]} {row["score"]!r}\n')
        with atomic_write(self.folder / INSTANCES / f'{sample.name}.txt') as file:
            file.write(''.join(lines).encode())
        return self._panoptic.write(sample, result)

    def keep(self, record: Record) -> None:
        """Remember what the JSON file holds of an image."""
        self._panoptic.keep(record._replace(instances=[]))

    def close(self) -> None:
        """Write the JSON file."""
        self._panoptic.write_panoptic()


def open_writer(kind: str, folder: Path, label_set: LabelSet) -> CocoWriter | CityscapesWriter:
    """Return the writer of one of `FORMATS`."""
    return (CocoWriter if kind == 'coco' else CityscapesWriter)(folder, label_set)


def id_colors(ids: np.ndarray) -> np.ndarray:
    """Return the (H, W, 3) uint8 RGB whose colours are ids: red + 256 green + 65536 blue."""
    return np.stack([ids >> shift & 255 for shift in (0, 8, 16)], -1).astype(np.uint8)
