"""PyTorch's threads do not keep the cores busy while they wait."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from pdl_ros.runtime.openmp import limit_openmp_spin

SCRIPT = """
import os, sys
import pdl_ros.cli, pdl_ros.node.main  # what the programs import before they call it
from pdl_ros.runtime.openmp import limit_openmp_spin
assert 'torch' not in sys.modules
limit_openmp_spin()
import torch
print(os.environ['GOMP_SPINCOUNT'])
"""


@pytest.mark.parametrize('variable', ['GOMP_SPINCOUNT', 'OMP_WAIT_POLICY'])
def test_what_a_user_has_set_stays(variable, monkeypatch):
    monkeypatch.delenv('GOMP_SPINCOUNT', raising=False)
    monkeypatch.delenv('OMP_WAIT_POLICY', raising=False)
    monkeypatch.setenv(variable, 'mine')
    limit_openmp_spin()
    found = {n: os.environ[n] for n in ('GOMP_SPINCOUNT', 'OMP_WAIT_POLICY') if n in os.environ}
    assert found == {variable: 'mine'}


def test_the_library_under_pytorch_learns_of_it_before_it_is_loaded():
    """libgomp reads its settings when it is loaded, and says them where it is asked to."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(('GOMP', 'OMP'))}
    environment = {**kept, 'OMP_DISPLAY_ENV': 'verbose'}
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT], env=environment, capture_output=True, text=True, check=True
    )
    (said,) = re.findall(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr)
    assert said == done.stdout.strip()
