"""How long PyTorch's threads spin for the next piece of work before they sleep."""

from __future__ import annotations

import os

_SPINS = '3000'  # about 100 microseconds


def limit_openmp_spin() -> None:
    """Have OpenMP's threads leave the cores soon after their work; before PyTorch is imported.

    They would spin for milliseconds, against the fusion that comes next and against all others on
    the machine: beside one busy process a frame takes nearly twice as long (docs/benchmarks.md).
    What a user has set stays.
    """
    if 'OMP_WAIT_POLICY' not in os.environ:
        os.environ.setdefault('GOMP_SPINCOUNT', _SPINS)
