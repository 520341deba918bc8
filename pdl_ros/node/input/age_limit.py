"""The limit on the age of frames, and cameras whose clock is not the node's."""

from __future__ import annotations

_IN_A_ROW = 5  # frames from which a wrong clock is more likely than a stale frame
_RECENT = 10**17  # nanoseconds; a stamp before 1973 is no time of day


class AgeLimit:
    """Judge the frames of one camera by their age, and say what is wrong where all are alike.

    problem: a sentence; empty while all is well. `drops_all`: nothing of the camera is segmented.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._old = self._ahead = 0
        self.problem = ''

    @property
    def drops_all(self) -> bool:
        """Whether the last frames were all too old."""
        return self._old >= _IN_A_ROW

    def is_too_old(self, stamp: int, age: float, waited: float, limit: float) -> bool:
        """Tell whether a frame is older than the limit; 0 is none.

        stamp: nanoseconds. age, limit: seconds. waited: those that it spent in the queue.
        """
        old, ahead = 0 < limit < age, 0 < limit < -age
        self._old, self._ahead = (self._old + 1) * old, (self._ahead + 1) * ahead
        if self.drops_all:
            self.problem = (
                f'every frame of {self._topic} is older than max_frame_age ({limit:g} s) and '
                f'dropped: {self._reason(stamp, age, waited, limit)}'
            )
        elif self._ahead >= _IN_A_ROW:
            self.problem = (
                f'the frames of {self._topic} are stamped {-age:.1f} s ahead of the clock of this '
                'node, so max_frame_age cannot tell which are old; synchronise the clocks.'
            )
        else:
            self.problem = ''
        return old

    @staticmethod
    def _reason(stamp: int, age: float, waited: float, limit: float) -> str:
        if stamp == 0:
            return 'its stamps are 0; have the driver stamp its images, or set max_frame_age to 0.'
        if age - waited <= limit:
            return (
                f'they wait {waited:.1f} s for the device; lower queue_size or rate_limit, or '
                'raise max_frame_age.'
            )
        return (
            f'its stamps are {age - waited:.1f} s behind the clock of this node'
            f'{" (are they the time since boot?)" if 0 < stamp < _RECENT else ""}; synchronise the '
            'clocks, set use_sim_time for a bag, or set max_frame_age to 0.'
        )
