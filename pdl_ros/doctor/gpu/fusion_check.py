"""The GPU's fusion beside its definition. On a CPU its kernels run in Triton's interpreter, if
TRITON_INTERPRET=1 was set before they were imported.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from pdl_ros.bench.hard_heads import TINY, hard_frame, hard_settings
from pdl_ros.bench.streets import noise_heads, street_heads
from pdl_ros.doctor.gpu.outcome import NOT_HERE, Outcome, Trial, judged
from pdl_ros.fusion import FusionSettings, PanopticResult, fuse_reference
from pdl_ros.fusion.entry import fuse_each
from pdl_ros.labels import LabelSet
from pdl_ros.network.heads import HeadOutputs

_SIZES = ((1024, 2048), (256, 512), (75, 131))
_HARD_FRAMES, _TRIED_FRAMES = 300, 2
# Read between the heatmap's samples (at a mask's centroid), objectness is rounded too.
_SCORES = ('score', 'class_score', 'objectness')


def check_fusion(trial: Trial) -> Outcome:
    """Compare streets, noise and hard frames, bit for bit."""
    if find_spec('triton') is None:
        return Outcome(
            NOT_HERE, 'without Triton the plain definition runs, slowly: pip install triton'
        )
    cityscapes = LabelSet.load('cityscapes')
    cases: list[Any] = []
    if trial.on_gpu:
        streets = street_heads((256, 512), 40, cityscapes)
        cases += [(streets, cityscapes, FusionSettings(), size, None) for size in _SIZES]
        noise = noise_heads((256, 512), cityscapes)
        cases.append((noise, cityscapes, FusionSettings(), (256, 512), None))
    else:
        streets = street_heads((32, 64), 3, cityscapes)
        cases.append((streets, cityscapes, FusionSettings(), (32, 64), None))
    cases += [_hard(seed) for seed in range(_HARD_FRAMES if trial.on_gpu else _TRIED_FRAMES)]
    wrong = {}
    for number, (heads, *how) in enumerate(cases):
        said = difference(_kernels(heads.to(trial.device), *how), fuse_reference(heads, *how))
        if said:
            wrong[str(number)] = said
    numbers = {'frames': len(cases), 'different': wrong}
    says = f'{len(cases)} frames, hard ones among them, give the definition bit for bit'
    if wrong:
        first = next(iter(wrong.values()))
        says = f'{len(wrong)} of {len(cases)} frames differ from the definition; the first: {first}'
    return judged(not wrong, says, numbers)


def difference(ours: PanopticResult, plain: PanopticResult) -> str:
    """Return where two results on the host differ, '' where they do not: label maps and tables
    bit for bit, scores to 1e-5.
    """
    for name in ('semantic', 'instance', 'panoptic'):
        a, b = getattr(ours, name), getattr(plain, name)
        if a.dtype != b.dtype or a.shape != b.shape:
            return f'the {name} map is {a.dtype} {tuple(a.shape)}, not {b.dtype} {tuple(b.shape)}'
        if not torch.equal(a, b):
            where = torch.nonzero(a != b)
            return f'the {name} map in {len(where)} pixels, such as {where[:3].tolist()}'
    columns = zip(ours.segments._fields, ours.segments, plain.segments, strict=True)
    for name, a, b in columns:
        if (a.dtype, a.shape) != (b.dtype, b.shape):
            return f'the column {name} is {a.dtype} {tuple(a.shape)}'
        same = torch.allclose(a, b, 1e-5, 1e-5) if name in _SCORES else torch.equal(a, b)
        if not same:
            return f'the column {name}: {a.tolist()[:5]}, not {b.tolist()[:5]}'
    return ''


def _kernels(
    heads: HeadOutputs,
    label_set: LabelSet,
    settings: FusionSettings,
    size: tuple[int, int],
    valid: tuple[int, int] | None,
) -> PanopticResult:
    """Fuse by the GPU's kernels on any device."""
    from pdl_ros.fusion.fuse_triton import fuse_frame

    return fuse_each(fuse_frame, heads, label_set, settings, size, valid)[0].cpu()


def _hard(seed: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(seed)

    def choose(values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    heads, size, valid = hard_frame(rng, choose)
    return heads, TINY, hard_settings(choose), size, valid
