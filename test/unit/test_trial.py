"""Of several engines the fastest that works is found, in a short time and with little memory."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdl_ros.errors import PdlError

from .timed_engines import HEADS, Bench


@settings(deadline=None)
@given(st.lists(st.floats(0.001, 0.2), min_size=1, max_size=6))
def test_the_fastest_is_taken_in_whatever_order_and_the_others_give_their_memory_back(times):
    bench = Bench(dict(enumerate(times)))
    key, engine, trial = bench.fastest()
    assert times[key] == pytest.approx(min(times))
    assert bench.alive == [key] == [engine.key]
    assert bench.most_alive <= 2
    assert not trial.refused and not trial.left_out
    for number, seconds in trial.seconds.items():
        assert seconds == pytest.approx(times[number])


@settings(deadline=None)
@given(st.lists(st.floats(0.001, 5), min_size=1, max_size=6), st.floats(0.1, 5), st.floats(0.5, 20))
def test_the_time_is_kept_but_for_the_engine_that_was_begun_and_who_had_none_is_named(
    times, building, budget
):
    bench = Bench(dict(enumerate(times)), building)
    key, _, trial = bench.fastest(budget)
    tried = bench.made
    assert tried + trial.left_out == list(bench.seconds)
    assert len(tried) >= min(2, len(times))
    assert times[key] == pytest.approx(min(times[number] for number in tried))
    costliest = building + 3 * max(times) + 2 * 1.5  # built, run once, and a pair in turns
    assert bench.now <= max(budget, 2 * costliest) + costliest


NAN = HEADS._replace(center_heatmap=torch.full((1, 1, 2, 2), float('nan')))
NOTHING = HEADS._replace(semantic=torch.zeros(1, 5, 2, 2))
SMALL = HEADS._replace(semantic=torch.ones(1, 5, 1, 1))


@pytest.mark.parametrize(
    ('wrong', 'word'),
    [
        (PdlError('It needs a thing.'), 'It needs a thing'),
        (RuntimeError('broken\nin C++'), 'RuntimeError: broken'),
        (NAN, 'heads are inf % off'),
        (NOTHING, 'heads are 100 % off'),
        (SMALL, 'heads are inf % off'),
    ],
)
def test_an_engine_that_fails_or_gives_other_heads_is_not_taken_however_fast(wrong, word):
    fails = isinstance(wrong, Exception)
    bench = Bench({'good': 0.1, 'wrong': wrong if fails else 0.001, 'slow': 0.2})
    if not fails:
        bench.heads['wrong'] = wrong
    key, _, trial = bench.fastest()
    assert (key, bench.alive) == ('good', ['good'])
    assert list(trial.refused) == ['wrong'] and word in trial.refused['wrong']


@pytest.mark.parametrize('calls', [1, 2, 5], ids='it ran {} times before'.format)
@pytest.mark.parametrize('keys', itertools.permutations(['frail', 'good', 'slow']), ids='-'.join)
def test_an_engine_that_fails_once_it_has_run_costs_the_robot_that_engine_alone(keys, calls):
    times = {'frail': 0.095, 'good': 0.1, 'slow': 0.2}
    bench = Bench({key: times[key] for key in keys})
    bench.calls_before_failure['frail'] = calls
    key, engine, trial = bench.fastest()
    assert (key, engine.key, bench.alive) == ('good', 'good', ['good'])
    assert bench.most_alive == 2
    assert trial.refused == {'frail': 'RuntimeError: worn out'}
    assert 'frail' not in trial.seconds


def test_where_nothing_works_the_sentence_says_why_of_each():
    with pytest.raises(PdlError, match=r'here: a: No a; b: ValueError: no b\.'):
        Bench({'a': PdlError('No a.'), 'b': ValueError('no b')}).fastest()
