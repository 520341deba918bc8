"""`pdl_ros bag`: what is done with recordings, without ROS."""

from __future__ import annotations

import typer

from pdl_ros.cli.bag.score import score

bag = typer.Typer(help='Process, score and look at rosbags, without ROS.', no_args_is_help=True)
bag.command()(score)
