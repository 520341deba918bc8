"""A sheet of pictures beside their labels, for a person who has to believe them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pdl_ros import visualization
from pdl_ros.datasets.label_folder import LABELS, PngFolder
from pdl_ros.errors import require
from pdl_ros.imaging.files import read_rgb, read_samples
from pdl_ros.labels import LabelSet
from pdl_ros.runtime.files import atomic_write

TITLES = ('picture', 'labels')


def write_sheet(root: Path, split: str, file: Path, number: int) -> int:
    """Draw pictures of a labelled folder, evenly spread over it, beside their labels; return how
    many. Things have outlines, crowds none; unknown is black. file: .jpg or .png.
    """
    source, label_set = PngFolder(root, split), LabelSet.load(root / LABELS)
    there = [i for i in range(len(source.names)) if source.label_file(i).is_file()]
    require(bool(there), f'{root} has no labels in split {split!r}, so that there is no sheet.')
    picks = np.linspace(0, len(there) - 1, min(number, len(there))).round().astype(int)
    panels: list[tuple[np.ndarray, ...]] = []
    for index in (there[i] for i in picks):
        rgb, panoptic = read_rgb(source.image(index)), read_samples(source.label_file(index))
        labels = visualization.colorize(panoptic, label_set)
        things = panoptic % label_set.label_divisor > 0
        outlines = visualization.contours(panoptic, label_set) & things
        labels[outlines] = visualization.CONTOUR_COLOR
        panels.append((rgb, labels))
    columns = min(len(panels), 2)
    panels += panels[-1:] if len(panels) % columns else []
    rows = [sum(panels[i : i + columns], ()) for i in range(0, len(panels), columns)]
    sheet = visualization.contact_sheet(rows, TITLES * columns, width=400)
    legend = visualization.legend(label_set, columns=max(sheet.shape[1] // 200, 1))
    pad = max(sheet.shape[1] - legend.shape[1], 0)
    legend = np.pad(legend, ((0, 0), (0, pad), (0, 0)), constant_values=255)
    picture = np.vstack([sheet, legend[:, : sheet.shape[1]]])
    with atomic_write(file) as out:
        out.write(cv2.imencode(file.suffix, picture[..., ::-1])[1].tobytes())
    return len(picks)
