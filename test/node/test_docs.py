"""The documentation's tables say what a running node says of itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = ('README.md', 'docs/node.md')


def check(root: Path, domain: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / 'scripts' / 'node_docs.py', '--check', '--root', root]
    environment = {**os.environ, 'ROS_DOMAIN_ID': str(domain), 'OMP_NUM_THREADS': '1'}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)


def test_every_topic_type_qos_service_diagnostics_key_and_parameter_is_documented_as_it_is(
    domain: int,
) -> None:
    done = check(ROOT, domain)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


def test_a_table_that_has_drifted_is_shown_with_what_is_true(tmp_path: Path, domain: int) -> None:
    (tmp_path / 'docs').mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path / name)
    page = tmp_path / 'docs' / 'node.md'
    text = page.read_text(encoding='utf-8')
    drifts = {
        '| reliable, latched, last 1 | what the': '| reliable, last 1 | what the',
        '| `~/timing` | pdl_ros/FrameTiming |': '| `~/timing` | std_msgs/Header |',
        '| `top_k` | `-1` |': '| `top_k` | `200` |',
        '| each camera | frames too old |': '| each camera | frames too young |',
        '| `~/get_state` |': '| `~/state` |',
    }
    for true, false in drifts.items():
        assert text.count(true) == 1, true
        text = text.replace(true, false)
    page.write_text(text, encoding='utf-8')
    done = check(tmp_path, domain)
    assert done.returncode == 1, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    for true, false in drifts.items():
        assert any(line.startswith('+') and true in line for line in lines), true
        assert any(line.startswith('-') and false in line for line in lines), false
    assert page.read_text(encoding='utf-8') == text, 'a check changes nothing'
