"""What the published implementations answered (`data`, see its README), and the weights that they
ran with.
"""

from __future__ import annotations

import gzip
import json
import math
import pickle
import re
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

DATA = Path(__file__).parent / 'data'
_COUNTER = 'num_batches_tracked'

# The norm that closes a residual branch, in each code base's words.
_CLOSING_NORM = re.compile(
    r"""(
        conv3\.norm | bn3                    # bottleneck
        | sep_conv3\.block\.bn_point         # Xception
        | features\.\d+\.conv\.[23]          # MobileNetV2
        | branches\.\d+\.\d+\.bn2           # HRNet: basic block,
        | fuse_layers\.\d+\.\d+\.(\d+\.)?1  # change of resolution
    )\.weight$""",
    re.VERBOSE,
)


@cache
def _all_keys() -> dict[str, list[tuple[str, list[int], str]]]:
    return json.loads(gzip.decompress((DATA / 'keys.json.gz').read_bytes()))


def published_architectures() -> tuple[str, ...]:
    """Return the architectures whose keys are known."""
    return tuple(_all_keys())


def published_keys(architecture: str) -> list[tuple[str, tuple[int, ...], str]]:
    """Return key, shape and type of every tensor in a published checkpoint, in its order."""
    return [(key, tuple(shape), dtype) for key, shape, dtype in _all_keys()[architecture]]


def filled(key: str, shape: Sequence[int]) -> Tensor:
    """Return the weights that the published networks ran with under this key.

    Random numbers seeded by the key, of a size that keeps activations near 1 in deep networks; the
    outputs in `data` hold for exactly these values.
    """
    if key.endswith(_COUNTER):
        return torch.zeros(tuple(shape), dtype=torch.int64)
    random = torch.Generator().manual_seed(zlib.crc32(key.encode()))
    if len(shape) == 4:
        deviation = math.sqrt(2 / math.prod(shape[1:]))
        return torch.randn(tuple(shape), generator=random) * deviation
    assert len(shape) == 1, key
    if key.endswith(('running_mean', 'bias')):
        return torch.randn(tuple(shape), generator=random) * 0.1
    uniform = torch.rand(tuple(shape), generator=random)
    if key.endswith('running_var'):
        return uniform + 0.5
    assert key.endswith('weight'), key
    scale = 0.8 + 0.4 * uniform
    # Sums over many residual branches would grow with depth.
    return scale * 0.25 if _CLOSING_NORM.search(key) else scale


def write_checkpoint(architecture: str, folder: Path) -> Path:
    """Write a published architecture's weights in the container that its authors publish."""
    tensors = {key: filled(key, shape) for key, shape, _ in published_keys(architecture)}
    if architecture.startswith('bowenc_'):
        file = folder / 'final_state.pth'
        torch.save(tensors, file)
        return file
    file = folder / 'model_final.pkl'
    arrays = {key: t.numpy() for key, t in tensors.items() if not key.endswith(_COUNTER)}
    arrays['pixel_mean'] = arrays['pixel_std'] = np.ones((3, 1, 1), np.float32)
    content = {'model': arrays, '__author__': 'Detectron2 Model Zoo'}
    file.write_bytes(pickle.dumps(content, protocol=2))
    return file


class PublishedHeads:
    """The stride-4 outputs of a published network, sub-sampled, and how it was run.

    offset counts stride-4 pixels.
    """

    def __init__(self, file: Path) -> None:
        with np.load(file) as data:
            self._samples = {head: data[head] for head in ('semantic', 'center', 'offset')}
            self._meta: dict[str, Any] = json.loads(str(data['meta']))
        self.architecture: str = self._meta['architecture']
        window = self._meta['pool_window']
        self.pool_window: tuple[int, int] | None = None if window is None else tuple(window)

    @property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The (mean, std) of the input, on the 0..255 scale."""
        return tuple(self._meta['mean']), tuple(self._meta['std'])

    def input(self) -> Tensor:
        """Return the (1, 3, H, W) network input, normalised as published."""
        image = cv2.imread(str(DATA / self._meta['image']))[..., ::-1].astype(np.float32)
        image = (image - np.float32(self._meta['mean'])) / np.float32(self._meta['std'])
        return torch.from_numpy(image.transpose(2, 0, 1))[None]

    def errors(self, ours: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the largest difference of each whole (C, H, W) head over the head's largest
        published value.
        """
        errors = {}
        for head, published in self._samples.items():
            whole = self._meta['whole'][head]
            assert list(ours[head].shape) == whole['shape'], head
            channel, row, column = self._meta['steps'][head]
            samples = ours[head][::channel, ::row, ::column]
            difference = (samples - torch.from_numpy(published)).abs().max()
            errors[head] = float(difference) / whole['max_abs']
        return errors


def relative_error(ours: Tensor, published: object) -> float:
    """Return the largest difference over the largest published value."""
    expected = torch.as_tensor(published)
    return float((ours - expected).abs().max() / expected.abs().max())
