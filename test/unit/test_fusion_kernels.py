"""The fast kernels give what the plain definition gives: maps bit for bit, scores to 1e-5."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdl_ros.bench.hard_heads import TINY, hard_frame, hard_settings, label_set_of
from pdl_ros.bench.streets import noise_heads, street_heads
from pdl_ros.doctor.gpu.fusion_check import difference
from pdl_ros.fusion import FusionSettings, PanopticResult, fuse, fuse_batch, fuse_reference
from pdl_ros.labels import LabelSet
from pdl_ros.network.heads import HeadOutputs

CITYSCAPES = LabelSet.load('cityscapes')
STREET = FusionSettings(stuff_area=100)


def assert_same(fast: PanopticResult, plain: PanopticResult) -> None:
    assert difference(fast, plain) == ''


def check(heads: HeadOutputs, size, fusion=STREET, label_set=CITYSCAPES, valid=None) -> None:
    assert_same(
        fuse(heads, label_set, fusion, size, valid),
        fuse_reference(heads, label_set, fusion, size, valid),
    )


@st.composite
def frames(draw) -> tuple[HeadOutputs, tuple[int, int], tuple[int, int] | None]:
    """Heads, an output size, and the part of the input that is image."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return hard_frame(rng, lambda values: draw(st.sampled_from(values)))


@st.composite
def fusion_settings(draw) -> FusionSettings:
    return hard_settings(lambda values: draw(st.sampled_from(values)))


