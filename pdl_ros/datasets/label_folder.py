"""A folder of images with 16-bit panoptic PNGs beside it: the CamVid and CWFID layout here, and an
easy one for own data.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pdl_ros.datasets.record import Sample, segments_of
from pdl_ros.errors import PdlError
from pdl_ros.imaging.files import IMAGE_SUFFIXES, read_rgb
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import PANOPTIC_VOID


class LabelFolder:
    """``root/images/<split>/NAME.jpg|png`` with ``root/panoptic/<split>/NAME.png``, in name order.

    The PNG is 16 bit: ``class_id * label_divisor + instance_id``, 65535 = void. Leave `split` empty
    when there are no split folders.
    """

    def __init__(self, root: str | Path, split: str, label_set: LabelSet) -> None:
        self.label_set = label_set
        images, labels = Path(root) / 'images' / split, Path(root) / 'panoptic' / split
        for folder in (images, labels):
            if not folder.is_dir():
                raise PdlError(
                    f'No folder {folder}; a data set has images/<split>/ and panoptic/<split>/.'
                )
        self.images = sorted(p for p in images.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        self.labels = [labels / f'{p.stem}.png' for p in self.images]
        missing = [p.name for p in self.labels if not p.is_file()]
        if missing or not self.images:
            raise PdlError(
                f'{images} holds {len(self.images)} images; {len(missing)} of their label images '
                'are missing '
                f'in {labels}' + (f', the first is {missing[0]}.' if missing else '.')
            )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        image = read_rgb(self.images[index])
        panoptic = cv2.imread(str(self.labels[index]), cv2.IMREAD_UNCHANGED)
        if panoptic is None or panoptic.dtype != np.uint16 or panoptic.shape != image.shape[:2]:
            raise PdlError(
                f'{self.labels[index]} must be a one-channel 16-bit PNG of size '
                f'{image.shape[1]}x{image.shape[0]}.'
            )
        classes = panoptic[panoptic != PANOPTIC_VOID] // self.label_set.label_divisor
        if classes.size and classes.max() >= self.label_set.num_classes:
            raise PdlError(
                f'{self.labels[index]} holds class {classes.max()}, but label set '
                f'{self.label_set.name!r} '
                f'ends at {self.label_set.num_classes - 1}.'
            )
        panoptic = panoptic.astype(np.int32)
        return Sample(
            self.images[index].stem,
            image,
            panoptic,
            segments_of(panoptic, self.label_set.label_divisor),
        )
