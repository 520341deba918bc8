"""A sheet of pictures beside their labels, for a person who has to believe them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pdl_ros import visualization
from pdl_ros.datasets.label_folder import LABELS
from pdl_ros.errors import require
from pdl_ros.imaging.files import list_images, read_rgb, read_samples, write_image
from pdl_ros.labels import LabelSet

TITLES = ('picture', 'labels')


def write_sheet(root: Path, split: str, file: Path, number: int) -> int:
    """Draw pictures of a labelled folder, evenly spread over it, beside their labels; return how
    many. Things have outlines, crowds none; unknown is black. file: .jpg or .png.
    """
    images, folder = root / 'images' / split, root / 'panoptic' / split
    pictures = list_images(images) if images.is_dir() else []  # else all of them were damaged
    there = [(p, q) for p in pictures if (q := folder / f'{p.stem}.png').is_file()]
    require(bool(there), f'{root} has no labels in split {split!r}, so that there is no sheet.')
    label_set = LabelSet.load(root / LABELS)
    picks = np.linspace(0, len(there) - 1, min(number, len(there))).round().astype(int)
    panels: list[tuple[np.ndarray, ...]] = []
    for picture, label_file in (there[i] for i in picks):
        rgb, panoptic = read_rgb(picture), read_samples(label_file)
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
    write_image(file, np.vstack([sheet, legend[:, : sheet.shape[1]]]))
    return len(picks)
