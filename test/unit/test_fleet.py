"""A fleet's recordings come out of a cluster as one machine would have made them.

test/soak has more of it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip('rosbags')
pytest.importorskip('ray')

import ray
from ray.cluster_utils import Cluster
from rosbags.rosbag2 import StoragePlugin

from pdl_ros.bags.fleet import run_fleet
from pdl_ros.bags.run import BagReport, run_bag
from pdl_ros.bags.run_settings import BagJob, RunSettings
from pdl_ros.errors import PdlError

from .recordings import record

# Without `timing` two runs agree in every byte.
SETTINGS = RunSettings(
    weights='scene_tiny', device='cpu', engine='torch', precision='fp32', timing=False,
    part_frames=2,
)  # fmt: skip


@pytest.fixture(scope='module')
def cluster():
    """A cluster of two machines with a processor each, beside the head, which has none."""
    made = Cluster(initialize_head=True, head_node_args={'num_cpus': 0, 'num_gpus': 0})
    made.workers = [made.add_node(num_cpus=1, num_gpus=0) for _ in range(2)]
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope='module')
def recording(tmp_path_factory) -> Path:
    """Twenty images: ten parts."""
    folder = tmp_path_factory.mktemp('bags') / 'drive'
    return record(folder, {'/front/image': 'rgb8'}, 20, StoragePlugin.MCAP)


@pytest.fixture(scope='module')
def alone(recording, tmp_path_factory) -> dict[str, bytes]:
    """What one machine makes of it."""
    target = tmp_path_factory.mktemp('alone') / 'result'
    assert run_bag(BagJob(recording, target, SETTINGS)).exit_status == 0
    return contents(target)


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files of a result by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_machine_that_dies_in_the_midst_costs_no_image_and_changes_no_byte(
    cluster, recording, alone, tmp_path
):
    said: list[tuple[int, int]] = []

    def kill_one(done: int, total: int) -> None:
        said.append((done, total))
        if done >= 4 and len(cluster.workers) == 2:
            cluster.remove_node(cluster.workers.pop(), allow_graceful=False)

    job = BagJob(recording, tmp_path / 'result', SETTINGS)
    (report,) = run_fleet([job], cluster.address, cpus=1, progress=kill_one)
    assert isinstance(report, BagReport), report
    assert (report.frames, report.made, report.lost, report.exit_status) == (20, 20, 0, 0)
    assert said[0] == (0, 20)
    assert said[-1] == (20, 20)
    assert len(cluster.workers) == 1
    assert contents(job.target) == alone


def test_without_a_cluster_the_user_is_told_how_to_start_one(recording, tmp_path):
    with pytest.raises(PdlError, match=r'No Ray cluster answers .*ray start --head') as error:
        run_fleet([BagJob(recording, tmp_path / 'out', SETTINGS)], '127.0.0.1:1')
    assert '\n' not in str(error.value)


def test_a_task_that_no_machine_can_take_is_said_and_not_waited_for(cluster, recording, tmp_path):
    with pytest.raises(PdlError, match=r'4 processors, but the largest .* has 1; .*--ray-cpus'):
        run_fleet([BagJob(recording, tmp_path / 'out', SETTINGS)], cluster.address)
    assert not (tmp_path / 'out').exists()
