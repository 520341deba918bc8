"""What runs on the server where it is tested runs on a robot: AVX2 only, or ARM."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from email.message import Message
from importlib.metadata import metadata
from pathlib import Path

import pytest

from ..skips import X86

ROOT = Path(__file__).resolve().parents[2]
ONLY_X86 = "platform_machine == 'x86_64'"

LOOK = """
import numba, torch
from pdl_ros.runtime.cpu_features import has_bf16, instruction_set
print('pdl_ros', instruction_set(), has_bf16())
print('torch', torch.backends.cpu.get_cpu_capability())
torch.nn.functional.conv2d(torch.ones(1, 64, 64, 64), torch.ones(64, 64, 3, 3))
@numba.njit('f4[:](f4[:], f4[:])')
def kernel(a, b): return a * b + a
code = kernel.inspect_asm(kernel.signatures[0])
print('numba', *(name for name in ('xmm', 'ymm', 'zmm') if name in code))
"""


def limits() -> dict[str, str]:
    """Return the variables that `make test-avx2` sets."""
    text = (ROOT / 'Makefile').read_text()
    (line,) = re.findall(r'^AVX2 = (.*)$', text, re.MULTILINE)
    return dict(word.split('=') for word in line.split())


@pytest.mark.skipif(platform.machine() != 'x86_64', reason='needs an x86_64 processor')
def test_the_tests_on_a_robots_instructions_keep_every_library_to_them() -> None:
    environment = {**os.environ, **limits(), 'ONEDNN_VERBOSE': '1'}
    command = [sys.executable, '-c', LOOK]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert 'pdl_ros avx2 False' in said
    assert 'torch AVX2' in said
    assert re.search(r'cpu,isa:.*AVX2\n', said), said
    assert 'avx512' not in said
    assert 'numba xmm ymm\n' in said


def test_what_exists_for_one_processor_only_is_nothing_that_a_robot_needs() -> None:
    """`make lock` finds out which packages ARM does not have."""
    lines = (ROOT / 'requirements' / 'python.txt').read_text().splitlines()
    only_x86 = {line.partition('==')[0] for line in lines if ONLY_X86 in line}
    assert {f'needs {name}' for name in only_x86} == set(X86)
    about: Message = metadata('pdl_ros')  # type: ignore[assignment]
    for requirement in about.get_all('Requires-Dist', []):
        name = re.split(r'[^\w.-]', requirement)[0]
        if name in only_x86:
            assert 'extra == "test"' in requirement.replace("'", '"'), requirement
            assert ONLY_X86 in requirement.replace('"', "'"), requirement
