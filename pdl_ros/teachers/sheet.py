"""A sheet of pictures beside their labels, for a person who has to believe them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pdl_ros import visualization
from pdl_ros.datasets.label_folder import PngFolder
from pdl_ros.imaging.files import read_rgb, read_samples
from pdl_ros.labels import LabelSet
from pdl_ros.runtime.files import atomic_write

TITLES = ('picture', 'labels', 'picture', 'labels')


def write_sheet(root: Path, split: str, label_set: LabelSet, file: Path, number: int) -> int:
    """Draw pictures of a labelled folder, evenly spread over it, beside their labels; return how
    many. Things have outlines, crowds none; unknown is black.
    """
    source = PngFolder(root, split)
    there = [i for i in range(len(source.names)) if source.label_file(i).is_file()]
    picks = np.linspace(0, len(there) - 1, min(number, len(there))).round().astype(int)
    panels = []
    for index in (there[i] for i in picks):
        rgb, panoptic = read_rgb(source.image(index)), read_samples(source.label_file(index))
        labels = visualization.colorize(panoptic, label_set)
        things = panoptic % label_set.label_divisor > 0
        outlines = visualization.contours(panoptic, label_set) & things
        labels[outlines] = visualization.CONTOUR_COLOR
        panels.append((rgb, labels))
    half = len(TITLES) // 2
    if len(panels) == 1:
        rows, titles = [panels[0]], TITLES[:half]
    else:
        panels += panels[-1:] if len(panels) % 2 else []
        rows = [(*a, *b) for a, b in zip(panels[::2], panels[1::2], strict=True)]
        titles = TITLES
    sheet = visualization.contact_sheet(rows, titles, width=400)
    legend = visualization.legend(label_set, columns=max(sheet.shape[1] // 200, 1))
    pad = max(sheet.shape[1] - legend.shape[1], 0)
    legend = np.pad(legend, ((0, 0), (0, pad), (0, 0)), constant_values=255)
    picture = np.vstack([sheet, legend[:, : sheet.shape[1]]])
    with atomic_write(file) as out:
        kind = file.suffix if file.suffix in ('.jpg', '.png') else '.jpg'
        out.write(cv2.imencode(kind, picture[..., ::-1])[1].tobytes())
    return len(picks)
