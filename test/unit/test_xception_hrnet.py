"""The large encoders are the published ones: names, strides, dilations and what they hand on."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from pdl_ros.errors import PdlError
from pdl_ros.network.backbones import make_backbone
from pdl_ros.network.backbones.hrnet import Fusion
from pdl_ros.network.backbones.xception import SeparableConv

XCEPTIONS = ('xception65', 'xception71')
ENTRY_STRIDES = {'xception65': [2, 2, 2], 'xception71': [2, 1, 2, 1, 2]}
STRIDES = {'res2': 4, 'res3': 8, 'res4': 16, 'res5': 32}


def skeleton(name: str, output_stride: int = 32, multi_grid: tuple[int, ...] = ()) -> nn.Module:
    """Make an encoder without memory for its weights."""
    with torch.device('meta'):
        return make_backbone(name, output_stride, multi_grid)


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


def depthwise_convolutions(network: nn.Module) -> list[list[nn.Conv2d]]:
    """Return the three depthwise convolutions of every block of an Xception, in order."""
    found: dict[int, list[nn.Conv2d]] = {}
    for name, module in network.named_modules():
        if match := re.fullmatch(r'block(\d+)\.sep_conv\d\.block\.depthwise', name):
            found.setdefault(int(match[1]), []).append(module)
    assert list(found) == list(range(1, len(found) + 1))
    return list(found.values())


# --- names --------------------------------------------------------------------------------------


def test_xception_71_is_65_with_two_more_blocks_before_the_middle_flow():
    small, large = (shapes(skeleton(name)) for name in XCEPTIONS)
    shifted = {
        re.sub(r'^block(\d+)', lambda m: f'block{int(m[1]) + 2 * (int(m[1]) > 3)}', key): shape
        for key, shape in small.items()
    }
    same = {key for key, shape in shifted.items() if large.get(key) == shape}
    differing = {key.split('.')[0] for key in {*shifted, *large} - same}
    assert differing == {'block3', 'block4', 'block5'}
    for block, (c_in, c_out) in {
        2: (128, 256),
        3: (256, 256),
        4: (256, 728),
        5: (728, 728),
    }.items():
        assert large[f'block{block}.conv.weight'] == (c_out, c_in, 1, 1)


# --- strides and dilations ----------------------------------------------------------------------


@pytest.mark.parametrize('name', XCEPTIONS)
@pytest.mark.parametrize(
    ('output_stride', 'last_entry_stride', 'exit_stride', 'middle', 'exit_dilations'),
    [(32, 2, 2, 1, (1, 1)), (16, 2, 1, 1, (1, 2)), (8, 1, 1, 2, (2, 4))],
)
def test_xception_trades_strides_for_the_published_dilations(
    name, output_stride, last_entry_stride, exit_stride, middle, exit_dilations
):
    network = skeleton(name, output_stride)
    blocks = depthwise_convolutions(network)
    entry = [*ENTRY_STRIDES[name][:-1], last_entry_stride]
    strides = [*entry, *[1] * 16, exit_stride, 1]
    dilations = [*[1] * len(entry), *[middle] * 16, *exit_dilations]
    assert [[c.stride[0] for c in block] for block in blocks] == [[1, 1, s] for s in strides]
    assert [{c.dilation[0] for c in block} for block in blocks] == [{d} for d in dilations]
    assert all(c.padding == c.dilation for block in blocks for c in block)
    projected = {*range(1, len(entry) + 1), len(blocks) - 1}
    for number, stride in enumerate(strides, 1):
        block = getattr(network, f'block{number}')
        assert hasattr(block, 'conv') == (number in projected)
        assert number not in projected or block.conv.stride == (stride, stride)


@pytest.mark.parametrize('name', XCEPTIONS)
def test_multi_grid_widens_only_the_last_block_of_xception(name):
    plain = depthwise_convolutions(skeleton(name, 16))
    *others, last = depthwise_convolutions(skeleton(name, 16, (1, 2, 4)))
    assert [c.dilation[0] for c in last] == [c.padding[0] for c in last] == [2, 4, 8]
    for with_grid, without in zip(others, plain[:-1], strict=True):
        assert [c.dilation for c in with_grid] == [c.dilation for c in without]


# --- features -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('name', 'output_stride', 'widths'),
    [
        *((name, stride, (256, 728, 728, 2048)) for name in XCEPTIONS for stride in (8, 16, 32)),
        ('hrnet_w48', 32, (48, 96, 192, 384)),
    ],
)
def test_features_of_any_image_size_are_rounded_up_and_as_wide_as_announced(
    name, output_stride, widths
):
    network = skeleton(name, output_stride).eval()
    assert network.channels == dict(zip(STRIDES, widths, strict=True))
    for size in ((193, 321), (62, 96), (1, 7)):
        found = network(torch.zeros(2, 3, *size, device='meta'))
        assert list(found) == list(STRIDES)
        for stage, stride in STRIDES.items():
            stride = min(stride, output_stride)
            assert found[stage].shape == (
                2,
                network.channels[stage],
                *(-(-length // stride) for length in size),
            )


@pytest.mark.parametrize(
    ('name', 'sources'),
    [
        ('xception65', ('block2.sep_conv2', 'block3.sep_conv2', 'block19', 'block21')),
        ('xception71', ('block3.sep_conv2', 'block5.sep_conv2', 'block21', 'block23')),
    ],
)
def test_the_decoder_gets_xceptions_features_before_the_stride_and_not_yet_rectified(name, sources):
    network, outputs = skeleton(name), {}
    for stage, source in zip(STRIDES, sources, strict=True):
        network.get_submodule(source).register_forward_hook(
            lambda _module, _inputs, output, stage=stage: outputs.update({stage: output})
        )
    found = network(torch.zeros(1, 3, 64, 64, device='meta'))
    for stage, output in outputs.items():
        expected = output[0] if isinstance(output, tuple) else output
        assert found[stage] is expected
        assert found[stage]._version == 0, 'a later layer changed it in place'


@torch.inference_mode()
def test_xception_rectifies_before_a_separable_convolution_and_in_the_last_block_after_each_half():
    torch.manual_seed(0)
    below_zero = -torch.rand(1, 4, 5, 6)
    before = SeparableConv(4, 8, 1, 1).eval()
    assert torch.equal(before(below_zero), before(torch.zeros_like(below_zero)))
    assert before(-below_zero).min() < 0
    after, seen = SeparableConv(4, 8, 1, 1, relu_last=True).eval(), []
    after.block.pointwise.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    assert not torch.equal(after(below_zero), after(torch.zeros_like(below_zero)))
    assert after(below_zero).min() == seen[0].min() == 0


@torch.inference_mode()
def test_hrnet_aligns_corners_when_it_brings_a_coarse_branch_up():
    fusion = Fusion((1, 1), target=0).eval()
    nn.init.ones_(fusion[1][0].weight)
    ramp = torch.tensor([0.0, 1.0, 2.0]).expand(1, 1, 3, 3)
    found = fusion([torch.zeros(1, 1, 5, 5), ramp])
    expected = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0]).expand(1, 1, 5, 5)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


@torch.inference_mode()
def test_hrnet_rectifies_the_sum_of_its_branches_and_not_each_term():
    fusion = Fusion((1, 1), target=1).eval()
    conv = fusion[0][0][0]
    nn.init.zeros_(conv.weight)[0, 0, 1, 1] = -1.0
    fine, coarse = torch.rand(1, 1, 5, 7), torch.rand(1, 1, 3, 4)
    expected = (coarse - fine[..., ::2, ::2]).clamp(min=0)
    torch.testing.assert_close(fusion([fine, coarse]), expected, rtol=0, atol=1e-4)


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize('output_stride', [8, 16])
def test_hrnet_refuses_an_output_stride_that_it_cannot_have(output_stride):
    with pytest.raises(PdlError, match=rf'output_stride is {output_stride}; .* only be 32'):
        make_backbone('hrnet_w48', output_stride, ())


def test_hrnet_refuses_a_multi_grid_that_it_would_ignore():
    with pytest.raises(PdlError, match=r'multi_grid is .* must be empty'):
        make_backbone('hrnet_w48', 32, (1, 2, 4))
