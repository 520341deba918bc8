"""The torch engine gives what the published network gives, sooner."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pdl_ros.engines import cpu_layers
from pdl_ros.engines.cpu_layers import PackedStep, pack
from pdl_ros.engines.folding import Step, fold, window_mean
from pdl_ros.engines.torch_engine import TorchEngine, auto_precision
from pdl_ros.errors import PdlError
from pdl_ros.network import checkpoints
from pdl_ros.network.heads import HeadOutputs
from pdl_ros.network.layers import SamePadConv2d
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import get_variant
from pdl_ros.runtime import cpu_features

CPU = torch.device('cpu')
STREETS = 'camvid_efficientnet_lite0'
needs_onednn = pytest.mark.skipif(
    not cpu_layers._can_pack(torch.float32), reason='needs oneDNN for this processor'
)


@pytest.fixture(autouse=True)
def one_thread():
    """Tests share the cores: two threads that wait for each other take longer than one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network_of(name: str, **changes) -> PanopticDeepLab:
    """Make an untrained network whose norms do something and whose heads are not near zero."""
    torch.manual_seed(0)
    network = PanopticDeepLab(replace(get_variant(name), **changes)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.1, 0.1),
                (module.running_var, 0.5, 1.5),
                (module.weight, 0.5, 1.5),
                (module.bias, -0.1, 0.1),
            ):
                nn.init.uniform_(tensor, low, high)
    for head in (network.semantic_head, network.center_head, network.offset_head):
        nn.init.normal_(head.predictor.weight, 0, 0.1)
    return network


def depthwise(channels: int, rate: int, kernel: int = 3) -> nn.Conv2d:
    padding = rate * (kernel - 1) // 2
    return nn.Conv2d(channels, channels, kernel, 1, padding, rate, groups=channels)


@torch.inference_mode()
def heads_of(network, images: Tensor) -> HeadOutputs:
    return network(images)


def largest_error(got: HeadOutputs, want: HeadOutputs) -> float:
    """Return the largest difference of the heads, each relative to its largest value."""
    pairs = list(zip(got[:3], want[:3], strict=True))
    assert all(a.shape == b.shape and a.dtype == torch.float32 for a, b in pairs)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


# --- the same heads -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'name',
    [
        'camvid_efficientnet_lite0',
        'scene_tiny',
        'cityscapes_r52_dsconv',  # dilated depthwise convolutions and a pooling window
        'cityscapes_r52',
        'cityscapes_resnet50_os32',  # align-corners
        'cityscapes_mobilenet_v2_os32',
        'cityscapes_mobilenet_v3_small',  # squeeze-excite, hard swish
        'cityscapes_xception65_os32',  # activations before convolutions
        'cityscapes_hrnet_w48_dsconv',  # sums of many branches
    ],
)
def test_the_rewritten_network_gives_the_heads_of_the_published_one(name):
    network = network_of(name)
    edge = 1 if network.semantic_decoder.settings.align_corners else 0
    images = torch.randn(1, 3, 64 + edge, 96 + edge)
    engine = TorchEngine(network, CPU, 'fp32')
    assert largest_error(engine(images), heads_of(network, images)) < 1e-5
    steps = [m for m in engine.network.modules() if isinstance(m, (Step, PackedStep))]
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert len(steps) == len(convolutions)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in engine.network.modules())


def test_a_camera_that_changes_its_size_or_a_batch_gets_right_heads_each_time():
    network = network_of('scene_tiny')
    engine = TorchEngine(network, CPU)
    for shape in ((1, 3, 64, 96), (1, 3, 96, 64), (3, 3, 64, 96), (1, 3, 63, 33), (1, 3, 64, 96)):
        images = torch.randn(shape)
        assert largest_error(engine(images), heads_of(network, images)) < 1e-5


def test_without_onednn_the_network_is_slower_but_the_same(monkeypatch):
    network, images = network_of(STREETS), torch.randn(1, 3, 64, 96)
    monkeypatch.setattr(cpu_layers, '_can_pack', lambda dtype: False)
    engine = TorchEngine(network, CPU)
    assert not any(isinstance(m, PackedStep) for m in engine.network.modules())
    assert largest_error(engine(images), heads_of(network, images)) < 1e-5


def test_the_network_that_is_trained_and_saved_stays_as_it_is():
    network = network_of('scene_tiny')
    before = {key: value.clone() for key, value in network.state_dict().items()}
    engine = TorchEngine(network, CPU, 'bf16')
    engine(torch.randn(1, 3, 64, 64))
    after = network.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert not any(m._forward_hooks for m in network.modules())


