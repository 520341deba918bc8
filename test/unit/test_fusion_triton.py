"""The GPU's kernels give what the plain definition gives.

Without a GPU they run in Triton's interpreter, which wants to be asked for before Triton is
imported: the first test runs this file again in a process that asks. The interpreter tells whether
the kernels compute the right thing, not whether they compile or how fast they are.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from pdl_ros.bench.streets import noise_heads, street_heads
from pdl_ros.doctor.gpu.fusion_check import check_fusion
from pdl_ros.doctor.gpu.outcome import PASSED, trial_on
from pdl_ros.fusion import FusionSettings, fuse_reference
from pdl_ros.fusion.entry import fuse_each
from pdl_ros.network.heads import HeadOutputs

from .test_fusion_kernels import (
    CITYSCAPES,
    STREET,
    TINY,
    assert_same,
    frames,
    fusion_settings,
    label_set_of,
    winding_heads,
)

INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'
DEVICE = 'cuda' if torch.cuda.is_available() and not INTERPRETED else 'cpu'
needs_triton = pytest.mark.skipif(find_spec('triton') is None, reason='needs Triton')
runs_kernels = pytest.mark.skipif(
    DEVICE == 'cpu' and not INTERPRETED, reason='needs a GPU; also run by the interpreted process'
)


@needs_triton
@pytest.mark.skipif(INTERPRETED, reason='starts the interpreted process, which this is')
def test_the_kernels_are_right_in_triton_s_interpreter():
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', __file__, '-q', '-p', 'no:cacheprovider'],
        env={**os.environ, 'TRITON_INTERPRET': '1'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(autouse=True)
def large_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter takes as long for a block of a thousand pixels as for one of ten."""
    if INTERPRETED:
        monkeypatch.setattr('pdl_ros.fusion.fuse_triton._BLOCK', 8192)


class Recorder:
    """Stands in for a kernel and notes what it would have been launched with."""

    def __init__(self, kernel) -> None:
        self.kernel = kernel

    def __getitem__(self, grid):
        return self.launch

    def launch(self, *arguments, **options) -> None:
        self.arguments, self.options = arguments, options

    def source(self):
        from triton.compiler import ASTSource

        types = {torch.float32: '*fp32', torch.int32: '*i32', torch.int64: '*i64'}
        types[torch.uint8], types[torch.float16] = '*u8', '*fp16'
        given = {
            int: lambda _: 'i32',
            float: lambda _: 'fp32',
            torch.Tensor: lambda t: types[t.dtype],
        }
        names = self.kernel.arg_names
        signature = {n: given[type(a)](a) for n, a in zip(names, self.arguments, strict=False)}
        constants = {n: self.options[n] for n in names if n in self.options}
        signature |= dict.fromkeys(constants, 'constexpr')
        assert list(signature) == list(names)
        return ASTSource(
            self.kernel, signature, {(names.index(n),): v for n, v in constants.items()}
        )


@needs_triton
@pytest.mark.skipif(INTERPRETED, reason='is for compiled kernels')
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_the_kernels_compile_for_the_gpus_in_use_and_fuse_no_product_with_its_sum(
    dtype, monkeypatch
):
    import triton
    from triton.backends.compiler import GPUTarget

    from pdl_ros.fusion import fuse_triton

    names = [
        'classify_and_group',
        'begin_components',
        'join_components',
        'measure_components',
        'number_components',
        'count_components',
        'split_outvoted',
        'sum_probability',
        'write_labels',
    ]
    recorders = [Recorder(getattr(fuse_triton, name)) for name in names]
    for name, recorder in zip(names, recorders, strict=True):
        monkeypatch.setattr(fuse_triton, name, recorder)
    heads = street_heads((32, 64), 3, CITYSCAPES)
    heads = HeadOutputs(*(h.to(dtype) for h in heads[:3]), 4)
    fusion = replace(STREET, without_center='components', outvoted_area=40)
    fuse_each(fuse_triton.fuse_frame, heads, CITYSCAPES, fusion, (32, 64))
    for architecture in (75, 87, 90):  # Turing, Orin, Hopper
        for recorder in recorders:
            fusing = {k: v for k, v in recorder.options.items() if k == 'enable_fp_fusion'}
            target = GPUTarget('cuda', architecture, 32)
            built = triton.compile(recorder.source(), target=target, options=fusing)
            assert len(built.asm['cubin']) > 1000
            assert 'fma' not in built.asm['ptx']
            assert 'sqrt.approx' not in built.asm['ptx']


