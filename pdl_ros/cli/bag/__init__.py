"""`pdl_ros bag`: recordings, from ROS or without it. One file a command."""

from __future__ import annotations

import typer

from pdl_ros.cli.bag.info import info
from pdl_ros.cli.bag.record import record

bag = typer.Typer(help='Look at, process, score and make recordings.', no_args_is_help=True)
bag.command()(info)
bag.command()(record)
