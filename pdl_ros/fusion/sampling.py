"""From the grid of the heads to output pixels: where each one samples, and bilinear sampling."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pdl_ros.fusion.limits import LARGEST
from pdl_ros.network.heads import HeadOutputs


class Axis(NamedTuple):
    """Where the pixels of one output axis sample the heads: value = (1 - weight) × head[lower] +
    weight × head[upper].

    lower, upper: (size,) int64. weight: (size,) float32 in [0, 1). scale: output pixels per pixel
    of the network's input.
    """

    lower: Tensor
    upper: Tensor
    weight: Tensor
    scale: float


class Grids(NamedTuple):
    """Where a frame samples its heads.

    output: the (vertical, horizontal) axes of the label maps. centers: those of the grid on which
    centres are sought, which is the output's where it is fine enough, and otherwise the network
    input's: a coarse output must neither lose centres nor see several where there is one.
    """

    output: tuple[Axis, Axis]
    centers: tuple[Axis, Axis]
    align_corners: bool

    def to_output(self, centers: Tensor) -> Tensor:
        """Return where (K, 2) int64 (y, x) of the centres' grid lie in the output, (K, 2) float32.

        They are whole numbers where both grids are one.
        """
        middle = 0.0 if self.align_corners else 0.5
        # Scalars and not a tensor of them, which a GPU would have to be waited for.
        columns = [
            (at.double() + middle) * (axis.scale / grid.scale) - middle
            for at, axis, grid in zip(centers.unbind(1), self.output, self.centers, strict=True)
        ]
        return torch.stack(columns, 1).float()


def sampling_grids(
    heads: HeadOutputs,
    size: tuple[int, int],
    valid: tuple[int, int] | None,
    align_corners: bool,
    rescale: bool,
) -> Grids:
    """Return the grids of an output of `size`; `valid` as in `sampling_axes`. Without `rescale`
    centres are sought in the output, whatever its size, as detectron2 does.
    """
    output = centers = sampling_axes(heads, size, valid, align_corners)
    if rescale and min(axis.scale for axis in output) < 1:
        extent = valid or _extent(heads, align_corners)
        height, width = (max(pair) for pair in zip(size, extent, strict=True))
        centers = sampling_axes(heads, (height, width), valid, align_corners)
    return Grids(output, centers, align_corners)


def sampling_axes(
    heads: HeadOutputs,
    size: tuple[int, int],
    valid: tuple[int, int] | None,
    align_corners: bool,
) -> tuple[Axis, Axis]:
    """Return the (vertical, horizontal) axes of an output of `size`.

    `valid` is the (height, width) of the part of the network's input, from its top left, that
    shows the image; the rest is padding, which no output pixel lies on. None: all of it.
    """
    samples, extent = heads.semantic.shape[-2:], valid or _extent(heads, align_corners)
    device = heads.semantic.device
    vertical, horizontal = (
        _axis(s, n, e, heads.stride, align_corners, device)
        for s, n, e in zip(size, samples, extent, strict=True)
    )
    return vertical, horizontal


def _extent(heads: HeadOutputs, align_corners: bool) -> tuple[int, int]:
    """Return the (height, width) of the network's input."""
    high, wide = (
        (n - 1) * heads.stride + 1 if align_corners else n * heads.stride
        for n in heads.semantic.shape[-2:]
    )
    return high, wide


def usable(head: Tensor, otherwise: float) -> Tensor:
    """Return a head as float32 within ±LARGEST, `otherwise` in place of NaN and infinity.

    A diverged or half-loaded network must cost the pixels it spoils, not the frame: `otherwise` is
    NO_EVIDENCE for logits (other classes win), 0 for the heatmap (never a centre), NaN for offsets
    (it spreads to every pixel sampled from it, which then belongs to no instance).
    """
    head = head.float()
    return torch.where(head.isfinite(), head.clamp(-LARGEST, LARGEST), otherwise)


def sample(head: Tensor, axes: tuple[Axis, Axis]) -> Tensor:
    """Sample one head bilinearly at every output pixel: (C, h, w) -> (C, H, W) float32."""
    (top, bottom, down, _), (left, right, along, _) = axes
    rows = head[..., left] * (1 - along) + head[..., right] * along
    down = down[:, None]
    return rows[..., top, :] * (1 - down) + rows[..., bottom, :] * down


def sample_at(head: Tensor, axes: tuple[Axis, Axis], ys: Tensor, xs: Tensor) -> Tensor:
    """Sample one head at M output pixels, rounded as `sample` does: (h, w, C) -> (M, C)
    float32.
    """
    (top, bottom, down, _), (left, right, along, _) = axes
    left, right, along, down = left[xs], right[xs], along[xs, None], down[ys, None]
    upper, lower = (
        head[row, left] * (1 - along) + head[row, right] * along for row in (top[ys], bottom[ys])
    )
    return upper * (1 - down) + lower * down


def _axis(
    size: int, samples: int, extent: int, stride: int, align_corners: bool, device: torch.device
) -> Axis:
    pixel = torch.arange(size, dtype=torch.float64, device=device)
    if align_corners:  # the outermost samples lie on the outermost pixels
        scale = max(size - 1, 1) / max(extent - 1, 1)
        at = pixel / scale / stride
    else:
        scale = size / extent
        at = (pixel + 0.5) / scale / stride - 0.5
    at = at.clamp(0, samples - 1)
    lower = at.long()
    return Axis(lower, (lower + 1).clamp(max=samples - 1), (at - lower).float(), scale)
