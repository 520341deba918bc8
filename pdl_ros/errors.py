"""The one error type for everything a user can cause."""

from __future__ import annotations

from importlib.util import find_spec


class PdlError(Exception):
    """Say in one sentence what was wrong, where, and what to do about it.

    The command line prints the sentence and exits with status 2; the node logs it and lives on.
    Bugs in this package raise ordinary exceptions instead, with a traceback.
    """


def in_words(error: BaseException) -> str:
    """Return an error in one line: the sentence of a PdlError; of others their kind and first line
    (CUDA's advice for developers takes several).
    """
    if isinstance(error, PdlError):
        return str(error)
    return f'{type(error).__name__}: {str(error).partition(chr(10))[0]}'


def require(holds: bool, sentence: str) -> None:
    """Raise PdlError with the sentence unless the condition holds."""
    if not holds:
        raise PdlError(sentence)


def require_package(module: str, extra: str) -> None:
    """Raise PdlError that names the extra to install where an optional package is not there."""
    require(
        find_spec(module) is not None,
        f"This needs the package {module}; install it with: pip install 'pdl_ros[{extra}]'.",
    )


def require_bag_packages() -> None:
    """Raise PdlError that names the extra where what recordings are read and written with is not
    there; before modules are imported that need it.
    """
    for package in ('rosbags', 'mcap', 'lz4', 'zstandard'):
        require_package(package, 'bag')


def printable(text: str) -> str:
    """Return a text from an untrusted file as it may stand in a sentence and on a terminal."""
    return ''.join(letter if letter.isprintable() else '?' for letter in text)


def os_error_reason(error: OSError) -> str:
    """Return the system's reason as the end of a sentence, without its number and file."""
    return error.strerror or str(error) or type(error).__name__