def check(heads: HeadOutputs, size, fusion=STREET, label_set=CITYSCAPES, valid=None) -> None:
    from pdl_ros.fusion.fuse_triton import fuse_frame

    (result,) = fuse_each(fuse_frame, heads.to(DEVICE), label_set, fusion, size, valid)
    assert_same(result.cpu(), fuse_reference(heads, label_set, fusion, size, valid))


@needs_triton
@runs_kernels
@settings(deadline=None, max_examples=12)
@given(frames(), fusion_settings())
def test_no_pixel_depends_on_the_device(frame, fusion):
    heads, size, valid = frame
    check(heads, size, replace(fusion, top_k=min(fusion.top_k, 300)), TINY, valid)


@needs_triton
@runs_kernels
@pytest.mark.parametrize('align', [False, True])
def test_a_street_is_the_same_at_other_sizes(align):
    heads = street_heads((96, 160), 12, CITYSCAPES)
    fusion = replace(STREET, align_corners=align)
    check(heads, (96, 160), fusion)
    check(heads, (131, 97), fusion, valid=(90, 151))


@needs_triton
@runs_kernels
def test_more_peaks_than_wanted_and_many_classes_are_the_same():
    check(noise_heads((40, 64), CITYSCAPES), (40, 64), FusionSettings(nms_kernel=3, top_k=20))
    coco = label_set_of(133, 60, 400)
    check(street_heads((48, 64), 4, coco), (48, 64), STREET, coco)


@needs_triton
@runs_kernels
@pytest.mark.parametrize('top_k', [3, 200])
def test_winding_parts_of_a_frame_without_centres_are_the_same_on_every_device(top_k, monkeypatch):
    # Small blocks: parts wind through many programs.
    if INTERPRETED:
        monkeypatch.setattr('pdl_ros.fusion.fuse_triton._BLOCK', 128)
        monkeypatch.setattr('pdl_ros.fusion.fuse_triton._LARGE_BLOCK', 256)
    heads = winding_heads(31, 43)
    fusion = FusionSettings(
        stuff_area=9, top_k=top_k, without_center='components', score_threshold=0.5
    )
    check(heads, (31, 43), fusion, TINY)
    check(heads, (20, 67), fusion, TINY)


@needs_triton
@runs_kernels
def test_heads_of_any_precision_and_memory_order_are_read_where_they_are():
    heads = street_heads((48, 80), 5, CITYSCAPES)
    heads.semantic[0, :, 3, 3] = np.nan
    last = [h.contiguous(memory_format=torch.channels_last) for h in heads[:3]]
    check(HeadOutputs(*last, 4), (48, 80))
    check(HeadOutputs(*(h.half() for h in last), 4), (48, 80))


@needs_triton
@runs_kernels
def test_the_doctor_finds_the_kernels_right():
    outcome = check_fusion(trial_on(torch.device(DEVICE)))
    assert outcome.state == PASSED, outcome


@needs_triton
@runs_kernels
def test_a_batch_gives_each_frame_its_own_result():
    from pdl_ros.fusion.fuse_triton import fuse_frame

    both = [street_heads((32, 64), n, CITYSCAPES, seed=n) for n in (2, 5)]
    batch = [torch.cat(h).to(DEVICE) for h in zip(*(b[:3] for b in both), strict=True)]
    results = fuse_each(fuse_frame, HeadOutputs(*batch, 4), CITYSCAPES, STREET, (32, 64))
    for result, heads in zip(results, both, strict=True):
        assert_same(result.cpu(), fuse_reference(heads, CITYSCAPES, STREET, (32, 64)))


@needs_triton
@runs_kernels
def test_a_table_that_was_not_copied_to_the_host_lists_only_segments():
    from pdl_ros.fusion.fuse_triton import fuse_frame

    heads = street_heads((32, 64), 3, CITYSCAPES)
    (result,) = fuse_each(fuse_frame, heads.to(DEVICE), CITYSCAPES, STREET, (32, 64))
    plain = fuse_reference(heads, CITYSCAPES, STREET, (32, 64))
    assert len(result.segments.id) > len(plain.segments.id)
    assert [row['id'] for row in result.segments.rows()] == plain.segments.id.tolist()
