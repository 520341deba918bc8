"""HRNet (Wang et al., 2019): four resolutions side by side that exchange features again and again.

Parameter names are those of the HRNet release.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from pdl_ros.errors import PdlError
from pdl_ros.network.backbones.resnet import Bottleneck
from pdl_ros.network.layers import resize

# How often the resolutions of stages 2, 3 and 4 exchange features.
_EXCHANGES = {2: 1, 3: 4, 4: 3}
_DEPTH = 4


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with a shortcut; nothing changes width or size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + x)


class Transition(nn.ModuleList):
    """Bring each branch to its next width and open one more at half the lowest resolution."""

    def __init__(self, before: tuple[int, ...], after: tuple[int, ...]) -> None:
        super().__init__(
            nn.Identity() if c_in == c_out else _conv_norm(c_in, c_out, 3, relu=True)
            for c_in, c_out in zip(before, after[:-1], strict=True)
        )
        self.append(nn.Sequential(_conv_norm(before[-1], after[-1], 3, stride=2, relu=True)))

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        sources = [*branches, branches[-1]]
        return [step(x) for step, x in zip(self, sources, strict=True)]


class Fusion(nn.ModuleList):
    """Add all branches at the width and resolution of branch `target`.

    A finer branch gets there by strided convolutions, a coarser one by a 1×1 convolution and
    bilinear up-sampling.
    """

    def __init__(self, widths: tuple[int, ...], target: int) -> None:
        super().__init__(
            _path(width, widths[target], target - source) for source, width in enumerate(widths)
        )
        self.target = target

    def forward(self, branches: list[Tensor]) -> Tensor:
        size = branches[self.target].shape[2:]
        terms = [
            resize(path(x), size, align_corners=True) if source > self.target else path(x)
            for source, (path, x) in enumerate(zip(self, branches, strict=True))
        ]
        return F.relu(sum(terms[1:], terms[0]))


class Exchange(nn.Module):
    """Run every branch on its own, then give each the sum of all."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width) for _ in range(_DEPTH))) for width in widths
        )
        self.fuse_layers = nn.ModuleList(Fusion(widths, target) for target in range(len(widths)))

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        branches = [branch(x) for branch, x in zip(self.branches, branches, strict=True)]
        return [fusion(branches) for fusion in self.fuse_layers]


class HRNet(nn.Module):
    """(N, 3, H, W) -> {'res2'..'res5'}: the branches of stage 4, `width` × 1, 2, 4 and 8 channels
    at strides 4, 8, 16 and 32.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = nn.Conv2d(64, 64, 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(
            *(
                Bottleneck(c_in, width=64, c_out=256, stride=1, dilation=1, groups=1)
                for c_in in (64, *(256,) * (_DEPTH - 1))
            )
        )
        before: tuple[int, ...] = (256,)
        for stage, exchanges in _EXCHANGES.items():
            widths = tuple(width * 2**i for i in range(stage))
            self.add_module(f'transition{stage - 1}', Transition(before, widths))
            self.add_module(
                f'stage{stage}', nn.Sequential(*(Exchange(widths) for _ in range(exchanges)))
            )
            before = widths
        self.channels = {f'res{i + 2}': width * 2**i for i in range(4)}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = F.relu(self.bn1(self.conv1(images)))
        x = F.relu(self.bn2(self.conv2(x)))
        branches = [self.layer1(x)]
        for stage in _EXCHANGES:
            branches = getattr(self, f'transition{stage - 1}')(branches)
            branches = getattr(self, f'stage{stage}')(branches)
        return dict(zip(self.channels, branches, strict=True))


def hrnet_w48(output_stride: int, multi_grid: tuple[int, ...]) -> HRNet:
    """HRNet-W48. There is nothing to dilate: stride 4 is kept beside 8, 16 and 32."""
    if output_stride != 32:
        raise PdlError(
            f'output_stride is {output_stride}; hrnet_w48 keeps strides 4 to 32 side by side, so '
            f'it can only be 32.'
        )
    if multi_grid:
        raise PdlError(
            f'multi_grid is {multi_grid}; hrnet_w48 has no atrous stage, so it must be empty.'
        )
    return HRNet(48)


def _path(c_in: int, c_out: int, halvings: int) -> nn.Sequential:
    """Return what takes a branch `halvings` resolutions down: nothing for 0, and for a negative
    number the convolution that comes before up-sampling.
    """
    if halvings < 0:
        return _conv_norm(c_in, c_out, 1)
    steps = [
        # Only the last one changes the width, and its ReLU waits for the sum.
        _conv_norm(c_in, c_in if left else c_out, 3, stride=2, relu=left > 0)
        for left in reversed(range(halvings))
    ]
    return nn.Sequential(*steps)


def _conv_norm(
    c_in: int, c_out: int, kernel: int, *, stride: int = 1, relu: bool = False
) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
    layers = [conv, nn.BatchNorm2d(c_out)]
    return nn.Sequential(*layers, nn.ReLU()) if relu else nn.Sequential(*layers)
