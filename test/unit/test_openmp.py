"""PyTorch's threads do not keep the cores busy while they wait."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pdl_ros.runtime.openmp import limit_openmp_spin

SCRIPT = """
import os, time
from pdl_ros.runtime.openmp import limit_openmp_spin
if {brief}:
    limit_openmp_spin()
import torch
torch.set_num_threads(2)
a = torch.ones(1 << 20)
spent = 0.0
for _ in range(50):
    a.add_(1)
    before = time.process_time()
    time.sleep(0.01)  # nothing to do
    spent += time.process_time() - before
print(spent)
"""


@pytest.mark.parametrize('variable', ['GOMP_SPINCOUNT', 'OMP_WAIT_POLICY'])
def test_what_a_user_has_set_stays(variable, monkeypatch):
    monkeypatch.delenv('GOMP_SPINCOUNT', raising=False)
    monkeypatch.delenv('OMP_WAIT_POLICY', raising=False)
    monkeypatch.setenv(variable, 'mine')
    limit_openmp_spin()
    found = {n: os.environ[n] for n in ('GOMP_SPINCOUNT', 'OMP_WAIT_POLICY') if n in os.environ}
    assert found == {variable: 'mine'}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason='one core has nothing to spin for')
def test_between_two_frames_no_core_is_busy():
    environment = {k: v for k, v in os.environ.items() if not k.startswith(('GOMP', 'OMP'))}
    spent = [
        float(
            subprocess.run(
                [sys.executable, '-c', SCRIPT.format(brief=brief)],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for brief in (False, True)
    ]
    assert spent[1] < 0.5 * spent[0]
