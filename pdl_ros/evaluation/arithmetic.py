"""Division and means where some classes never occurred, and sums without rounding."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np

Counts = TypeVar('Counts', bound=tuple[int, ...])
LARGEST_COUNT = 1 << 62


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide, with NaN instead of a warning where the denominator is 0."""
    return numerator / np.where(denominator == 0, np.nan, denominator)


def exact(values: np.ndarray) -> np.ndarray:
    """Return floats as fractions: their sum does not depend on the order of what is added, so that
    the scores of parts of the images merge to those of all.
    """
    return np.array([Fraction(value) for value in values.tolist()], object)


def rounded(values: np.ndarray) -> np.ndarray:
    """Return fractions as the nearest floats; anything else as it is."""
    return values.astype(float) if values.dtype == object else values


def mean(values: np.ndarray) -> float:
    """Average what has a value; NaN when nothing has."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else math.nan


def none_for_nan(data: dict[str, Any]) -> dict[str, Any]:
    """Return the data with None for NaN, which JSON has not."""
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in data.items()}


def added(counts: Counts, others: tuple[int, ...]) -> Counts:
    """Return the sums of two named tuples of counts."""
    make: Callable[..., Counts] = type(counts)
    return make(*(a + b for a, b in zip(counts, others, strict=True)))


def checked_count(number: Any) -> int:
    """Return a number of a file as a count. Raises ValueError where it is none."""
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < LARGEST_COUNT:
        raise ValueError
    return number
