"""Find the fastest of several engines by running them, in a short time and with little memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor

from pdl_ros.engines.engine import Engine
from pdl_ros.errors import PdlError, in_words
from pdl_ros.network.heads import HeadOutputs

_ROUNDS = 8  # most, of a pair
_CLEAR = 1.25  # times as fast after three rounds: no more are needed
_PAIR_SECONDS = 1.5
_MOST_ERROR = {'fp32': 0.02, 'bf16': 0.5, 'int8': 0.5}

Key = TypeVar('Key', bound=Hashable)
Clock = Callable[[], float]


@dataclass
class Trial(Generic[Key]):
    """What came of it: seconds a call of each engine that ran, why others do not run, and those
    that there was no time for.
    """

    seconds: dict[Key, float] = field(default_factory=dict)
    refused: dict[Key, str] = field(default_factory=dict)
    left_out: list[Key] = field(default_factory=list)

    def refuse(self, key: Key, error: Exception) -> None:
        """Note that an engine failed, at its first call or later."""
        self.seconds.pop(key, None)
        self.refused[key] = in_words(error).rstrip('.')


def fastest(
    keys: Sequence[Key],
    make: Callable[[Key], Engine],
    images: Tensor,
    expected: HeadOutputs,
    budget: float,
    clock: Clock = time.perf_counter,
) -> tuple[Key, Engine, Trial[Key]]:
    """Make the engines one after the other, and return the fastest that works.

    At most two exist at a time, which run in turns, so that a busy moment hits both; the loser is
    released. An engine works if its heads for `images` are about the `expected` ones: what a
    precision does to label maps this does not tell, only that nothing is broken. When so much of
    the `budget`, in seconds, is used that the next one would probably pass it, the others are left
    out, but for the first two. Raises PdlError where none works.
    """
    trial: Trial[Key] = Trial()
    end, longest = clock() + budget, 0.0
    best: tuple[Key, Engine] | None = None
    for count, key in enumerate(keys):
        began = clock()
        if best is not None and count > 1 and began + longest > end:
            trial.left_out.append(key)
            continue
        engine = _working(key, make, images, expected, trial)
        if engine is None:
            continue
        if best is None:
            best = key, engine
        else:
            pair = dict([best, (key, engine)])
            seconds = min(_PAIR_SECONDS, end - clock())
            pair.pop(_slower(pair, images, seconds, clock, trial)).release()
            (best,) = pair.items()
        longest = max(longest, clock() - began)
    if best is None:
        reasons = '; '.join(f'{key}: {reason}' for key, reason in trial.refused.items())
        raise PdlError(f'No engine runs this network here: {reasons}.')
    return *best, trial


def difference(heads: HeadOutputs, expected: HeadOutputs) -> float:
    """Return the relative L2 error of the worst head; infinity where one is not finite."""
    worst = 0.0
    for ours, theirs in zip(heads[:3], expected[:3], strict=True):
        if ours.shape != theirs.shape or not bool(ours.isfinite().all()):
            return float('inf')
        worst = max(worst, float((ours - theirs).norm() / theirs.norm().clamp(min=1e-12)))
    return worst


def _working(
    key: Key,
    make: Callable[[Key], Engine],
    images: Tensor,
    expected: HeadOutputs,
    trial: Trial[Key],
) -> Engine | None:
    """Make an engine and run it once, which also is its warm-up; None if it is of no use."""
    try:
        engine = make(key)
    except Exception as error:  # runtimes raise what they like
        trial.refuse(key, error)
        return None
    try:
        off = difference(engine(images), expected)
        if off <= _MOST_ERROR.get(engine.precision, 0.5):
            return engine
        trial.refused[key] = f'its heads are {100 * off:.0f} % off'
    except Exception as error:
        trial.refuse(key, error)
    engine.release()
    return None


@torch.inference_mode()
def _slower(
    pair: Mapping[Key, Engine], images: Tensor, seconds: float, clock: Clock, trial: Trial[Key]
) -> Key:
    """Run two engines in turns, each at least once, note the shortest time of each, and return
    which is the slower one: one that fails is, and is refused.
    """
    times = dict.fromkeys(pair, float('inf'))
    end = clock() + seconds
    for count in range(1, 1 + _ROUNDS):
        for key, engine in pair.items():
            began = clock()
            try:
                engine(images)
            except Exception as error:
                trial.refuse(key, error)
                return key
            times[key] = min(times[key], clock() - began)
        if clock() > end or (count >= 3 and max(times.values()) > _CLEAR * min(times.values())):
            break
    trial.seconds |= times
    first, second = times
    return first if times[second] < times[first] else second
