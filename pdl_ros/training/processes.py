"""Start the processes of a training: one, or several that train together."""

from __future__ import annotations

import logging
import os
from datetime import timedelta

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from pdl_ros.engines import pick_device
from pdl_ros.errors import PdlError, require
from pdl_ros.training.settings import RunSettings, TrainSettings

_PRECISIONS = {'fp32': '32-true', 'bf16': 'bf16-mixed', 'fp16': '16-mixed', 'fp64': '64-true'}
_PATIENCE = timedelta(hours=2)  # of processes with the one that validates


def launch(settings: TrainSettings, run: RunSettings) -> Fabric:
    """Start what `run` asks for; return each process's Fabric. Raises PdlError for what this
    machine has not.

    Under torchrun, which starts processes itself, its counts hold instead of `devices` and `nodes`.
    """
    where = pick_device(run.device)
    devices, nodes = _counts(run)
    require(
        settings.precision != 'fp16' or where.type == 'cuda',
        'Precision fp16 needs a GPU; use bf16 or fp32.',
    )
    check_batch(settings, devices * nodes)
    if where.type == 'cuda' and devices > 1:
        _check_gpus(run, devices)
    alone = devices * nodes == 1
    fabric = Fabric(
        accelerator=where.type,
        devices=[where.index or 0] if alone and where.type == 'cuda' else devices,
        num_nodes=nodes,
        strategy='auto' if alone else DDPStrategy(timeout=_PATIENCE),
        precision=_PRECISIONS[settings.precision],  # type: ignore[arg-type]
    )
    fabric.launch()
    if fabric.global_rank:
        logging.getLogger('pdl_ros').setLevel(logging.ERROR)
    return fabric


def check_batch(settings: TrainSettings, processes: int) -> None:
    """Raise PdlError where a step's crops cannot be divided over processes and passes."""
    passes = settings.optimizer.accumulate
    require(
        settings.batch_size % (processes * passes) == 0,
        f'batch_size is {settings.batch_size}; it must be a multiple of {processes * passes}, for '
        f'{processes} processes that take {passes} passes each.',
    )


def workers_of(run: RunSettings, device: torch.device) -> int:
    """Return how many processes shall prepare crops beside each of those that train."""
    if run.workers is not None:
        return run.workers
    share = len(os.sched_getaffinity(0)) // _counts(run)[0]
    if device.type == 'cuda':
        return max(min(share - 1, 8), 0)
    # On a CPU the network needs the cores itself: a crop is a small part of a step's time.
    return 1 if share >= 4 else 0


def _counts(run: RunSettings) -> tuple[int, int]:
    if 'TORCHELASTIC_RUN_ID' not in os.environ:
        return run.devices, run.nodes
    local, world = (int(os.environ[name]) for name in ('LOCAL_WORLD_SIZE', 'WORLD_SIZE'))
    return local, world // local


def _check_gpus(run: RunSettings, devices: int) -> None:
    require(
        ':' not in run.device,
        f'Device {run.device!r} is one GPU, and {devices} are asked for; use device cuda.',
    )
    found = torch.cuda.device_count()
    if found < devices:
        raise PdlError(f'{devices} GPUs are asked for, and PyTorch sees {found}; ask for fewer.')
