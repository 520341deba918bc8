"""How much two panoptic maps of one frame say the same."""

from __future__ import annotations

import numpy as np

from pdl_ros.evaluation.overlaps import shared_areas
from pdl_ros.labels.label_set import PANOPTIC_VOID


def equal_pixels(ours: np.ndarray, theirs: np.ndarray, label_divisor: int) -> float:
    """Return the share, 0 to 1, of pixels in which two (H, W) integer maps of ``class_id *
    label_divisor + number``, 65535 = void, have the same class and, of things, the same thing.

    Numbers are names within one frame, and one centre more renumbers the things after it. So two
    things of one class are the same where they share more than half of their union, which no thing
    does with two (Kirillov et al., CVPR 2019, section 4.1); of others no pixel counts.
    """
    a, b, areas = shared_areas(ours.astype(np.int64), theirs.astype(np.int64))
    union = _totals(a, areas) + _totals(b, areas) - areas
    unnumbered = (a % label_divisor == 0) | (a == PANOPTIC_VOID)
    same_thing = (a // label_divisor == b // label_divisor) & (2 * areas > union)
    return float(areas[((a == b) & unnumbered) | same_thing].sum() / areas.sum())


def _totals(ids: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Return for each place the area of all that has its id."""
    found, places = np.unique(ids, return_inverse=True)
    return np.bincount(places, areas, len(found)).astype(np.int64)[places]
