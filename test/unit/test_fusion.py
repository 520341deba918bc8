"""The fusion gives what the published definition gives, pixel for pixel, and never loses its
mind.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdl_ros.bench.hard_heads import label_set_of
from pdl_ros.bench.streets import street_heads
from pdl_ros.errors import PdlError
from pdl_ros.fusion import FusionSettings, PanopticResult, fuse, fuse_reference
from pdl_ros.fusion.centers import find_centers
from pdl_ros.fusion.sampling import sample, sampling_axes
from pdl_ros.labels import LabelClass, LabelSet
from pdl_ros.network.heads import HeadOutputs
from pdl_ros.network.layers import resize

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


# --- against a definition that is slow and plain ---------------------------------------------


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


def test_a_row_of_cars_without_any_centre_is_void_as_published_or_kept_where_it_is_asked_for():
    classes = np.zeros((12, 20), int)
    classes[2:5, 2:8] = classes[8:11, 12:18] = CAR
    classes[0, 19] = CAR  # a speck
    classes[5, 8] = classes[2:4, 12:14] = DOG  # touches the first car at a corner, and a dog
    heads = heads_of(classes)
    published = run(heads)
    assert (published.panoptic.numpy()[classes > 0] == VOID).all()
    kept = replace(ALL, without_center='components', stuff_area=4)
    rows = [row for row in run(heads, kept).segments.rows() if row['is_thing']]
    assert [(r['id'], r['area'], r['center']) for r in rows] == [
        (CAR * 100 + 1, 18, [4.5, 3.0]),
        (DOG * 100 + 1, 4, [12.5, 2.5]),
        (CAR * 100 + 2, 18, [14.5, 9.0]),
    ]
    for score, has_score in (('both', False), ('instance', False), ('semantic', True)):
        for row in run(heads, replace(kept, score=score)).segments.rows():
            assert row['objectness'] == 0, 'who filters by it drops them all'
            assert (row['score'] > 0) == (has_score and row['is_thing'])


def test_a_single_centre_keeps_the_published_rule_for_all_things_of_a_frame():
    classes = np.zeros((12, 20), int)
    classes[2:5, 2:8] = classes[8:11, 12:18] = CAR
    heads = heads_of(classes, {(3, 4): 0.5})
    assert_same(run(heads), run(heads, replace(ALL, without_center='components')))


@pytest.mark.parametrize('function', [fuse, fuse_reference])
def test_a_car_behind_a_dog_that_took_its_centre_is_a_car_where_it_is_asked_for(function):
    classes = np.zeros((12, 20), int)
    classes[2:8, 2:12] = CAR
    classes[4:10, 8:14] = DOG
    heads = heads_of(classes, {(6, 9): 0.5})

    def things(fusion: FusionSettings) -> list[tuple]:
        rows = function(heads, LABEL_SET, fusion, classes.shape).segments.rows()
        return [
            (row['id'], row['area'], row['objectness'], row['box'], row['center'])
            for row in rows
            if row['is_thing']
        ]

    car, dog = int((classes == CAR).sum()), int((classes == DOG).sum())
    assert (car, dog) == (44, 36)
    joined = [(CAR * 100 + 1, 80, 0.5, [2, 2, 14, 10], [9, 6])]
    assert things(replace(ALL, stuff_area=4)) == joined
    split = replace(ALL, stuff_area=4, outvoted_area=36)
    apart = [
        (CAR * 100 + 1, car, 0.5, [2, 2, 12, 8], [9, 6]),
        (DOG * 100 + 1, dog, 0.5, [8, 4, 14, 10], [10.5, 6.5]),
    ]
    assert things(split) == apart
    assert things(replace(split, outvoted_area=37)) == joined, 'too small'
    classes[4:10, 11:14] = 0
    heads = heads_of(classes, {(6, 9): 0.5})
    assert (classes == DOG).sum() == 18
    assert len(things(replace(split, outvoted_area=18))) == 1, 'an edge, or doubt, is no thing'


@pytest.mark.parametrize('function', [fuse, fuse_reference])
def test_a_thing_that_is_hardly_believed_is_void_where_it_is_asked_for(function):
    classes = np.zeros((12, 24), int)
    cars = np.s_[2:5, 2:8], np.s_[2:5, 10:14], np.s_[8:11, 12:18]
    for car in cars:
        classes[car] = CAR
    heads = heads_of(classes, {(3, 4): 0.25, (3, 12): 0.5, (9, 14): 0.75})

    def ids(threshold: float, area: int = 0) -> list[tuple[int, int]]:
        fusion = replace(ALL, score='instance', score_threshold=threshold, doubtful_area=area)
        result = function(heads, LABEL_SET, fusion, classes.shape)
        assert_table_describes_maps(result)
        assert (result.semantic.numpy() == classes).all(), 'the class stays'
        return [(int(result.panoptic[car].max()), int(result.instance[car].max())) for car in cars]

    first, second, third = (CAR * 100 + n for n in (1, 2, 3))
    assert ids(0) == ids(0.25) == [(first, 1), (second, 2), (third, 3)], 'as much is enough'
    assert ids(0.3) == [(VOID, 0), (first, 1), (second, 2)]
    assert ids(0.9) == [(VOID, 0)] * 3
    assert ids(0.9, 18) == [(first, 1), (VOID, 0), (second, 2)], 'of 18, 12 and 18 pixels'
    assert ids(0.9, 19) == [(VOID, 0)] * 3


def test_what_is_too_large_to_be_doubted_is_so_at_every_output_size():
    classes = np.zeros((12, 20), int)
    classes[2:6, 2:8] = CAR
    slope = {(3, 4): 0.25, (3, 5): 0.2, (4, 4): 0.15, (4, 5): 0.1}  # a flat one has four centres
    heads = heads_of(classes, slope, stride=4)
    for area, things in ((300, 1), (500, 0)):  # it has 4 × 6 × 16 of the network's pixels
        fusion = replace(ALL, nms_kernel=15, score_threshold=0.9, doubtful_area=area)
        for size in ((24, 40), (48, 80), (96, 160)):
            rows = fuse(heads, LABEL_SET, fusion, size).segments.rows()
            assert sum(row['is_thing'] for row in rows) == things, (area, size)


def test_what_takes_the_place_of_a_centre_is_kept_though_its_score_is_nothing():
    classes = np.zeros((12, 20), int)
    classes[2:5, 2:8] = CAR
    fusion = replace(ALL, without_center='components', stuff_area=4)
    heads = heads_of(classes, {})
    assert_same(run(heads, fusion), run(heads, replace(fusion, score_threshold=0.5)))


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 9]))
def test_of_many_thing_classes_one_splits_off_and_ids_have_room_for_few(seed, area):
    rng = np.random.default_rng(seed)
    labels = label_set_of(6, 5, 3)
    blocks = np.kron(rng.integers(0, 6, (3, 4)), np.ones((4, 4), int))
    logits = np.eye(6, dtype=np.float32)[blocks].transpose(2, 0, 1) * 3
    logits += rng.normal(0, 1, logits.shape).astype(np.float32)
    heatmap = (rng.random(blocks.shape) > 0.95).astype(np.float32)
    offset = rng.normal(0, 2, (2, *blocks.shape)).astype(np.float32)
    fusion = replace(ALL, outvoted_area=area)
    heads = tensors(logits, heatmap, offset)
    ours, theirs = (f(heads, labels, fusion, blocks.shape) for f in (fuse, fuse_reference))
    assert_same(ours, theirs, 1e-5)
    assert_table_describes_maps(ours, labels)


@settings(deadline=None, max_examples=300)
@given(head_arrays(), fusion_settings)
def test_maps_and_segments_are_those_of_the_paper_worked_out_by_hand(arrays, fusion):
    by_hand = fuse_by_hand(*arrays, fusion)
    for function in (fuse, fuse_reference):
        result = function(tensors(*arrays), LABEL_SET, fusion, arrays[1].shape)
        assert_equals_by_hand(result, *by_hand)


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


BROKEN = [np.nan, np.inf, -np.inf, 3e38, -3e38]


@settings(deadline=None, max_examples=200)
@given(
    head_arrays(),
    fusion_settings,
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 500), st.sampled_from(BROKEN))),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
def test_a_diverged_network_gives_nonsense_but_neither_a_crash_nor_unknown_ids(
    arrays, fusion, breaks, size
):
    for head, position, value in breaks:
        arrays[head].flat[position % arrays[head].size] = value
    for stride, out in ((1, arrays[1].shape), (4, size)):
        result = fuse(tensors(*arrays, stride), LABEL_SET, fusion, out)
        assert result.panoptic.shape == out
        assert_table_describes_maps(result)


@pytest.mark.parametrize('head', [0, 1, 2])
@pytest.mark.parametrize('value', BROKEN)
def test_a_head_of_nothing_but_nonsense_does_not_stop_the_node(head, value):
    heads = heads_of([[CAR, DOG], [ROAD, CAR]], {(0, 0): 1.0})
    heads[head][:] = value
    assert_table_describes_maps(run(heads))


# --- the output size ------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(head_arrays(), st.booleans(), st.sampled_from([1, 3, 7]), st.integers(0, 40))
def test_twice_the_output_size_is_a_network_with_twice_the_stride(arrays, align, kernel, area):
    height, width = arrays[1].shape
    extra = 1 if align else 0
    size = tuple(8 * (edge - extra) + extra for edge in (height, width))
    fusion = FusionSettings(nms_kernel=kernel, stuff_area=area, align_corners=align)
    logits, heatmap, offset = arrays
    doubled = replace(fusion, nms_kernel=2 * kernel - 1, stuff_area=4 * area)
    if min(size) > 1:  # one sample has no length to be scaled
        assert_same(
            fuse(tensors(*arrays, stride=4), LABEL_SET, fusion, size),
            fuse(tensors(logits, heatmap, 2 * offset, stride=8), LABEL_SET, doubled, size),
        )


def at_full_size(heads: HeadOutputs, size: tuple[int, int], stretch=(1.0, 1.0)) -> HeadOutputs:
    axes = sampling_axes(heads, size, None, align_corners=False)
    semantic, heatmap, offset = (sample(h, axes) for h in heads[:3])
    return HeadOutputs(semantic, heatmap, offset * torch.tensor(stretch).view(2, 1, 1), 1)


@settings(deadline=None, max_examples=100)
@given(head_arrays(), st.integers(1, 19), st.integers(1, 19), st.booleans())
def test_heads_are_resized_as_pytorch_resizes_them(arrays, height, width, align_corners):
    heads = tensors(*arrays, stride=4)
    axes = sampling_axes(heads, (height, width), None, align_corners)
    for head in heads[:3]:
        expected = resize(head, (height, width), align_corners)
        assert (sample(head, axes) - expected).abs().max() < 1e-5


@settings(deadline=None, max_examples=50)
@given(head_arrays(), st.data(), st.booleans())
def test_padding_is_cut_off_after_resizing_as_published(arrays, data, align_corners):
    heads = tensors(*arrays, stride=4)
    whole = tuple(4 * n - 3 * align_corners for n in arrays[1].shape)
    valid = tuple(data.draw(st.integers(2, n)) if n > 1 else 1 for n in whole)
    cut = sampling_axes(heads, valid, valid, align_corners)
    full = sampling_axes(heads, whole, None, align_corners)
    for head in heads[:3]:
        expected = sample(head, full)[..., : valid[0], : valid[1]]
        assert (sample(head, cut) - expected).abs().max() < 1e-5


@settings(deadline=None, max_examples=50)
@given(head_arrays(), st.integers(2, 5), st.integers(2, 5))
def test_offsets_stretch_with_each_axis_unless_detectron2_is_asked_for(arrays, down, across):
    heads = tensors(*arrays, stride=2)
    height, width = arrays[1].shape
    size = (height * down, width * across)
    fusion = FusionSettings(nms_kernel=1, stuff_area=0)
    assert_same(
        fuse(heads, LABEL_SET, fusion, size),
        run(at_full_size(heads, size, (down / 2, across / 2)), fusion),
        rounding=1e-5,  # of the scores: logits are sampled here and given there
    )
    unscaled = FusionSettings(nms_kernel=3, stuff_area=9, rescale=False)
    assert_same(
        fuse(heads, LABEL_SET, unscaled, size),
        run(at_full_size(heads, size), replace(unscaled, rescale=True)),
        rounding=1e-5,
    )


def street_of_cars(size: tuple[int, int], stride: int = 4) -> HeadOutputs:
    """Make heads of a road with three cars in the middle third of the height, and their Gaussians
    as on Cityscapes: sigma is 10 pixels of the network's input.
    """
    high, wide = size[0] // stride, size[1] // stride
    y, x = torch.meshgrid(torch.arange(high), torch.arange(wide), indexing='ij')
    middle, cars = high // 2, torch.tensor([wide * (2 * i + 1) // 6 for i in range(3)])
    squares = (y - middle) ** 2 + (x - cars.view(3, 1, 1)) ** 2
    semantic = torch.where((y - middle).abs() < high / 6, CAR, ROAD)
    offset = stride * torch.stack([middle - y, cars[squares.argmin(0)] - x])
    heads = heads_of(semantic, (), offset, stride)
    heatmap = 0.9 * torch.exp(-squares.amin(0) * stride**2 / 200)
    noise = torch.randn(heatmap.shape, generator=torch.Generator().manual_seed(0))
    return heads._replace(center_heatmap=(heatmap + 0.01 * noise)[None, None])


@pytest.mark.parametrize('align', [False, True])
@pytest.mark.parametrize(
    'size', [(257, 511), (160, 320), (80, 160), (43, 86), (20, 40), (300, 90), (600, 40)]
)
def test_three_cars_are_three_with_the_same_scores_however_small_the_output_is(size, align):
    fusion = replace(FusionSettings(stuff_area=0), align_corners=align)
    heads = street_of_cars((512, 1024))
    network = (509, 1021) if align else (512, 1024)
    found, whole = (fuse(heads, LABEL_SET, fusion, s).segments for s in (size, network))
    assert found.is_thing.sum() == whole.is_thing.sum() == 3
    if size[0] < network[0]:
        torch.testing.assert_close(found.objectness, whole.objectness, rtol=0, atol=0)
    share = torch.tensor([size[1] / network[1], size[0] / network[0]])
    left, right = (center[:3][center[:3, 0].argsort()] for center in (found.center, whole.center))
    assert (left - right * share).abs().max() < 1.5


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(0, 30), st.integers(8, 256), st.integers(8, 512))
def test_a_smaller_output_never_shows_more_things_than_the_network_has_centres(
    seed, count, high, wide
):
    cityscapes = LabelSet.load('cityscapes')
    heads = street_heads((256, 512), count, cityscapes, seed)
    heatmap = sample(heads.center_heatmap, sampling_axes(heads, (256, 512), None, False))[0, 0]
    found = fuse(heads, cityscapes, FusionSettings(stuff_area=0), (high, wide))
    assert found.segments.is_thing.sum() <= len(find_centers(heatmap, 0.1, 7, 200))


# --- the rules, one by one ------------------------------------------------------------------------


def test_a_street_without_things_is_all_stuff():
    result = run(heads_of([[ROAD, WALL], [ROAD, ROAD]]))
    assert result.panoptic.tolist() == [[0, 200], [0, 0]]
    assert not result.instance.any()
    assert [row['area'] for row in result.segments.rows()] == [3, 1]


def test_things_without_any_centre_are_void_but_keep_their_class():
    result = run(heads_of([[CAR, ROAD], [DOG, ROAD]]))
    assert result.panoptic.tolist() == [[VOID, 0], [VOID, 0]]
    assert result.semantic.tolist() == [[CAR, ROAD], [DOG, ROAD]]
    assert not result.instance.any()


def test_stuff_is_void_below_the_area_and_kept_at_it():
    heads = heads_of([[ROAD, ROAD, WALL], [ROAD, WALL, ROAD]])
    result = run(heads, replace(ALL, stuff_area=4))
    assert result.panoptic.tolist() == [[0, 0, VOID], [0, VOID, 0]]
    result = run(heads, replace(ALL, stuff_area=5))
    assert (result.panoptic == VOID).all()
    assert result.segments.rows() == []


def test_a_one_pixel_image_is_segmented():
    for align in (False, True):
        fusion = replace(ALL, align_corners=align)
        assert run(heads_of([[ROAD]]), fusion).panoptic.tolist() == [[0]]
        assert run(heads_of([[CAR]], {(0, 0): 0.5}), fusion).panoptic.tolist() == [[101]]


def test_with_as_many_peaks_as_allowed_the_weakest_and_its_ties_are_dropped():
    heads = heads_of([[CAR] * 9], {(0, 0): 0.9, (0, 2): 0.8, (0, 4): 0.5, (0, 6): 0.5, (0, 8): 1})
    for top_k, kept in ((200, [0, 2, 4, 6, 8]), (5, [0, 2, 8]), (4, [0, 2, 8]), (3, [0, 8])):
        centers = run(heads, replace(ALL, top_k=top_k)).segments.center[:, 0]
        assert centers.tolist() == kept


def test_every_pixel_of_a_flat_peak_is_a_centre_as_published():
    peak = {(1, 1): 0.7, (1, 2): 0.7, (2, 1): 0.7, (2, 2): 0.7}
    result = run(heads_of([[CAR] * 4] * 4, peak))
    assert result.segments.center.tolist() == [[1, 1], [2, 1], [1, 2], [2, 2]]


def test_a_heatmap_at_the_threshold_is_no_centre():
    assert not run(heads_of([[CAR]], {(0, 0): 0.1})).instance.any()


def test_a_pixel_between_two_centres_goes_to_the_upper_left_one():
    result = run(heads_of([[CAR] * 5], {(0, 0): 0.5, (0, 4): 0.9}))
    assert result.instance.tolist() == [[1, 1, 1, 2, 2]]


def test_an_instance_is_what_most_of_its_pixels_are_and_the_smaller_class_on_a_tie():
    most = run(heads_of([[DOG, DOG, CAR]], {(0, 1): 1}))
    assert most.panoptic.tolist() == [[301] * 3]
    assert most.semantic.tolist() == [[DOG, DOG, CAR]]
    assert run(heads_of([[DOG, CAR]], {(0, 0): 1})).panoptic.tolist() == [[101] * 2]


def test_instances_are_numbered_within_their_class_in_reading_order():
    result = run(heads_of([[CAR, DOG, CAR]], {(0, 0): 0.4, (0, 1): 0.9, (0, 2): 0.5}), EVERY)
    assert result.panoptic.tolist() == [[101, 301, 102]]
    assert result.instance.tolist() == [[1, 2, 3]]


def test_a_centre_to_which_no_pixel_points_is_no_segment_and_leaves_no_gap():
    result = run(heads_of([[ROAD, ROAD, CAR]], {(0, 0): 1, (0, 2): 0.5}))
    assert result.panoptic.tolist() == [[0, 0, 101]]
    assert result.instance.tolist() == [[0, 0, 1]]


def test_more_instances_than_the_divisor_counts_do_not_become_another_class():
    # Three ids a class: the fourth car would be wall 0 by arithmetic, the fifth wall 1.
    narrow = replace(LABEL_SET, label_divisor=4)
    result = run(heads_of([[CAR] * 9], {(0, x): 0.5 for x in range(0, 9, 2)}), label_set=narrow)
    assert_table_describes_maps(result, narrow)
    assert result.segments.id.tolist() == [5, 6, 7]  # the first three in reading order
    assert (result.panoptic == VOID).sum() == 9 - result.segments.area.sum() > 0


def test_a_label_set_without_things_or_without_stuff_works():
    for is_thing, panoptic in ((False, [[0, 100]]), (True, [[1, 101]])):
        classes = tuple(replace(c, is_thing=is_thing) for c in LABEL_SET.classes)
        label_set = replace(LABEL_SET, classes=classes)
        heads = heads_of([[ROAD, CAR]], {(0, 0): 0.5, (0, 1): 0.6})
        assert run(heads, EVERY, label_set).panoptic.tolist() == panoptic


def test_the_score_is_read_at_the_centre_or_where_detectron2_reads_it():
    heads = heads_of([[CAR, CAR, CAR, CAR]], {(0, 3): 0.8})
    heads.center_heatmap[0, 0, 0, 1] = 0.05  # int(mean of 0..3) = 1
    for objectness, expected in (('center', 0.8), ('mask_centroid', 0.05)):
        (row,) = run(heads, replace(ALL, objectness=objectness)).segments.rows()
        assert row['objectness'] == pytest.approx(expected)
        assert row['class_score'] == pytest.approx(np.exp(4) / (np.exp(4) + 3))
        assert row['score'] == pytest.approx(row['objectness'] * row['class_score'])


@pytest.mark.parametrize(
    ('score', 'expected'), [('semantic', 0.9), ('instance', 0.5), ('both', 0.45)]
)
def test_the_authors_other_scores_can_be_asked_for(score, expected):
    heads = heads_of([[CAR]], {(0, 0): 0.5})
    heads.semantic[0, :, 0, 0] = torch.tensor([0.1 / 3, 0.9, 0.1 / 3, 0.1 / 3]).log()
    (row,) = run(heads, replace(ALL, score=score)).segments.rows()
    assert row['score'] == pytest.approx(expected)
    assert row['objectness'] * row['class_score'] == pytest.approx(0.45)


# --- a network that diverged: NaN and infinity are no evidence -----------------------------------

NOT_FINITE = pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])


@NOT_FINITE
def test_a_class_without_a_number_loses_to_the_classes_that_have_one(value):
    heads = heads_of([[ROAD, CAR]], {(0, 1): 0.5})
    heads.semantic[0, [WALL, DOG], 0, :] = value
    assert run(heads).panoptic.tolist() == [[0, 101]]
    assert run(heads).segments.class_score[0] == pytest.approx(np.exp(4) / (np.exp(4) + 1))


@NOT_FINITE
def test_a_pixel_without_a_number_for_any_class_is_void_and_counts_nowhere(value):
    heads = heads_of([[ROAD, CAR, CAR, ROAD]], {(0, 1): 0.5})
    heads.semantic[0, :, 0, 2:] = value
    result = run(heads)
    assert result.semantic.tolist() == [[ROAD, CAR, 255, 255]]
    assert result.panoptic.tolist() == [[0, 101, VOID, VOID]]
    assert result.segments.area.tolist() == [1, 1]


@NOT_FINITE
def test_no_centre_stands_where_the_heatmap_has_no_number(value):
    heads = heads_of([[CAR] * 5], {(0, 1): 0.5, (0, 4): value})
    assert run(heads).segments.center.tolist() == [[1, 0]]


@NOT_FINITE
def test_a_thing_pixel_that_points_nowhere_is_void_and_keeps_its_class(value):
    offset = torch.zeros(2, 1, 4)
    offset[1, 0, 3] = value
    result = run(heads_of([[CAR] * 4], {(0, 0): 0.5}, offset))
    # Pixel 2 interpolates, with weight 0, towards the broken sample.
    assert result.panoptic.tolist() == [[101, 101, VOID, VOID]]
    assert result.instance.tolist() == [[1, 1, 0, 0]]
    assert result.semantic.tolist() == [[CAR] * 4]
    assert result.segments.area.tolist() == [2]


def test_an_offset_too_large_for_any_distance_goes_to_the_first_centre():
    offset = torch.full((2, 1, 3), 3e38)
    result = run(heads_of([[CAR] * 3], {(0, 0): 0.5, (0, 2): 0.5}, offset))
    assert result.instance.tolist() == [[1, 1, 1]]


@given(head_arrays())
@settings(deadline=None, max_examples=20)
def test_heads_in_half_precision_are_fused_as_the_numbers_they_are(arrays):
    half = [a.astype(np.float16) for a in arrays]
    assert_same(run(tensors(*half)), run(tensors(*(a.astype(np.float32) for a in half))))


# --- what a caller can get wrong ------------------------------------------------------------------


def test_a_batch_is_refused_instead_of_its_first_frame_shown_for_all():
    heads = HeadOutputs(*(h.repeat(2, 1, 1, 1) for h in heads_of([[ROAD]])[:3]), 1)
    with pytest.raises(ValueError, match='one frame at a time'):
        run(heads)


@pytest.mark.parametrize(
    'wrong',
    [
        {'nms_kernel': 4},
        {'nms_kernel': -1},
        {'center_threshold': -0.1},
        {'center_threshold': float('nan')},
        {'top_k': 0},
        {'stuff_area': -1},
        {'without_center': 'nearest'},
        {'outvoted_area': -1},
        {'score_threshold': -0.1},
        {'doubtful_area': -1},
        {'objectness': 'both'},
        {'score': 'center'},
    ],
    ids=str,
)
def test_a_wrong_setting_is_refused_where_it_is_made_by_its_name(wrong):
    (name,) = wrong
    with pytest.raises(PdlError, match=f'^{name} is [^\n]+$'):
        FusionSettings(**wrong)
