"""Random scale, crop, flip and colour of a labelled image (paper, section 4.1)."""

from __future__ import annotations

import cv2
import numpy as np

from pdl_ros.datasets.record import Sample
from pdl_ros.training.settings import AugmentationSettings

_NO_SEGMENT = -1  # void: no data set has it as the id of a segment


def augment(
    sample: Sample,
    settings: AugmentationSettings,
    mean: tuple[float, ...],
    rng: np.random.Generator,
    size: tuple[int, int] | None = None,
) -> Sample:
    """Return a randomly scaled, flipped and coloured crop; what lies outside the image is `mean`
    and void.

    `size` is the (height, width) that the image has at scale 1, where the network sees it at
    another than its own: both scalings are one.
    """
    image, panoptic = _scaled(sample, size or sample.image.shape[:2], _scale(settings, rng))
    height, width = settings.crop
    top, left = (
        int(rng.integers(0, max(have - want, 0) + 1))
        for have, want in zip(image.shape[:2], settings.crop, strict=True)
    )
    image, panoptic = (
        image[top : top + height, left : left + width],
        panoptic[top : top + height, left : left + width],
    )
    if settings.flip and rng.random() < 0.5:
        image, panoptic = image[:, ::-1], panoptic[:, ::-1]
    image = _jitter(image, settings.color, rng)
    below, right = height - image.shape[0], width - image.shape[1]
    image = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT, value=mean)
    panoptic = cv2.copyMakeBorder(
        np.ascontiguousarray(panoptic),
        0,
        below,
        0,
        right,
        cv2.BORDER_CONSTANT,
        value=(_NO_SEGMENT,),
    )
    return sample._replace(image=image, panoptic=panoptic)


def _scale(settings: AugmentationSettings, rng: np.random.Generator) -> float:
    if settings.scale_choices:
        return float(rng.choice(settings.scale_choices))
    return rng.uniform(*settings.scales)


def _scaled(sample: Sample, size: tuple[int, int], scale: float) -> tuple[np.ndarray, np.ndarray]:
    high, wide = (max(round(edge * scale), 1) for edge in size)
    height, width = sample.image.shape[:2]
    way = cv2.INTER_LINEAR if high * wide > height * width else cv2.INTER_AREA
    image = cv2.resize(sample.image, (wide, high), interpolation=way)
    # Not INTER_NEAREST, which takes the pixel at the corner: labels would slide by half a pixel.
    panoptic = cv2.resize(sample.panoptic, (wide, high), interpolation=cv2.INTER_NEAREST_EXACT)
    return image, panoptic


def _jitter(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    if strength == 0:
        return np.ascontiguousarray(image)
    brightness, contrast, saturation = 1 + strength * rng.uniform(-1, 1, 3)
    x = image.astype(np.float32) * np.float32(brightness)
    x = (x - x.mean()) * np.float32(contrast) + x.mean()
    gray = cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)[..., None]
    x = gray + (x - gray) * np.float32(saturation)
    return np.clip(x, 0, 255).astype(np.uint8)
