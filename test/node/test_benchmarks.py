"""What the benchmarks over DDS say; test/soak runs them whole."""

from __future__ import annotations

import importlib.util
import signal
import sys
from pathlib import Path

import pytest

from pdl_ros.bench import node
from pdl_ros.cli import main
from pdl_ros.demo import run
from pdl_ros.demo.processes import ros_process
from pdl_ros.errors import PdlError


def test_a_camera_of_which_no_frame_arrived_whole_costs_no_other_number(
    capsys: pytest.CaptureFixture[str],
) -> None:
    times = {'being a node': (1.0, 2.0)}
    flooded = {
        'output_rate_hz': 5.0,
        'pipeline_rate_hz': 6.0,
        'age_in_frames': (1.0, 2.0),
        'arrived_percent': 0.0,
        'arrival_ms': None,
    }
    case = {
        'label images': times,
        'all outputs': times,
        'flooded': flooded,
        'unheard_cpu_percent': {'lazy': 0.1},
    }
    facts = {**node.machine_facts(), 'size': [4, 6], 'rate_hz': 30.0}
    node.print_results({**facts, 'transports': {'as it comes': case}})
    said = ' '.join(capsys.readouterr().out.split())
    assert '0 % of them arrived whole. Nobody listening' in said


@pytest.mark.parametrize('command', ['node', 'start'])
def test_without_ros_a_benchmark_of_the_node_is_one_sentence(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    monkeypatch.setattr(sys, 'argv', ['pdl_ros', 'bench', command])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f'pdl_ros: bench {command} needs ROS 2')
    assert said.count('\n') == 1


def test_a_node_that_does_not_end_is_a_sentence_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, '_PATIENCE', 0.2)
    (tmp_path / 'deaf.py').write_text('import time\ntime.sleep(60)\n')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    # In ros_process SIGINT is ignored by whoever does not ask for it.
    with (
        pytest.raises(PdlError, match=r'did not end within 0\.2 s'),
        ros_process('deaf', '/nowhere') as process,
    ):
        run._end(process)
    assert process.poll() == -signal.SIGTERM
