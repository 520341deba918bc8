"""The benchmarks over DDS run and say what they found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pdl_ros.bench import node, start
from pdl_ros.network.weight_files import find_weights


def test_a_node_is_timed_beside_its_pipeline(capsys: pytest.CaptureFixture[str]) -> None:
    results = node.bench_node(64, 96, 3, 'scene_tiny')
    for found in results['transports'].values():
        assert found['label images']['being a node'][0] > 0
        assert found['flooded']['arrived_percent'] > 0
    node.print_results(json.loads(json.dumps(results)))
    assert 'being a node' in capsys.readouterr().out


def test_starts_are_timed_and_the_users_cache_is_left_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, weights = tmp_path / 'cache', tmp_path / 'own.safetensors'
    cache.mkdir()
    monkeypatch.setenv('PDL_ROS_CACHE', str(cache))
    shutil.copy(find_weights('scene_tiny'), weights)
    results = start.bench_start(96, 160, 1, str(weights))
    assert list(results['starts']) == ['nothing cached', 'kernels compiled', 'all cached']
    for (found,) in results['starts'].values():
        assert 0 < found['active_s'] <= found['result_s']
    start.print_results(json.loads(json.dumps(results)))
    assert 'nothing cached' in capsys.readouterr().out
    assert not list(cache.iterdir())
