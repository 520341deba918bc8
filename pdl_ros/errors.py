"""The one error type for everything a user can cause."""

from __future__ import annotations


class PdlError(Exception):
    """Say in one sentence what was wrong, where, and what to do about it.

    The command line prints the sentence and exits with status 2; the node logs it and lives on.
    Bugs in this package raise ordinary exceptions instead, with a traceback.
    """


def require(holds: bool, sentence: str) -> None:
    """Raise PdlError with the sentence unless the condition holds."""
    if not holds:
        raise PdlError(sentence)
