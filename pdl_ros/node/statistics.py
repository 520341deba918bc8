"""What came in and went out, for diagnostics: counts, rates and latencies of one camera."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

_WINDOW = 100  # the last frames that rates and latencies are told of
_SECONDS = 5.0  # over which rates are told
_LOSS_SECONDS = 10.0  # over which losses are judged
_NOTABLE = 0.1  # part of the images


class FrameCounts(NamedTuple):
    """Frames of a camera since configure; dropped: by a newer one, or for a reason of their own."""

    received: int
    processed: int
    dropped: int


class Statistics:
    """Counters since configure, and the times of the last frames (steady clock, seconds)."""

    def __init__(self) -> None:
        self.processed = 0
        self.unreadable = 0
        self.too_old = 0
        self.limited = 0
        self.without_depth = 0
        self.lost_in_transport = 0
        self.lost_depth = 0
        self.age = 0.0  # of the last frame when it was decoded, seconds
        self.frame_id = ''
        self.last_arrival = 0.0
        self.last_error = ''
        self.last_error_at = 0.0
        self.last_warning = ''
        self.last_warning_at = 0.0
        self._arrivals: deque[float] = deque(maxlen=_WINDOW)
        self._sent: deque[tuple[float, bool]] = deque(maxlen=_WINDOW)  # when, and whether lost
        self._departures: deque[float] = deque(maxlen=_WINDOW)
        self._latencies: deque[float] = deque(maxlen=_WINDOW)

    @property
    def skipped(self) -> int:
        """Frames that were received and not segmented for a reason of their own."""
        return self.unreadable + self.too_old + self.limited

    def arrived(self, now: float) -> None:
        """Note an image."""
        self.last_arrival = now
        self._arrivals.append(now)
        self._sent.append((now, False))

    def lost(self, count: int, now: float) -> None:
        """Note images that DDS sent and that did not arrive whole."""
        self.lost_in_transport += count
        self._sent.extend([(now, True)] * min(count, _WINDOW))

    def published(self, frame_id: str, now: float, latency: float) -> None:
        """Note a result, `latency` seconds after its image came."""
        self.processed += 1
        self.frame_id = frame_id
        self._departures.append(now)
        self._latencies.append(latency)

    def failed(self, now: float, sentence: str) -> None:
        """Note a frame that could not be segmented."""
        self.unreadable += 1
        self.last_error, self.last_error_at = sentence, now

    def warned(self, now: float, sentence: str) -> None:
        """Note something that a frame was published without."""
        self.last_warning, self.last_warning_at = sentence, now

    def losses(self, topic: str, now: float) -> str:
        """Say, in a sentence, if a notable part of the images of the last seconds was lost."""
        recent = [lost for at, lost in list(self._sent) if now - at <= _LOSS_SECONDS]
        lost = sum(recent)
        if lost < max(_NOTABLE * len(recent), 2):
            return ''
        return (
            f'{lost} of the last {len(recent)} images of {topic} were lost on their way to the '
            'node; images need more shared memory or another transport: '
            'docs/node.md#large-images-and-fast-dds.'
        )

    def input_rate(self, now: float) -> float:
        """Return the images a second, over the last seconds."""
        return _rate(self._arrivals, now)

    def output_rate(self, now: float) -> float:
        """Return the results a second, over the last seconds."""
        return _rate(self._departures, now)

    def latency_ms(self) -> tuple[float, float]:
        """Return the median and the 95th percentile from image to last publish; 0 without any."""
        if not self._latencies:
            return 0.0, 0.0
        p50, p95 = np.percentile(list(self._latencies), (50, 95))
        return 1e3 * float(p50), 1e3 * float(p95)


def _rate(times: deque[float], now: float) -> float:
    recent = [t for t in list(times) if now - t <= _SECONDS]
    if len(recent) < 2:
        return len(recent) / _SECONDS
    return (len(recent) - 1) / (recent[-1] - recent[0]) if recent[-1] > recent[0] else 0.0
