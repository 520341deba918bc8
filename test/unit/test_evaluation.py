"""Scores are those that the published evaluations would give, and flatter nobody."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdl_ros.datasets import Sample, Segment
from pdl_ros.errors import PdlError
from pdl_ros.evaluation import PanopticEvaluator, Scores
from pdl_ros.evaluation.report import print_table, write_json

from .tiny_labels import CAR, CAR_1, CAR_2, CAR_3, DOG, DOG_1, LABEL_SET, ROAD, ROAD_ID, UNLABELLED

VOID = 65535
Image = tuple[np.ndarray, Sample]


def sample_of(rows, crowds=()) -> Sample:
    """Make a sample of a (H, W) list of ids, or of one row; UNLABELLED is void."""
    panoptic = np.atleast_2d(np.array(rows, np.int32))
    segments = tuple(
        Segment(int(i), int(i) // 10, int(i) in crowds)
        for i in np.unique(panoptic)
        if i != UNLABELLED
    )
    return Sample('tiny', np.zeros((*panoptic.shape, 3), np.uint8), panoptic, segments)


def score(prediction, truth, crowds=(), semantic=None) -> Scores:
    evaluator = PanopticEvaluator(LABEL_SET)
    evaluator.update(
        np.atleast_2d(prediction),
        sample_of(truth, crowds),
        None if semantic is None else np.atleast_2d(semantic),
    )
    return evaluator.compute()


def counts(scores: Scores, class_id: int) -> tuple[int, int, int]:
    c = scores.classes[class_id]
    return c.tp, c.fp, c.fn


def score_all(images: list[Image]) -> Scores:
    evaluator = PanopticEvaluator(LABEL_SET)
    for prediction, sample in images:
        evaluator.update(prediction, sample)
    return evaluator.compute()


# --- against a definition that is slow and plain ---------------------------------------------


@st.composite
def images(draw, void_predicted=True, crowds=True) -> list[Image]:
    """One to three tiny labelled images, each with a prediction that is near to its labels."""
    ids = [ROAD_ID, CAR_1, CAR_2, CAR_3, DOG_1]
    result = []
    for _ in range(draw(st.integers(1, 3))):
        shape = draw(st.integers(1, 4)), draw(st.integers(1, 6))
        size = shape[0] * shape[1]

        def pixels(values, size=size, shape=shape):
            drawn = draw(st.lists(st.sampled_from(values), min_size=size, max_size=size))
            return np.array(drawn, np.int32).reshape(shape)

        # A few ids an image, so that segments are big enough to overlap by more than a half.
        palette = draw(st.lists(st.sampled_from([*ids, UNLABELLED]), min_size=1, max_size=4))
        truth = pixels(palette)
        crowd_ids = draw(st.sets(st.sampled_from(ids))) if crowds else ()
        noise = pixels([*ids, VOID] if void_predicted else ids)
        near = np.where(truth == UNLABELLED, noise, truth)
        prediction = np.where(pixels([0, 0, 0, 1]), noise, near)
        if draw(st.booleans()):  # found with another number, or taken for another class
            prediction[prediction == CAR_1] = draw(st.sampled_from([CAR_3, DOG_1]))
        result.append((prediction, sample_of(truth, crowd_ids)))
    return result


def segments_by_hand(panoptic: np.ndarray) -> dict[int, set]:
    result: dict[int, set] = {}
    for position, value in np.ndenumerate(panoptic):
        result.setdefault(int(value), set()).add(position)
    return result


def count_by_hand(prediction: np.ndarray, sample: Sample) -> dict[int, list]:
    """Count [summed IoU, TP, FP, FN] per class of one image, word by word as published."""
    result: dict[int, list] = {c: [0.0, 0, 0, 0] for c in range(3)}
    found = {i: p for i, p in segments_by_hand(prediction).items() if i != VOID}
    truth = segments_by_hand(sample.panoptic)
    void = truth.get(UNLABELLED, set())
    crowd_of_class, matched = {}, set()
    for segment in sample.segments:
        if segment.is_crowd:
            crowd_of_class[segment.class_id] = truth[segment.id]
            continue
        partners = []
        for i, pixels in found.items():
            union = (pixels - void) | truth[segment.id]
            iou = len(pixels & truth[segment.id]) / len(union)
            if i // 10 == segment.class_id and iou > 0.5:
                partners.append((i, iou))
        assert len(partners) <= 1
        for i, iou in partners:
            matched.add(i)
            result[segment.class_id][0] += iou
            result[segment.class_id][1] += 1
        result[segment.class_id][3] += not partners
    for i, pixels in found.items():
        ignored = void | crowd_of_class.get(i // 10, set())
        if i not in matched and len(pixels & ignored) / len(pixels) <= 0.5:
            result[i // 10][2] += 1
    return result


def class_iou_by_hand(images: list[Image], class_id: int) -> float:
    both = either = 0
    for prediction, sample in images:
        for predicted, truth in zip(prediction.flat, sample.panoptic.flat, strict=True):
            if truth != UNLABELLED:
                is_truth, is_predicted = truth // 10 == class_id, predicted // 10 == class_id
                both += is_truth and is_predicted
                either += is_truth or is_predicted
    return both / either if either else math.nan


def mean_by_hand(values: list[float]) -> float:
    values = [v for v in values if not math.isnan(v)]
    return sum(values) / len(values) if values else math.nan


@settings(deadline=None, max_examples=300)
@given(images())
def test_scores_with_void_and_crowds_are_those_of_the_plain_definition(images):
    scores = score_all(images)
    by_image = [count_by_hand(*image) for image in images]
    pqs, ious = [], []
    for class_id, c in enumerate(scores.classes):
        iou_sum, tp, fp, fn = (
            sum(column) for column in zip(*(b[class_id] for b in by_image), strict=True)
        )
        occurred = tp + fp + fn > 0
        pqs.append(iou_sum / (tp + fp / 2 + fn / 2) if occurred else math.nan)
        ious.append(class_iou_by_hand(images, class_id))
        assert (c.tp, c.fp, c.fn) == (tp, fp, fn)
        assert c.pq == pytest.approx(pqs[-1], nan_ok=True)
        assert c.iou == pytest.approx(ious[-1], nan_ok=True)
        assert not occurred or c.pq == pytest.approx(c.sq * c.rq)
    assert scores.pq == pytest.approx(mean_by_hand(pqs), nan_ok=True)
    assert scores.pq_stuff == pytest.approx(pqs[ROAD], nan_ok=True)
    assert scores.pq_things == pytest.approx(mean_by_hand(pqs[CAR:]), nan_ok=True)
    assert scores.miou == pytest.approx(mean_by_hand(ious), nan_ok=True)
    assert scores.images == len(images)


@settings(deadline=None, max_examples=60)
@given(images(void_predicted=False, crowds=False))
def test_without_crowds_and_predicted_void_scores_are_those_of_torchmetrics(images):
    # torchmetrics knows no crowds, and forgives segments that are predicted as void.
    detection = pytest.importorskip('torchmetrics.detection')
    metric = detection.PanopticQuality(things={CAR, DOG}, stuffs={ROAD}, return_sq_and_rq=True)
    for prediction, sample in images:
        truth = np.where(sample.panoptic == UNLABELLED, 90, sample.panoptic)
        predicted, labelled = (
            torch.from_numpy(np.stack([m // 10, m % 10], -1))[None] for m in (prediction, truth)
        )
        metric.update(predicted, labelled)
    expected, scores = metric.compute().tolist(), score_all(images)
    assert [scores.pq, scores.sq, scores.rq] == pytest.approx(expected, nan_ok=True)


# --- the rules, one by one --------------------------------------------------------------------


def test_a_perfect_prediction_scores_one_everywhere():
    truth = [[ROAD_ID, ROAD_ID, CAR_1, CAR_1], [ROAD_ID, UNLABELLED, CAR_2, DOG_1]]
    prediction = np.where(np.array(truth) == UNLABELLED, VOID, truth)
    scores = score(prediction, truth)
    assert (scores.pq, scores.sq, scores.rq, scores.miou) == (1, 1, 1, 1)
    assert (scores.pq_things, scores.pq_stuff) == (1, 1)
    assert counts(scores, CAR) == (2, 0, 0)


def test_a_car_shifted_by_one_column_is_found_with_the_iou_of_the_overlap():
    truth = [[ROAD_ID, CAR_1, CAR_1, CAR_1, CAR_1, ROAD_ID]]
    scores = score(np.roll(truth, 1), truth)
    car = scores.classes[CAR]
    assert (car.sq, car.rq, car.pq, car.iou) == pytest.approx((3 / 5, 1, 3 / 5, 3 / 5))


def test_an_iou_of_exactly_one_half_is_a_miss_and_a_false_alarm():
    scores = score([CAR_1, ROAD_ID], [CAR_1, CAR_1])
    assert counts(scores, CAR) == (0, 1, 1)
    assert (scores.classes[CAR].sq, scores.classes[CAR].rq) == (0, 0)
    assert counts(score([CAR_1, CAR_1, ROAD_ID], [CAR_1, CAR_1, CAR_1]), CAR) == (1, 0, 0)


def test_two_cars_merged_into_one_are_not_both_found():
    scores = score([CAR_1] * 4, [CAR_1, CAR_1, CAR_1, CAR_2])
    assert counts(scores, CAR) == (1, 0, 1)


def test_a_car_taken_for_a_dog_counts_against_both_classes():
    scores = score([DOG_1, DOG_1], [CAR_1, CAR_1])
    assert (counts(scores, CAR), counts(scores, DOG)) == ((0, 0, 1), (0, 1, 0))


def test_a_segment_that_reaches_into_unlabelled_ground_is_not_punished():
    scores = score([CAR_1] * 5, [CAR_1, CAR_1, UNLABELLED, UNLABELLED, UNLABELLED])
    assert scores.classes[CAR].sq == 1
    assert scores.miou == 1


def test_only_a_segment_mostly_on_unlabelled_ground_is_no_false_alarm():
    assert counts(score([DOG_1] * 3, [ROAD_ID, UNLABELLED, UNLABELLED]), DOG) == (0, 0, 0)
    assert counts(score([DOG_1] * 2, [ROAD_ID, UNLABELLED]), DOG) == (0, 1, 0)


def test_a_network_gains_nothing_by_predicting_void():
    scores = score([VOID, VOID, VOID, CAR_1], [CAR_1] * 4)
    assert counts(scores, CAR) == (0, 1, 1)
    assert scores.miou == 1 / 4
    assert score([ROAD_ID], [CAR_1], semantic=[255]).miou == 0


def test_a_crowd_is_neither_missed_nor_found():
    assert counts(score([ROAD_ID] * 2, [CAR_1] * 2, crowds=[CAR_1]), CAR) == (0, 0, 0)
    assert counts(score([CAR_1] * 2, [CAR_1] * 2, crowds=[CAR_1]), CAR) == (0, 0, 0)


def test_cars_told_apart_in_a_crowd_are_no_false_alarms_but_dogs_are():
    scores = score([CAR_1, CAR_2, CAR_3, DOG_1], [CAR_1] * 4, crowds=[CAR_1])
    assert (counts(scores, CAR), counts(scores, DOG)) == ((0, 0, 0), (0, 1, 0))


def test_of_several_crowds_of_a_class_only_the_last_excuses_as_in_panopticapi():
    truth = [CAR_1, CAR_2]
    assert counts(score([CAR_3, ROAD_ID], truth, crowds=truth), CAR) == (0, 1, 0)
    assert counts(score([ROAD_ID, CAR_3], truth, crowds=truth), CAR) == (0, 0, 0)


def test_crowds_count_as_their_class_in_the_mean_iou():
    assert score([ROAD_ID, CAR_1], [CAR_1, CAR_1], crowds=[CAR_1]).classes[CAR].iou == 1 / 2


def test_a_class_that_is_nowhere_does_not_pull_the_means():
    scores = score([ROAD_ID, CAR_1], [ROAD_ID, CAR_1])
    assert (scores.pq, scores.pq_things, scores.miou) == (1, 1, 1)
    assert math.isnan(scores.classes[DOG].pq)
    assert math.isnan(scores.classes[DOG].iou)
    assert math.isnan(score([ROAD_ID], [ROAD_ID]).pq_things)


def test_the_same_id_in_two_images_is_two_segments():
    image = np.array([[CAR_1, CAR_1]]), sample_of([CAR_1, CAR_1])
    assert counts(score_all([image, image]), CAR) == (2, 0, 0)


def test_mean_iou_is_taken_from_the_semantic_map_where_there_is_one():
    truth = [ROAD_ID, ROAD_ID, CAR_1, CAR_1]
    scores = score([ROAD_ID, ROAD_ID, VOID, VOID], truth, semantic=[ROAD, ROAD, CAR, CAR])
    assert scores.miou == 1
    assert scores.pq_things == 0


def test_labels_with_24_bit_segment_ids_score_like_any_other():
    panoptic = np.array([[16777215, 16777215, 65535, 3]], np.int32)
    segments = Segment(16777215, ROAD), Segment(65535, CAR)
    sample = Sample('coco', np.zeros((1, 4, 3), np.uint8), panoptic, segments)
    scores = score_all([(np.array([[ROAD_ID, ROAD_ID, CAR_1, DOG_1]]), sample)])
    assert (scores.pq, scores.miou) == (1, 1)


def with_segments(sample: Sample, *more: Segment) -> Sample:
    return sample._replace(segments=(*sample.segments, *more))


def test_a_car_that_the_labels_list_and_do_not_show_is_missed_as_in_panopticapi():
    sample = with_segments(sample_of([ROAD_ID, ROAD_ID]), Segment(CAR_1, CAR))
    assert counts(score_all([(np.array([[ROAD_ID, ROAD_ID]]), sample)]), CAR) == (0, 0, 1)


def test_a_crowd_that_is_listed_and_not_shown_hides_the_others_as_in_panopticapi():
    sample = sample_of([CAR_1, ROAD_ID], crowds=[CAR_1])
    prediction = np.array([[CAR_3, ROAD_ID]])
    assert counts(score_all([(prediction, sample)]), CAR) == (0, 0, 0)
    sample = with_segments(sample, Segment(CAR_2, CAR, True))
    assert counts(score_all([(prediction, sample)]), CAR) == (0, 1, 0)


def test_of_two_segments_with_one_id_the_last_counts_as_in_panopticapi():
    sample = with_segments(sample_of([CAR_1, CAR_1]), Segment(CAR_1, DOG))
    scores = score_all([(np.array([[DOG_1, DOG_1]]), sample)])
    assert (counts(scores, CAR), counts(scores, DOG)) == ((0, 0, 0), (1, 0, 0))


@pytest.mark.parametrize('dtype', [torch.int32, torch.int64, torch.uint16])
def test_tensors_score_like_arrays(dtype):
    evaluator = PanopticEvaluator(LABEL_SET)
    prediction = torch.tensor([[ROAD_ID, CAR_1, VOID]]).to(dtype)
    evaluator.update(prediction, sample_of([ROAD_ID, CAR_1, CAR_1]), torch.tensor([[0, 1, 1]]))
    scores = evaluator.compute()
    assert (scores.miou, counts(scores, CAR)) == (1, (0, 1, 1))


# --- what a user can get wrong ------------------------------------------------------------------


@pytest.mark.parametrize(
    ('prediction', 'semantic', 'says'),
    [
        (np.zeros((2, 2), int), None, 'predict at the size'),
        (np.zeros((1, 2), int), np.zeros((2, 1), int), 'predict at the size'),
        (np.array([[0, 31]]), None, 'class 3'),
        (np.zeros((1, 2), int), np.array([[0, 3]]), 'class 3'),
        (np.array([[0, -1]]), None, 'the id -1'),
        (np.array([[0, 2**33]]), None, 'the id 8589934592'),
        (np.zeros((1, 2), np.float32), None, 'prediction of tiny is float32.*whole numbers'),
        (torch.zeros(1, 2, dtype=torch.bfloat16), None, 'whole numbers'),
    ],
)
def test_a_wrong_prediction_is_refused_in_a_sentence_and_adds_nothing(prediction, semantic, says):
    evaluator = PanopticEvaluator(LABEL_SET)
    sample = sample_of([ROAD_ID, ROAD_ID])
    evaluator.update(np.zeros((1, 2), int), sample)
    before = evaluator.compute()
    with pytest.raises(PdlError, match=says):
        evaluator.update(prediction, sample, semantic)
    assert evaluator.compute().to_dict() == before.to_dict()


@pytest.mark.parametrize(
    ('change', 'says'),
    [
        ({'segments': (Segment(ROAD_ID, 3),)}, r'labels of tiny hold class 3 \(segment 0\)'),
        ({'segments': (Segment(ROAD_ID, -1),)}, 'class -1'),
        ({'panoptic': np.zeros((1, 2), np.float32)}, 'label map of tiny is float32'),
    ],
)
def test_wrong_labels_are_refused_in_a_sentence(change, says):
    sample = sample_of([ROAD_ID, ROAD_ID])._replace(**change)
    with pytest.raises(PdlError, match=says):
        score_all([(np.zeros((1, 2), int), sample)])


def test_scores_of_no_images_are_refused():
    with pytest.raises(PdlError, match='No image'):
        PanopticEvaluator(LABEL_SET).compute()


def test_the_json_file_holds_every_score_and_no_nan(tmp_path):
    scores = score([ROAD_ID, ROAD_ID, CAR_1], [ROAD_ID, ROAD_ID, CAR_1])
    write_json(scores, tmp_path / 'scores.json', {'checkpoint': 'a.safetensors'})
    data = json.loads((tmp_path / 'scores.json').read_text(encoding='utf-8'))
    assert data == {'checkpoint': 'a.safetensors', **scores.to_dict()}
    assert (data['pq'], data['images']) == (1, 1)
    dog = {'name': 'dog', 'tp': 0, 'fp': 0, 'fn': 0}
    no_value = dict.fromkeys(('pq', 'sq', 'rq', 'iou', 'iiou', 'ap', 'ap50'))
    assert data['classes'][DOG] == {**dog, **no_value}


def test_scores_that_cannot_be_written_are_said_in_a_sentence(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(PdlError, match=r'scores\.json cannot be written: Not a directory'):
        write_json(score([ROAD_ID], [ROAD_ID]), tmp_path / 'file' / 'scores.json')


def test_the_table_has_every_class_in_percent(capsys):
    print_table(score([ROAD_ID, ROAD_ID, CAR_1, CAR_1, CAR_1], [CAR_1] * 2 + [CAR_1] * 3))
    rows = {
        line.split('│')[1].strip(): line.split('│')[2:-1]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith('│')
    }
    car = ['60.0', '60.0', '100.0', '60.0', '60.0', '1', '0', '0']
    assert [c.strip() for c in rows['car']] == car
    assert rows['dog'][0].strip() == '–'
    assert {'road', 'car', 'dog', 'mean', 'things', 'stuff'} == set(rows)
