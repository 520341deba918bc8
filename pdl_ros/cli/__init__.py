"""The command `pdl_ros`: one file for each group of commands."""

from pdl_ros.cli.app import main

__all__ = ['main']
