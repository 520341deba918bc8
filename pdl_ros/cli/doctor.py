"""`pdl_ros doctor`: what this machine has, and what it lacks for what."""

from __future__ import annotations

from typing import Annotated

import typer

from pdl_ros.cli.options import Device, JsonFile


def doctor(
    json_file: JsonFile = None,
    gpu: Annotated[
        bool, typer.Option('--gpu', help='Prove in some minutes that all runs on the GPU.')
    ] = False,
    device: Device = 'auto',
) -> None:
    """Say what this machine has, what is missing for what, and what to do; status 1 where the node
    cannot run. `--gpu --device cpu` tries the proof itself where there is no GPU.
    """
    from pdl_ros.doctor.main import run_doctor

    raise typer.Exit(run_doctor(json_file, gpu, device))
