"""What this process prints, on whatever terminal."""

from __future__ import annotations

import io
import sys


def print_on_any_terminal() -> None:
    """Have a `?` printed for what the terminal's encoding has not, instead of an error.

    Tables hold × and –, names of files whatever their writer liked; in a CI, or over a serial line,
    the encoding is often ASCII or Latin-1.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='replace')
