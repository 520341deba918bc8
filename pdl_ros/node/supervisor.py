"""What follows when the worker cannot go on: the error state, then what on_engine_failure says."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

from pdl_ros.node.lifecycle import Transitions
from pdl_ros.node.parameters import NodeSettings
from pdl_ros.node.worker import Worker

_TRIES = 5
_PAUSE = 1.0  # seconds before the first try; each later one waits twice as long
_GOOD = 60.0  # seconds of work after which the tries are counted anew

_NEXT = {
    'restart': 'the engine is started again.',
    'exit': 'the process exits with status 1.',
    'stop': 'the node waits to be configured again.',
}


class Supervisor:
    """Look after the worker of a lifecycle node, in a thread of its own once it has failed.

    `ended` is set when the process is to exit, with `exit_status`.
    """

    def __init__(self, node: Any, transitions: Transitions) -> None:
        self._node, self._transitions = node, transitions
        self.ended = threading.Event()
        self.exit_status = 0
        self._tries, self._restarted_at = 0, -math.inf
        self._thread: threading.Thread | None = None

    def look(self, worker: Worker, settings: NodeSettings) -> None:
        """Ask the worker of an active node whether it can go on; lead the node out if not."""
        if self._thread is not None and self._thread.is_alive():
            return
        if failure := worker.failure(settings.engine_timeout):
            policy = settings.on_engine_failure
            self._node.report(f'The engine cannot go on: {failure}; {_NEXT[policy]}')
            self._thread = threading.Thread(
                target=self._lead_out, args=(policy,), name='supervisor', daemon=True
            )
            self._thread.start()

    def _lead_out(self, policy: str) -> None:
        # The node's on_deactivate sees the failed worker and answers with an error.
        if self._transitions.run('deactivate', only_from='active') is None:
            return
        if policy == 'exit':
            self.exit_status = 1
            self.ended.set()
            self._node.wake()
        elif policy == 'restart':
            self._restart()

    def _restart(self) -> None:
        if time.monotonic() - self._restarted_at > _GOOD:
            self._tries = 0
        while self._tries < _TRIES:
            if self.ended.wait(_PAUSE * 2**self._tries):
                return
            self._tries += 1
            self._node.get_logger().info(f'Starting the engine, try {self._tries} of {_TRIES}.')
            configured = self._transitions.run('configure', only_from='unconfigured')
            if configured is None:  # whoever changed the state has taken over
                return
            if configured and self._transitions.run('activate', only_from='inactive'):
                self._restarted_at = time.monotonic()
                return
            self._transitions.run('cleanup', only_from='inactive')
        self._node.report(
            f'The engine has failed {_TRIES} times and is not started again; {_NEXT["stop"]}'
        )
