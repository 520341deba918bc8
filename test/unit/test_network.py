"""The network is the paper's figure 2, and a published convention changes only what it names."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from pdl_ros.errors import PdlError
from pdl_ros.network.aspp import ASPP
from pdl_ros.network.backbones import BACKBONES, make_backbone
from pdl_ros.network.decoder import Decoder
from pdl_ros.network.layers import ConvNormAct, SamePadConv2d, resize
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.settings import DecoderSettings
from pdl_ros.network.variants import VARIANTS, get_variant

TINY = get_variant('scene_tiny')
SMALL = DecoderSettings(aspp_channels=12, aspp_rates=(1, 2, 3))
WIDTHS = {'res2': 6, 'res3': 7, 'res4': 8, 'res5': 10}


def network_of(variant=TINY, **changes) -> PanopticDeepLab:
    """Make an untrained network in evaluation mode whose heads depend on the whole of it."""
    torch.manual_seed(0)
    variant = replace(variant, decoder=replace(variant.decoder, **changes))
    network = PanopticDeepLab(variant).train()
    for head in (network.semantic_head, network.center_head, network.offset_head):
        nn.init.normal_(head.predictor.weight)
    # With the norms' initial statistics an image would fade to nothing within a few layers.
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.inference_mode():
        network(torch.randn(4, 3, 64, 96))
    return network.eval()


def skeleton(variant, **changes) -> PanopticDeepLab:
    """Make a network without memory for its weights."""
    with torch.device('meta'):
        return PanopticDeepLab(replace(variant, decoder=replace(variant.decoder, **changes)))


def small_decoder(**changes) -> Decoder:
    torch.manual_seed(0)
    return Decoder(WIDTHS, (5, 4), 12, replace(SMALL, **changes)).eval()


def features(height=6, width=9) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(1, WIDTHS[name], height * scale, width * scale, generator=generator)
        for name, scale in (('res2', 4), ('res3', 2), ('res4', 1), ('res5', 1))
    }


def convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [m for m in module.modules() if isinstance(m, nn.Conv2d)]


# --- the whole network --------------------------------------------------------------------------


@pytest.mark.parametrize('align_corners', [False, True])
@torch.inference_mode()
def test_heads_are_at_a_quarter_of_any_input_size_rounded_up(align_corners):
    network = network_of(align_corners=align_corners)
    for height, width in ((64, 96), (65, 97), (33, 62), (31, 95), (1, 7)):
        heads = network(torch.zeros(1, 3, height, width))
        h, w = -(-height // 4), -(-width // 4)
        assert heads.stride == 4
        assert heads.semantic.shape == (1, TINY.label_set.num_classes, h, w)
        assert heads.center_heatmap.shape == (1, 1, h, w)
        assert heads.offset.shape == (1, 2, h, w)


@torch.inference_mode()
def test_an_image_gets_the_same_heads_alone_and_in_a_batch():
    network, images = network_of(), torch.randn(3, 3, 48, 80)
    batched = network(images)
    for i in range(3):
        for alone, together in zip(network(images[i : i + 1])[:3], batched[:3], strict=True):
            assert alone.std() > 0.1
            assert (alone[0] - together[i]).abs().max() < 1e-4 * alone.abs().max()


@torch.inference_mode()
def test_offsets_are_input_pixels_where_the_head_counts_its_own():
    network, said = network_of(), []
    network.offset_head.register_forward_hook(lambda *args: said.append(args[-1]))
    assert torch.equal(network(torch.randn(1, 3, 64, 64)).offset, 4 * said[0])


@torch.inference_mode()
def test_the_instance_branch_is_blind_to_classes_and_the_other_way_round():
    network, image = network_of(), torch.randn(1, 3, 64, 64)
    before = network(image)
    nn.init.zeros_(network.semantic_head.predictor.weight)
    nn.init.zeros_(network.semantic_decoder.aspp.project.conv.weight)
    after = network(image)
    assert not torch.equal(before.semantic, after.semantic)
    assert torch.equal(before.center_heatmap, after.center_heatmap)
    assert torch.equal(before.offset, after.offset)


# --- the paper's structure ----------------------------------------------------------------------


def test_the_camvid_variant_has_the_papers_decoders_and_heads():
    network = skeleton(get_variant('camvid_efficientnet_lite0'))
    for decoder, width, low_widths in (
        (network.semantic_decoder, 256, (64, 32)),
        (network.instance_decoder, 128, (32, 16)),
    ):
        assert decoder.settings.low_level == ('res3', 'res2')
        assert [(p.conv.in_channels, p.conv.out_channels) for p in decoder.project] == [
            (40, low_widths[0]),
            (24, low_widths[1]),
        ]
        for step, low, above in zip(decoder.fuse, low_widths, (256, width), strict=True):
            depthwise, pointwise = convolutions(step)
            assert depthwise.kernel_size == (5, 5)
            assert depthwise.groups == depthwise.in_channels == low + above
            assert (pointwise.kernel_size, pointwise.out_channels) == ((1, 1), width)
    for head, width, narrow, outputs in (
        (network.semantic_head, 256, 256, 11),
        (network.center_head, 128, 32, 1),
        (network.offset_head, 128, 32, 2),
    ):
        depthwise, pointwise, predictor = convolutions(head)
        assert (depthwise.kernel_size, depthwise.groups) == ((5, 5), width)
        assert pointwise.out_channels == narrow
        assert (predictor.kernel_size, predictor.out_channels) == ((1, 1), outputs)
        assert predictor.bias is not None


@pytest.mark.parametrize('name', VARIANTS)
def test_aspp_looks_at_one_pixel_three_rates_and_the_whole_image(name):
    network = skeleton(get_variant(name))
    for decoder in (network.semantic_decoder, network.instance_decoder):
        point, *atrous = decoder.aspp.branches
        assert point.conv.kernel_size == (1, 1)
        rates = []
        for branch in atrous:
            (conv,) = (c for c in convolutions(branch) if c.kernel_size == (3, 3))
            assert conv.dilation == conv.padding  # the size is kept
            rates.append(conv.dilation[0])
        assert tuple(rates) == decoder.settings.aspp_rates
        assert len(rates) == 3
        assert decoder.aspp.project.conv.in_channels == 5 * decoder.settings.aspp_channels


def test_no_convolution_under_a_norm_wastes_a_bias():
    for module in skeleton(get_variant('cityscapes_r52_dsconv')).modules():
        assert not isinstance(module, ConvNormAct) or module.conv.bias is None


# --- encoders -----------------------------------------------------------------------------------


# HRNet's four resolutions are what they are; it refuses 8 and 16.
@pytest.mark.parametrize(
    ('name', 'output_stride'),
    [(n, stride) for n in BACKBONES for stride in (8, 16, 32) if n != 'hrnet_w48' or stride == 32],
)
def test_every_encoder_keeps_the_asked_output_stride(name, output_stride):
    with torch.device('meta'):
        backbone = make_backbone(name, output_stride, ())
        found = backbone(torch.zeros(1, 3, 128, 256))
    for stage, stride in (('res2', 4), ('res3', 8), ('res4', 16), ('res5', 32)):
        stride = min(stride, output_stride)
        assert found[stage].shape == (1, backbone.channels[stage], 128 // stride, 256 // stride)


def test_the_last_stage_of_efficientnet_is_atrous_instead_of_strided():
    with torch.device('meta'):
        blocks = make_backbone('efficientnet_lite0', 16, ())._blocks
    depthwise = [block._depthwise_conv for block in blocks]
    assert all(c.stride == (1, 1) for c in depthwise[11:])
    assert [c.dilation[0] for c in depthwise] == [1] * 12 + [2] * 4
    with torch.device('meta'):
        strided = make_backbone('efficientnet_lite0', 32, ())._blocks[11]._depthwise_conv
    assert strided.stride == (2, 2)


def test_r52_has_the_published_multi_grid_and_stem():
    backbone = skeleton(get_variant('cityscapes_r52_dsconv')).backbone
    assert [b.conv2.dilation[0] for b in backbone.layer4] == [2, 4, 8]
    assert [b.conv2.padding[0] for b in backbone.layer4] == [2, 4, 8]
    assert {b.conv2.stride for b in backbone.layer4} == {(1, 1)}
    assert {b.conv2.dilation for b in backbone.layer3} == {(1, 1)}
    stem = [backbone.conv1, backbone.conv2, backbone.conv3]
    assert [(c.kernel_size[0], c.stride[0], c.out_channels) for c in stem] == [
        (3, 2, 64),
        (3, 1, 64),
        (3, 1, 128),
    ]


@settings(deadline=None, max_examples=100)
@given(
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.sampled_from([1, 3, 5]),
    st.sampled_from([1, 2, 3]),
    st.sampled_from([1, 2]),
)
def test_same_padding_is_tensorflows_and_not_half_a_pixel_off(size, kernel, stride, dilation):
    conv = SamePadConv2d(1, 1, kernel, stride, dilation=dilation, bias=False)
    image = torch.arange(1.0, size[0] * size[1] + 1).view(1, 1, *size)
    with torch.inference_mode():
        nn.init.uniform_(conv.weight, 0.5, 1)
        found, weight = conv(image)[0, 0], conv.weight[0, 0].detach()
    out = [-(-s // stride) for s in size]
    before = [
        max((o - 1) * stride + (kernel - 1) * dilation + 1 - s, 0) // 2
        for o, s in zip(out, size, strict=True)
    ]
    assert list(found.shape) == out
    for y in range(out[0]):
        for x in range(out[1]):
            expected = 0.0
            for ky in range(kernel):
                for kx in range(kernel):
                    iy = y * stride + ky * dilation - before[0]
                    ix = x * stride + kx * dilation - before[1]
                    if 0 <= iy < size[0] and 0 <= ix < size[1]:
                        expected += float(weight[ky, kx] * image[0, 0, iy, ix])
            assert float(found[y, x]) == pytest.approx(expected, rel=1e-4)


# --- conventions --------------------------------------------------------------------------------

SAME = '(?!)'  # matches no parameter
DECODERS = '(semantic|instance)_decoder'


@pytest.mark.parametrize(
    ('changes', 'may_differ'),
    [
        ({'align_corners': True}, SAME),
        ({'low_level_first': False}, SAME),
        ({'pool_window': (2, 3)}, SAME),
        ({'dropout': 0.5}, SAME),
        ({'norm_eps': 1e-3}, SAME),
        ({'aspp_rates': (6, 12, 18)}, SAME),
        ({'pool_bias': True}, rf'{DECODERS}\.aspp\.pool\.bias'),
        ({'aspp_depthwise': False}, rf'{DECODERS}\.aspp\.branches\.[123]\.'),
        ({'center_depthwise': False}, r'center_head\.block\.'),
        ({'depthwise': False}, rf'({DECODERS}\.fuse\.|(semantic|offset)_head\.block\.)'),
        ({'head_channels': 64}, r'(center|offset)_head\.'),
        ({'semantic_channels': 96}, r'semantic_(decoder\.fuse|head)\.'),
        ({'instance_channels': 96}, r'(instance_decoder\.fuse|(center|offset)_head\.block)\.'),
        ({'low_level_semantic': (48, 24, 8)}, r'semantic_decoder\.(project|fuse)\.'),
        ({'low_level_instance': (48, 24, 8)}, r'instance_decoder\.(project|fuse)\.'),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else '',
)
def test_a_convention_changes_only_the_parameters_it_names(changes, may_differ):
    before, after = (
        {k: tuple(v.shape) for k, v in net.state_dict().items()}
        for net in (skeleton(TINY), skeleton(TINY, **changes))
    )
    differ = {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)}
    assert bool(differ) == (may_differ != SAME)
    assert not [k for k in differ if not re.match(may_differ, k)]


@torch.inference_mode()
def test_low_level_first_only_swaps_the_two_halves_that_are_fused():
    last, first = small_decoder(low_level_first=False), small_decoder(low_level_first=True)
    first.load_state_dict(last.state_dict())
    assert not torch.allclose(first(features()), last(features()))
    for step, low in zip(first.fuse, (5, 4), strict=True):
        order = [*range(12, 12 + low), *range(12)]
        norm = step.depthwise.norm
        for tensor in (step.depthwise.conv.weight, norm.weight, norm.running_mean):
            tensor.copy_(tensor[order])
        step.pointwise.conv.weight.copy_(step.pointwise.conv.weight[:, order])
    torch.testing.assert_close(first(features()), last(features()))


@pytest.mark.parametrize('align_corners', [False, True])
@torch.inference_mode()
def test_the_decoder_upsamples_by_the_convention_of_the_variant(align_corners):
    decoder, seen = small_decoder(align_corners=align_corners), {}
    decoder.aspp.register_forward_hook(lambda *args: seen.update(aspp=args[-1]))
    decoder.fuse[0].register_forward_pre_hook(lambda _, inputs: seen.update(fused=inputs[0]))
    decoder(features())
    expected = F.interpolate(seen['aspp'], (12, 18), mode='bilinear', align_corners=align_corners)
    torch.testing.assert_close(seen['fused'][:, :12], expected)


def test_resizing_by_the_two_conventions_puts_samples_where_they_say():
    ramp = torch.tensor([[[[0.0, 4.0]]]])
    assert resize(ramp, (1, 5), True).flatten().tolist() == [0, 1, 2, 3, 4]
    assert resize(ramp, (1, 4), False).flatten().tolist() == [0, 1, 3, 4]


@torch.inference_mode()
def test_a_pooling_window_that_covers_the_features_is_global_pooling():
    x = torch.randn(2, 10, 6, 9)
    torch.manual_seed(0)
    whole = ASPP(10, SMALL).eval()
    window = ASPP(10, replace(SMALL, pool_window=(6, 9))).eval()
    window.load_state_dict(whole.state_dict())
    torch.testing.assert_close(window(x), whole(x))


@torch.inference_mode()
def test_a_smaller_pooling_window_slides_over_the_features():
    x, seen = torch.randn(1, 10, 6, 9), []
    aspp = ASPP(10, replace(SMALL, pool_window=(4, 5))).eval()
    aspp.pool.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    aspp(x)
    assert seen[0].shape == (1, 10, 3, 5)
    torch.testing.assert_close(seen[0][0, :, 1, 2], x[0, :, 1:5, 2:7].mean((1, 2)))


def test_in_training_the_crop_is_pooled_whole_whatever_the_window():
    aspp, seen = ASPP(10, replace(SMALL, pool_window=(4, 5))), []
    aspp.pool.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    aspp(torch.randn(2, 10, 6, 9))
    assert seen[0].shape == (2, 10, 1, 1)


@torch.inference_mode()
def test_a_tall_camera_does_not_stop_a_network_with_a_wide_pooling_window():
    # cityscapes_r52_dsconv pools 32×64 features; a 1080×2400 portrait frame has 58 columns of them.
    aspp = ASPP(10, replace(SMALL, pool_window=(4, 8))).eval()
    assert aspp(torch.randn(1, 10, 9, 6)).shape == (1, 12, 9, 6)


def test_dropout_is_for_training_only():
    decoder = small_decoder(dropout=0.5)
    assert torch.equal(decoder(features()), decoder(features()))
    decoder.aspp.train()
    assert not torch.equal(decoder(features()), decoder(features()))


def test_the_norms_epsilon_is_the_decoders_and_leaves_the_encoder_alone():
    network = skeleton(TINY, norm_eps=0.25)
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.eps == (1e-3 if name.startswith('backbone') else 0.25)


# --- what a user can get wrong ------------------------------------------------------------------


@pytest.mark.parametrize(
    ('call', 'says'),
    [
        (lambda: make_backbone('vgg', 16, ()), "No backbone 'vgg'; there are: efficientnet"),
        (lambda: make_backbone('resnet50', 4, ()), 'output_stride is 4; it can be 8, 16 or 32'),
        (lambda: get_variant('coco'), "No variant 'coco'; there are: street_efficientnet_lite0"),
        (lambda: DecoderSettings(low_level=('res2',)), 'name 1 low-level features but 2'),
    ],
)
def test_a_wrong_choice_is_refused_in_a_sentence_with_the_right_ones(call, says):
    with pytest.raises(PdlError, match=says) as error:
        call()
    assert '\n' not in str(error.value)
