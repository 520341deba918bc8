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

from pdl_ros.bench.streets import noise_heads, street_heads
from pdl_ros.fusion import FusionSettings, PanopticResult, fuse, fuse_batch, fuse_reference
from pdl_ros.labels import LabelClass, LabelSet
from pdl_ros.network.heads import HeadOutputs

CITYSCAPES = LabelSet.load('cityscapes')
STREET = FusionSettings(stuff_area=100)
BROKEN = [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e19, 1e-40]


def label_set_of(classes: int, things: int, divisor: int = 100) -> LabelSet:
    """Make classes of which every other one is a thing, until there are `things` of them."""
    return LabelSet(
        f'{classes} classes',
        tuple(LabelClass(str(c), (c, c, c), c % 2 == 1 and c < 2 * things) for c in range(classes)),
        divisor,
    )


TINY = label_set_of(5, 2)


def assert_same(fast: PanopticResult, plain: PanopticResult) -> None:
    for name in ('semantic', 'instance', 'panoptic'):
        a, b = getattr(fast, name), getattr(plain, name)
        assert a.dtype == b.dtype
        assert torch.equal(a, b), f'{name} differs at {torch.nonzero(a != b)[:5].tolist()}'
    for name, a, b in zip(fast.segments._fields, fast.segments, plain.segments, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape), name
        if name in ('score', 'class_score'):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
        else:
            assert torch.equal(a, b), name


def check(heads: HeadOutputs, size, fusion=STREET, label_set=CITYSCAPES, valid=None) -> None:
    assert_same(
        fuse(heads, label_set, fusion, size, valid),
        fuse_reference(heads, label_set, fusion, size, valid),
    )


@st.composite
def frames(draw) -> tuple[HeadOutputs, tuple[int, int], tuple[int, int] | None]:
    """Heads of up to 12x80 samples, an output size, and the part of the input that is image."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    h, w = draw(st.integers(1, 12)), draw(st.integers(1, 80))
    patch = draw(st.sampled_from([1, 4, 20]))  # large patches: classes that cannot win are skipped
    shape = (-(-h // patch), -(-w // patch))
    kron = np.ones((1, patch, patch))
    logits = np.kron(rng.normal(0, 4, (5, *shape)), kron)[:, :h, :w]
    logits += rng.normal(0, draw(st.sampled_from([0, 0.1, 3])), logits.shape)
    if draw(st.booleans()):  # classes tie
        logits = np.round(logits / 2)
    steps = draw(st.sampled_from([2, 4, 50]))  # few steps make plateaus
    heatmap = rng.integers(-1, steps + 1, (1, h, w)) / steps
    heatmap *= rng.random((1, h, w)) < draw(st.sampled_from([0, 0.02, 0.3, 1]))
    offset = rng.normal(0, draw(st.sampled_from([1, 30, 1000])), (2, h, w))
    if draw(st.booleans()):  # centres are equally far
        offset = np.round(offset * 2) / 2
    heads = [a.astype(np.float32) for a in (logits, heatmap, offset)]
    for value in draw(st.lists(st.sampled_from(BROKEN), max_size=4)):
        head = heads[draw(st.integers(0, 2))]
        if draw(st.booleans()):
            head.flat[draw(st.integers(0, head.size - 1))] = value
        else:  # every class, at one place
            head[:, draw(st.integers(0, h - 1)), draw(st.integers(0, w - 1))] = value
    stride = draw(st.sampled_from([1, 4]))
    size = draw(
        st.just((h * stride, w * stride)) | st.tuples(st.integers(1, 90), st.integers(1, 140))
    )
    valid = draw(st.none() | st.tuples(st.integers(1, h * stride), st.integers(1, w * stride)))
    return HeadOutputs(*(torch.from_numpy(a)[None] for a in heads), stride), size, valid


fusion_settings = st.builds(
    FusionSettings,
    center_threshold=st.sampled_from([0.0, 0.1, 0.5]),
    nms_kernel=st.sampled_from([1, 3, 7, 41]),
    top_k=st.integers(1, 8) | st.sampled_from([200, 5000]),
    stuff_area=st.integers(0, 300),
    objectness=st.sampled_from(['center', 'mask_centroid']),
    score=st.sampled_from(['both', 'semantic', 'instance']),
    align_corners=st.booleans(),
    rescale=st.booleans(),
)


@settings(deadline=None, max_examples=250)
@given(frames(), fusion_settings, st.sampled_from([2, 100]))
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
