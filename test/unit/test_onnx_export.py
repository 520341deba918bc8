"""The exported graph is the network, of every architecture and at every size."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import pytest
import torch

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from pdl_ros.engines import onnx_export  # noqa: E402
from pdl_ros.engines.onnx_export import export_onnx  # noqa: E402
from pdl_ros.engines.onnx_file import TOLERANCE, largest_error, telling_sizes  # noqa: E402
from pdl_ros.labels import LabelSet  # noqa: E402
from pdl_ros.network.aspp import ASPP  # noqa: E402
from pdl_ros.network.layers import SamePadConv2d  # noqa: E402
from pdl_ros.network.settings import DecoderSettings  # noqa: E402
from pdl_ros.network.variants import VARIANTS, get_variant  # noqa: E402

from .test_network import network_of  # noqa: E402

TINY = get_variant('scene_tiny')


def architectures() -> dict[tuple[object, ...], str]:
    """Name one variant of each architecture; pooling windows have a test of their own."""
    found: dict[tuple[object, ...], str] = {}
    for v in VARIANTS.values():
        window = v.decoder.pool_window is not None
        decoder = replace(v.decoder, pool_window=(4, 4) if window else None)
        found.setdefault((v.backbone, v.output_stride, v.multi_grid, decoder), v.name)
    return found


def exported(network, variant, *arguments) -> bytes:
    buffer = io.BytesIO()
    export_onnx(network, variant, buffer, *arguments)
    return buffer.getvalue()


def families() -> list[str]:
    """Name one architecture of each kind of encoder and stride; test/soak has the others."""
    found: dict[tuple[str, int], str] = {}
    for name in architectures().values():
        variant = get_variant(name)
        # ResNeXt is ResNet with groups.
        kind = re.split(r'\d', variant.backbone)[0].replace('resnext', 'resnet')
        found.setdefault((kind, variant.output_stride), name)
    return list(found.values())


@pytest.mark.parametrize('name', families())
def test_onnx_runtime_gives_the_heads_of_pytorch_at_sizes_the_export_never_saw(name):
    check_the_heads_at_sizes_the_export_never_saw(name)


def check_the_heads_at_sizes_the_export_never_saw(name: str) -> None:
    torch.set_num_threads(1)
    network = network_of(get_variant(name))
    model = exported(network, get_variant(name))
    assert largest_error(network, model, [(1, 3, 65, 97), (3, 3, 32, 48)]) < TOLERANCE


@pytest.mark.parametrize('name', ['scene_tiny', 'cityscapes_mobilenet_v2_os32'])
def test_a_fixed_size_and_batch_are_kept_and_exact(name):
    network = network_of(get_variant(name))
    model = exported(network, get_variant(name), (65, 97), 2)
    image = onnx.load_from_string(model).graph.input[0].type.tensor_type.shape.dim
    assert [edge.dim_value for edge in image] == [2, 3, 65, 97]
    assert largest_error(network, model, [(2, 3, 65, 97)]) < 1e-4


@torch.inference_mode()
@pytest.mark.parametrize('window', [(3, 5), (8, 8), (40, 2)])
def test_image_pooling_by_a_window_is_right_for_features_smaller_and_larger_than_it(window):
    settings = DecoderSettings(aspp_channels=8, aspp_rates=(1, 2, 3), pool_window=window)
    plain = ASPP(6, settings).eval()
    for size in ((2, 2), (3, 5), (9, 4), (4, 9), (41, 12)):
        x = torch.randn(2, 6, *size)
        expected = plain._image_pool(x)
        found = onnx_export._ASPP._image_pool(plain, x)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_features_larger_than_the_pooling_window_are_pooled_right_in_the_file():
    variant = get_variant('cityscapes_mobilenet_v2_os32')
    variant = replace(variant, decoder=replace(variant.decoder, pool_window=(3, 4)))
    network = network_of(variant)
    sizes = telling_sizes(variant)
    assert any(h > 3 * 32 for h, _ in sizes) and any(w > 4 * 32 for _, w in sizes)
    model = exported(network, variant)
    assert largest_error(network, model, [(1, 3, *size) for size in sizes]) < 1e-3


@pytest.mark.parametrize('kernel', [3, 5])
def test_the_check_sees_a_padding_that_is_wrong_for_odd_sizes_alone(kernel, monkeypatch):
    def wrong(conv, x):
        pads = [(conv.kernel_size[0] - 1) // 2] * 2  # even inputs get another shift as well
        return torch.nn.functional.conv2d(
            x, conv.weight, None, conv.stride, pads, conv.dilation, conv.groups
        )

    monkeypatch.setattr(onnx_export._SamePadConv2d, 'forward', wrong)
    network = network_of()
    assert any(m.kernel_size[0] == kernel for m in network.modules() if type(m) is SamePadConv2d)
    assert largest_error(network, exported(network, TINY), [(1, 3, 64, 96)]) > 10 * TOLERANCE


def test_a_network_is_as_it_was_after_it_was_exported():
    network = network_of()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    exported(network, TINY)
    assert {type(m) for m in network.modules()} >= {ASPP, SamePadConv2d}
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_another_program_can_read_normalisation_and_classes_from_the_file():
    model = onnx.load_from_string(exported(network_of(), TINY))
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert facts['variant'] == 'scene_tiny'
    assert LabelSet.from_dict(json.loads(facts['label_set'])) == TINY.label_set
    assert json.loads(facts['mean']) == list(TINY.mean)
    assert json.loads(facts['std']) == list(TINY.std)
    assert json.loads(facts['stride']) == 4
    assert facts['pdl_ros']
    assert next(o.version for o in model.opset_import if not o.domain) >= 17
    assert [o.name for o in model.graph.output] == ['semantic', 'center_heatmap', 'offset']
