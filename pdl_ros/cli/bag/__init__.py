"""`pdl_ros bag`: recordings processed, scored, looked at and made, without ROS."""

from __future__ import annotations

import typer

from pdl_ros.cli.bag.info import info
from pdl_ros.cli.bag.record import record
from pdl_ros.cli.bag.repair import repair
from pdl_ros.cli.bag.run import run
from pdl_ros.cli.bag.score import score
from pdl_ros.cli.bag.video import video

bag = typer.Typer(
    help='Process, score and look at recordings (rosbag2 and ROS 1), without ROS.',
    no_args_is_help=True,
)
bag.command()(info)
bag.command()(record)
bag.command()(repair)
bag.command()(run)
bag.command()(score)
bag.command()(video)