def test_an_image_and_its_batch_mates_are_not_written_to():
    images = torch.randn(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    before = images.clone()
    TorchEngine(network_of('scene_tiny'), CPU)(images)
    assert torch.equal(images, before)


# --- single steps ---------------------------------------------------------------------------------


@pytest.mark.parametrize('window', [(32, 64), (5, 3), (1, 1), (200, 2), (200, 200), None])
def test_image_pooling_takes_the_mean_over_the_window_that_the_network_was_trained_with(window):
    x = torch.randn(2, 7, 40, 70)
    clipped = window and (min(window[0], 40), min(window[1], 70))
    want = F.avg_pool2d(x, clipped, 1) if clipped else x.mean((2, 3), keepdim=True)
    torch.testing.assert_close(window_mean(x, window), want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('rate', [1, 6, 7, 12, 18, 40])
@pytest.mark.parametrize('size', [(23, 30), (5, 64)])
def test_a_depthwise_convolution_of_any_rate_is_exact(rate, size):
    network = nn.Sequential(depthwise(8, rate), nn.ReLU()).eval()
    x = torch.randn(2, 8, *size).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        torch.testing.assert_close(pack(fold(network))(x), network(x))


@pytest.mark.parametrize('rate', [2, 3, 5])
def test_a_depthwise_convolution_with_tensorflows_padding_is_exact_at_any_rate(rate):
    conv = SamePadConv2d(8, 8, 5, dilation=rate, groups=8)
    network = nn.Sequential(conv, nn.BatchNorm2d(8), nn.ReLU6()).eval()
    x = torch.randn(2, 8, 23, 30).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        torch.testing.assert_close(pack(fold(network))(x), network(x))


@pytest.mark.parametrize('size', [(32, 32), (33, 32), (31, 47)])
def test_tensorflows_padding_is_kept_at_odd_sizes(size):
    network = nn.Sequential(SamePadConv2d(4, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU6()).eval()
    x = torch.randn(1, 4, *size).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        torch.testing.assert_close(pack(fold(network))(x), network(x))


def test_a_shortcut_that_is_read_again_later_is_not_overwritten():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = (nn.Conv2d(8, 8, 1) for _ in range(2))

        def forward(self, x):
            y = self.first(x)
            return F.relu(self.second(y) + y) * y

    network = Twice().eval()
    x = torch.randn(1, 8, 6, 6).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        torch.testing.assert_close(pack(fold(network))(x), network(x))


# --- precision ------------------------------------------------------------------------------------


def test_bf16_leaves_the_first_and_the_last_narrow_layers_in_fp32():
    folded = fold(network_of(STREETS), torch.bfloat16)
    exact = {n for n, s in folded.named_children() if s.conv.weight.dtype == torch.float32}
    assert exact == {
        *(f'backbone__{n}_step' for n in (
            'conv_stem', 'blocks_0__depthwise_conv', 'blocks_0__project_conv',
            'blocks_1__expand_conv',
        )),
        'center_head_predictor_step', 'offset_head_predictor_step',
    }  # fmt: skip


@pytest.mark.parametrize('precision', ['fp16', 'int8'])
def test_a_precision_that_a_cpu_has_not_is_refused_in_a_sentence(precision):
    with pytest.raises(PdlError, match=f"no {precision} on the device 'cpu'; use") as error:
        TorchEngine(network_of('scene_tiny'), CPU, precision)
    assert '\n' not in str(error.value)


def test_auto_takes_bf16_only_where_the_processor_has_instructions_for_it(monkeypatch):
    assert auto_precision(torch.device('cuda')) == 'fp16'
    for isa in ('neon', 'avx2', 'avx512_vnni', 'avx512_bf16', 'amx'):
        monkeypatch.setattr(cpu_features, 'instruction_set', lambda runtime, isa=isa: isa)
        assert auto_precision(CPU) == ('bf16' if isa in ('avx512_bf16', 'amx') else 'fp32')


# --- what makes it fast; how fast is told by `pdl_ros bench engines` ----------------------------


@torch.inference_mode()
def operators_of(call, *arguments) -> set[str]:
    """Return the names of the operators that a call runs."""
    with torch.profiler.profile() as profile:
        call(*arguments)
    return {event.key for event in profile.key_averages()}


@needs_onednn
def test_every_convolution_of_a_robots_network_is_one_call_of_onednn():
    network, _ = checkpoints.load(STREETS)
    engine, images = TorchEngine(network, CPU), torch.randn(1, 3, 64, 96)
    assert 'aten::conv2d' in operators_of(network, images)
    operators = operators_of(engine, images)
    assert 'mkldnn::_convolution_pointwise' in operators
    assert not operators & {'aten::conv2d', 'aten::batch_norm', 'aten::relu6', 'aten::hardtanh'}


def test_a_wide_pooling_window_is_a_matrix_product_and_not_a_sliding_sum():
    x = torch.randn(1, 8, 48, 96).contiguous(memory_format=torch.channels_last)
    operators = operators_of(window_mean, x, (24, 48))
    assert operators & {'aten::mm', 'aten::bmm', 'aten::matmul'}
    assert 'aten::avg_pool2d' not in operators


@needs_onednn
@pytest.mark.parametrize(
    ('isa', 'kernel', 'widest'),
    [('sse4', 3, 3), ('avx2', 3, 4), ('avx2_vnni', 5, 2), ('amx', 3, 6), ('neon', 5, 2)],
)
def test_a_rate_that_onednn_has_only_slow_code_for_is_never_run_as_it_is(
    isa, kernel, widest, monkeypatch
):
    monkeypatch.setattr(cpu_layers, 'instruction_set', lambda runtime: isa)
    for rate, runs in ((1, 1), (widest, widest), (widest + 1, 1), (18, 1)):
        packed = pack(fold(nn.Sequential(depthwise(8, rate, kernel)).eval()))
        (step,) = (m for m in packed.modules() if isinstance(m, PackedStep))
        assert step.dilation == (runs, runs)
