"""The fusion worked out by hand, slowly and plainly, on a tiny label set; heads to try it on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from pdl_ros.fusion import FusionSettings, PanopticResult, fuse
from pdl_ros.labels import LabelClass, LabelSet
from pdl_ros.network.heads import HeadOutputs

ROAD, CAR, WALL, DOG = range(4)
VOID = 65535
LABEL_SET = LabelSet(
    'tiny',
    (
        LabelClass('road', (1, 1, 1), False),
        LabelClass('car', (2, 2, 2), True),
        LabelClass('wall', (3, 3, 3), False),
        LabelClass('dog', (4, 4, 4), True),
    ),
    label_divisor=100,
)
ALL = FusionSettings(nms_kernel=3, stuff_area=0)
EVERY = replace(ALL, nms_kernel=1)  # neighbours are centres of their own


def heads_of(semantic, centers=(), offset=None, stride: int = 1) -> HeadOutputs:
    """Make heads that say these (H, W) classes, {(y, x): height} peaks and (2, H, W) offsets."""
    semantic = torch.as_tensor(semantic)
    logits = 4 * torch.nn.functional.one_hot(semantic.long(), 4).permute(2, 0, 1)[None].float()
    heatmap = torch.zeros(1, 1, *semantic.shape)
    for (y, x), height in dict(centers).items():
        heatmap[0, 0, y, x] = height
    offset = torch.zeros(2, *semantic.shape) if offset is None else torch.as_tensor(offset)
    return HeadOutputs(logits, heatmap, offset[None].float(), stride)


def run(heads: HeadOutputs, fusion: FusionSettings = ALL, label_set=LABEL_SET) -> PanopticResult:
    return fuse(heads, label_set, fusion, tuple(heads.semantic.shape[-2:]))


def assert_same(a: PanopticResult, b: PanopticResult, rounding: float = 0.0) -> None:
    """Labels are the same; what is not a whole number may differ by `rounding`, relatively."""
    for x, y in zip((*a[:3], *a.segments), (*b[:3], *b.segments), strict=True):
        assert torch.allclose(x, y, rounding, rounding) if x.is_floating_point() else x.equal(y)


def centers_by_hand(heatmap: np.ndarray, fusion: FusionSettings) -> list[tuple[int, int]]:
    height, width = heatmap.shape
    radius = fusion.nms_kernel // 2
    kept = np.where(heatmap > np.float32(fusion.center_threshold), heatmap, np.float32(-1))
    peaks = {}
    for y, x in np.ndindex(height, width):
        window = kept[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1]
        peaks[y, x] = kept[y, x] if kept[y, x] == window.max() else -1
    limit = 0
    if len(peaks) >= fusion.top_k:
        limit = max(sorted(peaks.values(), reverse=True)[fusion.top_k - 1], 0)
    return [at for at, value in peaks.items() if value > limit]


def components_by_hand(semantic: np.ndarray, fusion: FusionSettings) -> list[list]:
    """Return the pixels of each large enough part, the part whose first pixel comes first first."""
    parts: list[list] = []
    left = {tuple(at) for at in np.argwhere((semantic == CAR) | (semantic == DOG)).tolist()}
    while left:
        todo = [min(left)]
        left.discard(todo[0])
        part = []
        while todo:
            y, x = todo.pop()
            part.append((y, x))
            for near in np.ndindex(3, 3):
                at = (y + near[0] - 1, x + near[1] - 1)
                if at in left and semantic[at] == semantic[y, x]:
                    left.discard(at)
                    todo.append(at)
        parts.append(part)
    return [part for part in parts if len(part) >= fusion.stuff_area][: fusion.top_k]


def split_by_hand(pixels_of, centers, semantic, fusion: FusionSettings):
    """Move the pixels of the second class of a centre, of two classes, to a centre like it."""
    after = dict(pixels_of)
    for index, pixels in pixels_of.items():
        cars, dogs = ([p for p in pixels if semantic[tuple(p)] == c] for c in (CAR, DOG))
        most, least = (cars, dogs) if len(cars) >= len(dogs) else (dogs, cars)
        if len(least) >= fusion.outvoted_area and 10 * len(least) >= 3 * len(pixels):
            after[index], after[len(centers) + index] = most, least
    middles = {i: tuple(np.mean(pixels, 0)) for i, pixels in after.items() if i >= len(centers)}
    return after, [*centers, *(middles.get(len(centers) + i) for i in range(len(centers)))]


def fuse_by_hand(logits, heatmap, offset, fusion: FusionSettings):
    """Return (semantic, instance, panoptic, rows) of (C, H, W), (H, W), (2, H, W) float32."""
    semantic = logits.argmax(0)
    centers = centers_by_hand(heatmap, fusion)
    pixels_of: dict[int, list] = {}
    for y, x in np.argwhere((semantic == CAR) | (semantic == DOG)):
        target = np.float32(y) + offset[0, y, x], np.float32(x) + offset[1, y, x]
        distances = [
            np.sqrt(np.square(np.float32(cy) - target[0]) + np.square(np.float32(cx) - target[1]))
            for cy, cx in centers
        ]
        if centers:
            pixels_of.setdefault(distances.index(min(distances)), []).append((y, x))
    has_centers, peaks = bool(centers), centers
    if not has_centers and fusion.without_center == 'components':
        pixels_of = dict(enumerate(components_by_hand(semantic, fusion)))
        centers = [tuple(np.mean(pixels, 0)) for pixels in pixels_of.values()]
    if fusion.outvoted_area:
        pixels_of, centers = split_by_hand(pixels_of, centers, semantic, fusion)
    instance, panoptic = np.zeros(semantic.shape, int), np.full(semantic.shape, VOID)
    probability = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum(0)
    rows, counter = [], dict.fromkeys(range(4), 0)
    for index in sorted(pixels_of):
        pixels = np.array(pixels_of[index])
        ys, xs = pixels[:, 0], pixels[:, 1]
        votes = [list(semantic[ys, xs]).count(c) for c in range(4)]
        class_id = votes.index(max(votes))  # a tie goes to the smallest class
        center = centers[index]
        at = peaks[index % len(peaks)] if has_centers else center
        at = at if fusion.objectness == 'center' else (int(ys.mean()), int(xs.mean()))
        objectness = heatmap[at] if has_centers else 0
        score = objectness * probability[class_id, ys, xs].mean()
        doubtful = has_centers and (not fusion.doubtful_area or len(pixels) < fusion.doubtful_area)
        if doubtful and fusion.score_threshold and score < fusion.score_threshold:
            continue
        counter[class_id] += 1
        running = len(rows) + 1
        instance[ys, xs] = running
        panoptic[ys, xs] = class_id * 100 + counter[class_id]
        rows.append(
            {
                'id': class_id * 100 + counter[class_id],
                'class_id': class_id,
                'is_thing': True,
                'instance_id': running,
                'area': len(pixels),
                'score': score,
                'objectness': objectness,
                'class_score': probability[class_id, ys, xs].mean(),
                'box': [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1],
                'center': [center[1], center[0]],
            }
        )
    for class_id in (ROAD, WALL):
        area = (semantic == class_id).sum()
        if area and area >= fusion.stuff_area:
            panoptic[semantic == class_id] = class_id * 100
            nothing = dict.fromkeys(('instance_id', 'score', 'objectness', 'class_score'), 0)
            row = {'id': class_id * 100, 'class_id': class_id, 'is_thing': False, 'area': area}
            rows.append({**row, **nothing, 'box': [0] * 4, 'center': [0] * 2})
    return semantic, instance, panoptic, rows


def assert_equals_by_hand(result: PanopticResult, semantic, instance, panoptic, rows) -> None:
    assert result.semantic.tolist() == semantic.tolist()
    assert result.instance.tolist() == instance.tolist()
    assert result.panoptic.tolist() == panoptic.tolist()
    found = result.segments.rows()
    assert len(found) == len(rows)
    for row, expected in zip(found, rows, strict=True):
        assert row.keys() == expected.keys()
        for column, value in expected.items():
            assert row[column] == pytest.approx(value, rel=1e-5, abs=1e-6), column


def assert_table_describes_maps(result: PanopticResult, label_set=LABEL_SET) -> None:
    """Assert that maps and table tell of the same segments."""
    semantic, instance, panoptic = (m.numpy() for m in result[:3])
    assert (result.semantic.dtype, result.instance.dtype) == (torch.uint8, torch.int32)
    assert result.panoptic.dtype == torch.int32
    assert set(np.unique(semantic)) <= {*range(label_set.num_classes), 255}
    assert (panoptic[semantic == 255] == VOID).all()
    rows = result.segments.rows()
    ids = [row['id'] for row in rows]
    assert len(set(ids)) == len(ids)
    assert set(np.unique(panoptic)) - {VOID} == set(ids)
    things = [row for row in rows if row['is_thing']]
    assert rows[: len(things)] == things
    assert [row['instance_id'] for row in things] == list(range(1, len(things) + 1))
    assert set(np.unique(instance)) - {0} == {row['instance_id'] for row in things}
    for row in rows:
        mask = panoptic == row['id']
        assert row['area'] == mask.sum() > 0
        assert row['class_id'] == row['id'] // label_set.label_divisor
        assert row['is_thing'] == label_set.classes[row['class_id']].is_thing
        assert set(instance[mask]) == {row['instance_id']}
        ys, xs = np.nonzero(mask)
        if row['is_thing']:
            assert row['box'] == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


fusion_settings = st.builds(
    FusionSettings,
    center_threshold=st.sampled_from([0.0, 0.1, 0.5]),
    nms_kernel=st.sampled_from([1, 3, 5, 7, 15]),
    top_k=st.integers(1, 8) | st.just(200),
    stuff_area=st.integers(0, 12),
    without_center=st.sampled_from(['void', 'components']),
    outvoted_area=st.sampled_from([0, 1, 3, 6]),
    objectness=st.sampled_from(['center', 'mask_centroid']),
    score_threshold=st.sampled_from([0.0, 0.137, 0.39]),  # no score is just there
    doubtful_area=st.sampled_from([0, 3, 6]),
    align_corners=st.booleans(),
)


@st.composite
def head_arrays(draw) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, heatmap and offset of a small map, with plateaus, ties and things that wander."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.integers(1, 7)), draw(st.integers(1, 9))
    logits = rng.normal(0, 3, (4, *shape)).astype(np.float32)
    if draw(st.booleans()):  # one-hot, in patches
        classes = np.kron(rng.integers(0, 4, shape), np.ones((2, 3), int))[: shape[0], : shape[1]]
        logits = np.eye(4, dtype=np.float32)[classes].transpose(2, 0, 1) * 4
    steps = draw(st.sampled_from([2, 4, 20]))  # few steps make plateaus
    heatmap = (rng.integers(-1, steps + 1, shape) / np.float32(steps)).astype(np.float32)
    if draw(st.integers(0, 3)) == 0:
        heatmap[:] = 0  # no centre
    offset = rng.normal(0, 3, (2, *shape)).astype(np.float32)
    if draw(st.booleans()):  # halves make centres equally far
        offset = np.round(offset * 2) / 2
    return logits, heatmap, offset


def tensors(logits, heatmap, offset, stride=1) -> HeadOutputs:
    return HeadOutputs(
        *(torch.from_numpy(a)[None] for a in (logits, heatmap[None], offset)), stride
    )
