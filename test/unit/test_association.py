"""Which predicted frame is scored against which labelled one, and what is said of the others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdl_ros.errors import PdlError
from pdl_ros.evaluation.recordings.association import associate

MS = 10**6


def stamps(*milliseconds: float) -> np.ndarray:
    return np.array([round(ms * MS) for ms in milliseconds], np.int64)


def pairs(predicted: np.ndarray, labelled: np.ndarray, tolerance: float = 0) -> list[list[int]]:
    return associate(predicted, labelled, round(tolerance * MS)).pairs.tolist()


def test_frames_of_one_stamp_are_pairs_in_the_order_of_the_predictions():
    assert pairs(stamps(300, 100, 200), stamps(100, 200, 400, 300)) == [[0, 3], [1, 0], [2, 1]]


def test_without_a_tolerance_a_nanosecond_is_another_frame():
    found = associate(np.array([5, 10]), np.array([5, 11]))
    assert found.pairs.tolist() == [[0, 0]]
    assert found.matched == 1
    assert len(found.notes) == 2


def test_with_a_tolerance_only_frames_that_are_each_others_nearest_are_pairs():
    # 104 is nearer to 105 than 100 is, so 100 stays alone however large the tolerance.
    assert pairs(stamps(100, 104), stamps(105), 10) == [[1, 0]]
    assert pairs(stamps(104), stamps(100, 105), 10) == [[0, 1]]
    assert pairs(stamps(100), stamps(104, 200), 4) == [[0, 0]]
    with pytest.raises(PdlError, match='the nearest two are 4 ms apart'):
        pairs(stamps(100), stamps(104), 3.9)


def test_a_person_reads_how_many_frames_have_no_partner_and_why():
    found = associate(stamps(100, 200, 200, 250, 900), stamps(200, 300, 400), 20 * MS)
    assert found.notes == (
        '1 of 5 predicted frames repeat the stamp of an earlier one, which is the one that counts.',
        '3 predicted frames have no partner: 2 outside of the time of the labelled ones and 1 '
        'without one within 20 ms that is not nearer to another (the next is 50 ms to 50 ms away).',
        '2 labelled frames have no partner: 2 without one within 20 ms that is not nearer to '
        'another (the next is 50 ms to 150 ms away).',
    )


def test_recordings_of_different_times_are_one_sentence_with_both_times():
    with pytest.raises(PdlError) as error:
        associate(stamps(1000, 2000), stamps(9000, 9500))
    assert 'nearest two are 7e+03 ms apart' in str(error.value)
    assert '1.000 to 2.000 s (predicted) and 9.000 to 9.500 s (labelled)' in str(error.value)


@pytest.mark.parametrize(('predicted', 'labelled'), [((), (1,)), ((1,), ())])
def test_nothing_to_compare_is_a_sentence(predicted, labelled):
    with pytest.raises(PdlError, match=r'There is no (predicted|labelled) frame\.'):
        associate(stamps(*predicted), stamps(*labelled))


TIMES = st.lists(st.integers(-50, 50), min_size=1, max_size=12)


@given(TIMES, TIMES, st.integers(0, 20))
def test_no_frame_is_in_two_pairs_and_none_is_too_far_whatever_the_stamps(one, other, tolerance):
    predicted, labelled = np.array(one, np.int64), np.array(other, np.int64)
    try:
        found = associate(predicted, labelled, tolerance)
    except PdlError:
        assert np.abs(predicted[:, None] - labelled).min() > tolerance
        return
    left, right = found.pairs.T
    assert len(set(left.tolist())) == len(set(right.tolist())) == found.matched
    assert (np.abs(predicted[left] - labelled[right]) <= tolerance).all()
    exact = set(one) & set(other)
    assert exact <= set(predicted[left].tolist()) & set(labelled[right].tolist())
