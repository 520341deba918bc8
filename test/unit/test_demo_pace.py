"""The demo's camera waits for the node, and for nothing for ever."""

from __future__ import annotations

from pdl_ros.demo.pace import Pace


class Run:
    """A pace on a clock of our own, and the camera that it asks."""

    def __init__(self, period: float = 0.1) -> None:
        self.now, self.asked, self.sent, self.answered = 0.0, 0, 0, True
        self.pace = Pace(self._ask, period, lambda: self.now)

    def _ask(self) -> None:
        self.asked += 1

    def look(self, seconds: float = 0.0) -> bool:
        self.now += seconds
        return self.pace.look(self.sent, self.answered)

    def frame(self, seconds: float) -> None:
        """The camera sends the frame that was asked for; its answer takes so long."""
        self.sent, self.answered = self.sent + 1, False
        assert not self.look()
        self.answered = True
        assert not self.look(seconds)


def test_a_slow_node_gets_each_frame_after_the_answer_to_the_one_before():
    run = Run()
    for number in range(5):
        run.look()
        assert run.asked == number + 1
        assert not run.look(0.5)
        assert run.asked == number + 1, 'asked again before the camera has sent it'
        run.sent, run.answered = number + 1, False
        assert not run.look()
        assert not run.look(2.0)
        assert run.asked == number + 1, 'the node still has the one before'
        run.answered = True


def test_a_lost_answer_is_given_up_once_and_the_next_frame_is_asked_for():
    run = Run()
    run.look()
    run.frame(0.2)
    run.sent, run.answered = 2, False
    assert not run.look()
    assert not run.look(run.pace.patience)
    assert run.look(0.2)
    assert run.asked == 3
    assert not run.look(1.0)
    run.frame(0.2)
    assert run.asked == 4


def test_a_frame_that_never_reaches_the_recorder_does_not_end_the_demo():
    run = Run()
    run.look()
    run.frame(0.2)
    assert run.look(run.pace.patience + 0.2)
    assert run.asked == 3


def test_a_machine_that_takes_seconds_for_a_frame_is_not_given_up_at_the_next():
    run = Run()
    run.look()
    run.frame(8.0)
    run.sent, run.answered = 2, False
    assert not run.look()
    assert not run.look(20.0)
    run.answered = True
    assert not run.look()
    assert run.asked == 3


def test_a_camera_of_one_frame_in_a_minute_is_waited_for():
    run = Run(period=60.0)
    run.look()
    run.frame(0.1)
    assert not run.look(59.0)
    assert run.asked == 2
