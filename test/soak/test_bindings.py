"""mypy reads our TensorRT code beside the signatures of the real bindings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ..unit.test_tensorrt import ROOT, bindings

__all__ = ['bindings']


def test_the_code_agrees_with_the_signatures_of_the_real_bindings(bindings):
    here = Path(bindings['HERE'])
    main = 'from mypy.stubgen import main; main()'
    stubgen = [sys.executable, '-c', main, '-p', 'tensorrt', '--inspect-mode']
    done = subprocess.run(
        [*stubgen, '-o', str(here / 'stubs')],
        env=bindings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    stub = here / 'stubs' / 'tensorrt' / 'tensorrt.pyi'
    text = stub.read_text()
    assert 'def execute_async_v3(self, stream_handle' in text
    # A docstring there has a parameter without a default behind one that has it.
    lines = [line for line in text.splitlines() if 'def add_scale_nd' not in line]
    stub.write_text('\n'.join(lines))
    checker = [sys.executable, '-m', 'mypy', '--cache-dir', str(here / 'mypy')]
    file = 'pdl_ros/engines/tensorrt_engine.py'
    done = subprocess.run(
        [*checker, '--config-file', str(ROOT / 'pyproject.toml'), file],
        env={**os.environ, 'MYPYPATH': str(here / 'stubs')},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not [line for line in done.stdout.splitlines() if line.startswith(file)]
    assert 'tensorrt.pyi' in done.stdout  # it has been read: the stubs are not typed as we are
