"""What the node uses of rclpy that is private, undocumented or not in every release.

Tested with Jazzy's rclpy (7.1.5, the wheel ros-jazzy-rclpy 7.1.6) and Kilted's (9.1.2). What Humble
lacks is said where it matters.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

from rclpy.executors import Executor
from rclpy.logging import LoggingSeverity, get_logger_effective_level, set_logger_level
from rclpy.node import Node
from rclpy.service import Service


def overrides(node: Node) -> dict[str, Any]:
    """Return the values that a node was started with, by parameter: of arguments and files."""
    return {name: parameter.value for name, parameter in node._parameter_overrides.items()}


def state_of(node: Any) -> str:
    """Return the label of a lifecycle node's state; rclpy offers it as a service only."""
    return str(node._state_machine.current_state[1])


def transitions_of(node: Any) -> dict[int, str]:
    """Return the transitions that a lifecycle node's state has, labels by number."""
    return {number: label for number, label, *_ in node._state_machine.available_transitions}


def change_state_service(node: Any) -> Service:
    """Return the service that changes a lifecycle node's state; its `callback` can be replaced."""
    service: Service = node._service_change_state
    return service


def destroy_state_machine(node: Any) -> None:
    """Let go of a lifecycle node's state machine: it holds on to the node, and so to what DDS keeps
    of it, which outlives this process.
    """
    node._state_machine.destroy_when_not_in_use()


def wait_for_callback(executor: Executor, timeout: float | None) -> tuple[Any, Any]:
    """Wait for a callback that can run; return its task, and the entity that it belongs to."""
    task: Any
    entity: Any
    task, entity, _ = executor.wait_for_ready_callbacks(timeout_sec=timeout)
    return task, entity


def after_parameters_are_set(node: Node, apply: Callable[[], None]) -> None:
    """Have `apply` called each time that parameters have been set.

    Humble has no such callback: there the executor does it next, after the set is done, or has been
    refused by whoever is asked later.
    """
    if hasattr(node, 'add_post_set_parameters_callback'):
        node.add_post_set_parameters_callback(lambda _: apply())
        return
    from rcl_interfaces.msg import SetParametersResult

    def soon(_: Any) -> SetParametersResult:
        if node.executor is not None:
            node.executor.create_task(apply)
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(soon)


def sentence_of(error: Exception) -> str:
    """Return what an exception of rclpy says, without the places in rcl's sources."""
    text = re.sub(r',? at [^\s,]+:\d+', '', str(error).partition('\n')[0])
    return ' '.join(text.split()).rstrip('. ')


@contextlib.contextmanager
def rcl_says_nothing() -> Iterator[None]:
    """Keep rcl from logging what it raises as well; a level that the arguments set stays."""
    before = get_logger_effective_level('rcl')
    set_logger_level('rcl', LoggingSeverity.FATAL)
    try:
        yield
    finally:
        if get_logger_effective_level('rcl') == LoggingSeverity.FATAL:
            set_logger_level('rcl', before)
