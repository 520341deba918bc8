"""A folder of images with 16-bit panoptic PNGs beside it: the CamVid and CWFID layout here, and an
easy one for own data.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pdl_ros.datasets.record import Sample, segments_of, without_stuff_numbers
from pdl_ros.errors import PdlError
from pdl_ros.imaging.files import is_shown_turned, list_images, read_rgb, read_samples
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import PANOPTIC_VOID


class LabelFolder:
    """``root/images/<split>/NAME.jpg|png`` with ``root/panoptic/<split>/NAME.png``, in name order.

    The PNG is 16 bit: ``class_id * label_divisor + number``, 65535 = void. Things count from 1, a
    thing with number 0 is a crowd region; numbers of stuff do not matter. Labels lie as the picture
    is shown: where its EXIF data ask viewers to turn or mirror it, they fit the turned picture.
    Leave `split` empty when there are no split folders.
    """

    def __init__(self, root: str | Path, split: str, label_set: LabelSet) -> None:
        self.label_set = label_set
        self.images, self.labels = find_pairs(Path(root), split)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        image, labels = read_rgb(self.images[index]), read_samples(self.labels[index])
        if labels.dtype != np.uint16 or labels.shape != image.shape[:2]:
            raise PdlError(self._wrong_labels(index, image))
        classes = labels[labels != PANOPTIC_VOID] // self.label_set.label_divisor
        if classes.size and classes.max() >= self.label_set.num_classes:
            raise PdlError(
                f'{self.labels[index]} holds class {classes.max()}, but label set '
                f'{self.label_set.name!r} '
                f'ends at {self.label_set.num_classes - 1}.'
            )
        panoptic = without_stuff_numbers(labels, self.label_set)
        segments = segments_of(panoptic, self.label_set)
        return Sample(self.images[index].stem, image, panoptic, segments)

    def _wrong_labels(self, index: int, image: np.ndarray) -> str:
        picture = self.images[index]
        sentence = (
            f'{self.labels[index]} must be a one-channel 16-bit PNG of size '
            f'{image.shape[1]}x{image.shape[0]}'
        )
        if not is_shown_turned(picture):
            return f'{sentence}.'
        return (
            f'{sentence}: {picture.name} is turned by its EXIF tag, and labels must lie as viewers '
            'show it; turn them too, or take the tag away.'
        )


def find_pairs(root: Path, split: str) -> tuple[list[Path], list[Path]]:
    """Return the images of a split and their label images; raise PdlError where some are not
    there.
    """
    images, labels = root / 'images' / split, root / 'panoptic' / split
    for folder in (images, labels):
        if not folder.is_dir():
            raise PdlError(
                f'No folder {folder}; a data set has images/<split>/ and panoptic/<split>/.'
            )
    pictures = list_images(images)
    beside = [labels / f'{p.stem}.png' for p in pictures]
    missing = [p.name for p in beside if not p.is_file()]
    if missing or not pictures:
        raise PdlError(
            f'{images} holds {len(pictures)} images; {len(missing)} of their label images are '
            f'missing in {labels}' + (f', the first is {missing[0]}.' if missing else '.')
        )
    return pictures, beside
