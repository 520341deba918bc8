"""What the doctor says: findings in sections."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

OK, OPTIONAL, DOUBTFUL, MISSING = 'ok', 'optional', 'doubtful', 'missing'
LEVELS = (OK, OPTIONAL, DOUBTFUL, MISSING)
"""As it should be; not here, and the node runs without; works badly or perhaps not; the node cannot
run without it.
"""


@dataclass(frozen=True)
class Finding:
    """One fact: `name`, and what was found in a few words.

    level: one of `LEVELS`. advice: one sentence, what it is missing for and what to do. data: the
    same as values for programs.
    """

    name: str
    found: str
    level: str = OK
    advice: str = ''
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """Findings that belong together."""

    title: str
    findings: list[Finding]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def megabytes(count: float) -> str:
    """Return a number of bytes in MB or GB, as people read it."""
    return f'{count / 1e9:.1f} GB' if count >= 1e9 else f'{count / 1e6:.1f} MB'
