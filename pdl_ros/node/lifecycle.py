"""Lifecycle transitions that fail in a sentence, whatever goes wrong."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn

from pdl_ros.errors import PdlError

_Transition = Callable[[Any, LifecycleState], TransitionCallbackReturn]


def log_failure(transition: _Transition) -> _Transition:
    """Have a node's transition log what it raises, and fail; rclpy would swallow it."""

    @functools.wraps(transition)
    def wrapped(node: Any, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except PdlError as error:
            node.get_logger().fatal(str(error))
        except Exception as error:  # a broken driver, no memory: also one sentence
            name = transition.__name__.removeprefix('on_').capitalize()
            node.get_logger().fatal(f'{name} failed, {type(error).__name__}: {error}')
        return TransitionCallbackReturn.FAILURE

    return wrapped


def reject_invalid_transitions(service: Any, logger: Any) -> None:
    """Have the service that changes the state answer with failure where rclpy would raise in the
    executor and answer nothing: a transition that the present state has not, or a second one while
    the first works.
    """
    lock, change_state = threading.Lock(), service.callback

    def answer(request: Any, response: Any) -> Any:
        if not lock.acquire(blocking=False):
            response.success = False
            return response
        try:
            return change_state(request, response)
        except Exception as error:
            logger.error(f'Transition refused: {" ".join(str(error).split())}')
            response.success = False
            return response
        finally:
            lock.release()

    service.callback = answer
