"""Lifecycle transitions: one at a time, whoever asks; all of one, or nothing of it."""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn

from pdl_ros.errors import PdlError
from pdl_ros.node.rclpy_compat import (
    change_state_service,
    sentence_of,
    state_of,
    transitions_of,
)

_Transition = Callable[[Any, LifecycleState], TransitionCallbackReturn]

_PATIENCE = 0.5  # seconds that a request waits for the transition before it to end


class Transitions:
    """Change a lifecycle node's state: for those who call its service, and for the node itself.

    rclpy lets a second transition begin while the first works, and raises in the executor, without
    an answer to the caller, where the present state has no such transition. Here both are refused
    in a sentence.
    """

    def __init__(self, node: Any) -> None:
        self._node, self._lock = node, threading.Lock()
        service = change_state_service(node)
        self._change_state = service.callback
        service.callback = self._answer

    def run(self, label: str, only_from: str) -> bool | None:
        """Run configure, activate, deactivate or cleanup; return whether it succeeded, or None: the
        node is not in the state that it is meant for, and nothing happened.
        """
        with self._lock:
            if state_of(self._node) != only_from:
                return None
            with self._sentences():
                trigger = getattr(self._node, f'trigger_{label}')
                return bool(trigger() == TransitionCallbackReturn.SUCCESS)
        return False

    def _answer(self, request: Any, response: Any) -> Any:
        response.success = False
        if not self._lock.acquire(timeout=_PATIENCE):
            self._refuse('another transition is still at work')
            return response
        try:
            with self._sentences():
                if self._possible(request.transition.label or request.transition.id):
                    return self._change_state(request, response)
        finally:
            self._lock.release()
        return response

    def _possible(self, asked: str | int) -> bool:
        possible = transitions_of(self._node)
        if asked in possible or asked in possible.values():
            return True
        self._refuse(
            f'{asked} is not possible in the state {state_of(self._node)}, '
            f'only {" or ".join(possible.values()) or "nothing"}'
        )
        return False

    def _refuse(self, reason: str) -> None:
        self._node.get_logger().error(f'Transition refused: {reason}.')

    @contextlib.contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of rcl, as when the process is being ended
            self._refuse(sentence_of(error))


def log_failure(otherwise: TransitionCallbackReturn) -> Callable[[_Transition], _Transition]:
    """Have what a transition raises reported to its node, and answer `otherwise`; rclpy would
    swallow it.
    """

    def decorate(transition: _Transition) -> _Transition:
        @functools.wraps(transition)
        def wrapped(node: Any, state: LifecycleState) -> TransitionCallbackReturn:
            try:
                return transition(node, state)
            except PdlError as error:
                node.report(str(error))
            except Exception as error:  # a broken driver, no memory: also one sentence
                name = transition.__name__.removeprefix('on_').capitalize()
                node.report(f'{name} failed, {type(error).__name__}: {sentence_of(error)}.')
            return otherwise

        return wrapped

    return decorate


@contextlib.contextmanager
def undone_on_failure(node: Any, undo: Callable[[], object]) -> Iterator[None]:
    """Undo what a block did if it raises, and destroy the publishers, subscriptions and timers that
    are new in the node: also those of an object that was not finished.
    """
    before = set(_entities(node))
    try:
        yield
    except BaseException:
        undo()
        for entity in set(_entities(node)) - before:
            for destroy in (node.destroy_publisher, node.destroy_subscription, node.destroy_timer):
                destroy(entity)  # one of them knows it
        raise


def _entities(node: Any) -> Iterator[Any]:
    return itertools.chain(list(node.publishers), list(node.subscriptions), list(node.timers))