def winding_heads(height: int, width: int) -> HeadOutputs:
    """Make heads without a centre, whose things are a spiral, a comb and a sprinkle of pixels."""
    classes = np.zeros((height, width), int)
    for ring in range(0, min(height, width) // 2 - 4, 4):
        classes[ring : height - ring, ring : width - ring] = 1
        classes[ring + 2 : height - ring - 2, ring + 2 : width - ring - 2] = 0
        classes[ring + 1 : ring + 3, ring + 2] = 1  # on to the next ring
        classes[ring + 2 : ring + 5, ring + 1] = 0
    classes[5::2, 3 * width // 4 :] = 3
    classes[-2, width // 2 :] = 3
    rng = np.random.default_rng(0)
    classes = np.where(
        rng.random((height, width)) < 0.03, rng.integers(0, 5, classes.shape), classes
    )
    logits = 4 * torch.nn.functional.one_hot(torch.from_numpy(classes), 5).permute(2, 0, 1).float()
    offset = torch.full((1, 2, height, width), torch.nan)  # needs none
    return HeadOutputs(logits[None], torch.zeros(1, 1, height, width), offset, 1)


@settings(deadline=None, max_examples=250)
@given(frames(), fusion_settings(), st.sampled_from([2, 100]))
def test_no_pixel_depends_on_whether_the_plain_or_the_fast_fusion_ran(frame, fusion, divisor):
    heads, size, valid = frame
    check(heads, size, fusion, replace(TINY, label_divisor=divisor), valid)


@pytest.mark.parametrize('align', [False, True])
@pytest.mark.parametrize(
    'size', [(256, 512), (257, 513), (480, 640), (100, 333), (32, 40), (300, 9)], ids=str
)
def test_a_street_is_the_same_at_every_output_size(size, align):
    heads = street_heads((256, 512), 40, CITYSCAPES)
    check(heads, size, replace(STREET, align_corners=align))
    check(heads, size, replace(STREET, align_corners=align, rescale=False), valid=(250, 500))


@pytest.mark.parametrize('size', [(120, 160), (75, 301)], ids=str)
def test_things_of_a_frame_without_centres_are_the_same(size):
    heads = winding_heads(120, 160)
    for top_k in (2, 200):
        fusion = FusionSettings(stuff_area=9, top_k=top_k, without_center='components')
        check(heads, size, fusion, TINY)
        check(heads, size, replace(fusion, objectness='mask_centroid', score='semantic'), TINY)
    assert len(fuse(heads, TINY, fusion, size).segments.id) > 10


@pytest.mark.parametrize('top_k', [1, 20, 200, 60000])
def test_noise_with_more_peaks_than_wanted_is_the_same(top_k):
    heads = noise_heads((128, 192), CITYSCAPES)
    check(heads, (128, 192), replace(STREET, nms_kernel=3, top_k=top_k))


def test_coco_s_133_classes_and_large_window_are_the_same():
    coco = label_set_of(133, 60, 400)
    fusion = FusionSettings(nms_kernel=41, stuff_area=64)
    check(street_heads((160, 224), 12, coco), (160, 224), fusion, coco)


def test_label_sets_of_only_things_or_only_stuff_are_the_same():
    heads = street_heads((64, 128), 5, TINY)
    for is_thing in (False, True):
        classes = tuple(replace(c, is_thing=is_thing) for c in TINY.classes)
        check(heads, (64, 128), label_set=replace(TINY, classes=classes))


def test_a_cluster_of_more_centres_than_a_cell_lists_is_searched_whole():
    heads = noise_heads((64, 96), CITYSCAPES)
    heads.center_heatmap[:] = 0.5  # a plateau: every pixel is a centre
    fusion = replace(STREET, top_k=100000)
    check(heads, (64, 96), fusion)
    small = HeadOutputs(*(h[..., :3, :3].contiguous() for h in heads[:3]), 4)
    check(small, (12, 12), fusion)


def test_pixels_that_point_far_outside_the_image_find_their_centre():
    heads = street_heads((128, 256), 10, CITYSCAPES)
    for far in (1e3, 1e6, 1e15, 1e38):
        check(heads._replace(offset=heads.offset * far), (128, 256))


# --- how heads can arrive -------------------------------------------------------------------------


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_heads_in_another_precision_are_fused_as_the_numbers_they_are(dtype):
    heads = street_heads((96, 160), 8, CITYSCAPES)
    check(HeadOutputs(*(h.to(dtype) for h in heads[:3]), 4), (96, 160))


def test_heads_in_any_memory_order_are_the_same():
    heads = street_heads((96, 160), 8, CITYSCAPES)
    expected = fuse(heads, CITYSCAPES, STREET, (96, 160))
    last = [h.contiguous(memory_format=torch.channels_last) for h in heads[:3]]
    turned = [h.transpose(2, 3).contiguous().transpose(2, 3) for h in heads[:3]]
    wide = [torch.cat([h, h], 3)[..., : h.shape[3]] for h in heads[:3]]
    for same in (last, turned, wide):
        assert_same(fuse(HeadOutputs(*same, 4), CITYSCAPES, STREET, (96, 160)), expected)


def test_heads_of_a_training_step_do_not_raise_for_their_gradients():
    heads = street_heads((32, 64), 3, CITYSCAPES)
    tracked = HeadOutputs(*(h.requires_grad_() for h in heads[:3]), 4)
    check(tracked, (32, 64))


def test_the_heads_are_left_as_they_were():
    heads = street_heads((32, 64), 3, CITYSCAPES)
    heads.semantic[0, 0, 0, 0] = np.nan
    before = [h.clone() for h in heads[:3]]
    fuse(heads, CITYSCAPES, STREET, (32, 64))
    for head, copy in zip(heads[:3], before, strict=True):
        torch.testing.assert_close(head, copy, equal_nan=True, rtol=0, atol=0)


def test_a_batch_gives_each_frame_its_own_result():
    frames_of_heads = [street_heads((64, 128), n, CITYSCAPES, seed=n) for n in (0, 3, 9)]
    batch = HeadOutputs(
        *(torch.cat(h) for h in zip(*(f[:3] for f in frames_of_heads), strict=True)), 4
    )
    for memory in (torch.contiguous_format, torch.channels_last):
        heads = HeadOutputs(*(h.contiguous(memory_format=memory) for h in batch[:3]), 4)
        results = fuse_batch(heads, CITYSCAPES, STREET, (64, 128))
        assert len(results) == 3
        for result, alone in zip(results, frames_of_heads, strict=True):
            assert_same(result, fuse(alone, CITYSCAPES, STREET, (64, 128)))


# --- threads, memory and start ------------------------------------------------------------------


def test_the_result_does_not_depend_on_the_number_of_threads():
    heads = street_heads((256, 512), 60, CITYSCAPES)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            results.append(fuse(heads, CITYSCAPES, STREET, (256, 512)))
    finally:
        torch.set_num_threads(before)
    first, *others = ((*result[:3], *result.segments) for result in results)
    for other in others:  # scores too, to the last bit
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_several_python_threads_may_fuse_at_once():
    cases = [street_heads((128, 256), n, CITYSCAPES, seed=n) for n in range(8)]
    expected = [fuse(heads, CITYSCAPES, STREET, (128, 256)) for heads in cases]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda heads: fuse(heads, CITYSCAPES, STREET, (128, 256)), cases * 3)
    for result, wanted in zip(found, expected * 3, strict=True):
        assert_same(result, wanted)


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, '-c', code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


START = """
import torch
from pdl_ros.bench.streets import street_heads
from pdl_ros.fusion import FusionSettings, fuse
from pdl_ros.labels import LabelSet
CITYSCAPES = LabelSet.load('cityscapes')
def run(size):
    heads = street_heads(size, 200, CITYSCAPES)
    return lambda: fuse(heads, CITYSCAPES, FusionSettings(), size)
"""


def test_a_frame_needs_no_more_memory_than_a_small_multiple_of_a_label_map():
    # 64 MB at 1024x2048 is 32 bytes a pixel; the maps themselves take 9.
    done = run_python(
        START
        + """
import resource
small, large = run((64, 128)), run((512, 1024))
torch.set_num_threads(2)
small()
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
result = large()
print((peak() - before) / result.panoptic.numel())
"""
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 9 + 32


def test_a_fork_of_a_process_that_has_fused_can_fuse():
    done = run_python(
        START
        + """
import os
torch.set_num_threads(2)
fuse_small = run((64, 128))
fuse_small()
child = os.fork()
if not child:
    torch.set_num_threads(2)
    fuse_small()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    )
    assert done.returncode == 0, done.stderr


def test_machine_code_from_before_an_edit_of_any_file_of_the_fusion_is_not_run():
    # numba would look only at the file of a function, not at where its constants come from.
    from pdl_ros.fusion import pixels_cpu
    from pdl_ros.runtime.precompile import kernel_sources

    kernel = pixels_cpu.segment_strip
    assert kernel._cache._sources == kernel_sources(kernel.py_func.__code__.co_filename)


def test_a_machine_without_a_writable_folder_compiles_for_each_process():
    done = run_python(
        """
from numba.core import caching
caching.CacheImpl._locator_classes.clear()
from pdl_ros.runtime.compiled import compiled
@compiled
def one_more(x):
    return x + 1
print(one_more(1))
"""
    )
    assert done.stdout == '2\n', done.stderr


def test_a_machine_without_numba_is_told_what_to_install_in_one_sentence(tmp_path: Path):
    (tmp_path / 'numba.py').write_text("raise ImportError('no numba here')")
    code = START + 'run((8, 8))()'
    done = run_python(code, PYTHONPATH=os.pathsep.join([str(tmp_path), os.getcwd()]))
    assert done.stderr.strip().splitlines()[-1].startswith('pdl_ros.errors.PdlError: ')
    assert 'pip install numba' in done.stderr
    assert 'no numba here' in done.stderr
