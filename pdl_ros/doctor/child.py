"""Questions that are answered by a child process: what it dies of, or hangs on, is one too."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

PROBES = 'pdl_ros.doctor.probes'
_ANSWER = '@pdl_ros.doctor '
_ENDING = 5.0  # seconds that a child which was asked to end may take


class ProbeError(Exception):
    """A child failed; the message is why, as the end of a sentence without its full stop.

    kind: the name of the exception's class, or '' where the process died or hung.
    """

    def __init__(self, reason: str, kind: str = '') -> None:
        super().__init__(reason)
        self.kind = kind


def ask(
    question: str,
    *arguments: object,
    module: str = PROBES,
    limit: float = 60.0,
    environment: Mapping[str, str] | None = None,
) -> Any:
    """Return what `python -m module question arguments` answers within `limit` seconds.

    environment: variables beside (or in the place of) this process's. Raises ProbeError.
    """
    command = [sys.executable, '-m', module, question, *map(str, arguments)]
    with _running(command, {**os.environ, **(environment or {})}) as process:
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            raise ProbeError(f'it did not answer within {limit:.0f} s') from None
    answers = [line for line in out.splitlines() if line.startswith(_ANSWER)]
    if not answers:
        raise ProbeError(_death(process.returncode, err))
    answer = json.loads(answers[-1].removeprefix(_ANSWER))
    if 'error' in answer:
        raise ProbeError(answer['error'], answer['kind'])
    return answer['value']


def answer(questions: Mapping[str, Callable[..., Any]]) -> None:
    """Be the child: call the function that the first argument names with the others, print what it
    returns, and leave at once.
    """
    name, *arguments = sys.argv[1:]
    said: dict[str, Any]
    try:
        said = {'value': questions[name](*arguments)}
    except Exception as error:
        kind, text = type(error).__name__, ' '.join(str(error).split()).rstrip('.')
        said = {'error': f'{kind}: {text}' if text else kind, 'kind': kind}
    print(f'\n{_ANSWER}{json.dumps(said)}', flush=True)
    # The answer counts, not whether broken libraries survive their own unloading.
    os._exit(0)


@contextlib.contextmanager
def _running(command: list[str], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a group of its own, so that whatever it started ends with it."""
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors='replace',
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=_ENDING)
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def _death(status: int, err: str) -> str:
    if status < 0:
        with contextlib.suppress(ValueError):
            return f'its process was ended by {signal.Signals(-status).name}'
    lines = err.strip().splitlines() or ['it said nothing']
    return f'its process ended with status {status}: {lines[-1].strip()}'
