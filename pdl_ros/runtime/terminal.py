"""What this process prints, on whatever terminal."""

from __future__ import annotations

import codecs
import io
import sys

_PLAIN = {'×': 'x', '–': '-', '…': '...', '→': '->'}


def print_on_any_terminal() -> None:
    """Have something like it printed for what the terminal's encoding has not, or a `?`.

    Tables hold × and –, names of files whatever their writer liked; in a CI, or over a serial line,
    the encoding is often ASCII or Latin-1.
    """
    codecs.register_error('pdl_ros.plain', _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='pdl_ros.plain')


def _plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    return ''.join(_PLAIN.get(letter, '?') for letter in text), error.end
