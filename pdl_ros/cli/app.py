"""The command `pdl_ros`. Every subcommand imports what it needs, so that --help is instant."""

from __future__ import annotations

import errno
import logging
import sys
from typing import Annotated

import typer

from pdl_ros import __version__
from pdl_ros.cli.bag import bag
from pdl_ros.cli.bench import bench
from pdl_ros.cli.checkpoint import checkpoint
from pdl_ros.cli.compile import compile_all
from pdl_ros.cli.data import data
from pdl_ros.cli.demo import demo
from pdl_ros.cli.doctor import doctor
from pdl_ros.cli.evaluate import evaluate
from pdl_ros.cli.export import export
from pdl_ros.cli.infer import infer
from pdl_ros.cli.label import label
from pdl_ros.cli.train import train
from pdl_ros.errors import PdlError, os_error_reason
from pdl_ros.runtime.openmp import limit_openmp_spin
from pdl_ros.runtime.terminal import print_on_any_terminal

_OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOENT)

app = typer.Typer(
    help='Panoptic-DeepLab for ROS 2: panoptic segmentation of camera images.',
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (demo, infer, label, train, evaluate, doctor):
    app.command()(command)
app.command('compile')(compile_all)
app.add_typer(bag, name='bag')
app.add_typer(data, name='data')
app.add_typer(checkpoint, name='checkpoint')
app.add_typer(bench, name='bench')
app.add_typer(export, name='export')


def main() -> None:
    """Run the command line; a user's mistake is one sentence and exit status 2."""
    limit_openmp_spin()
    print_on_any_terminal()
    try:
        logging.basicConfig(level=logging.INFO, format='%(message)s')
        app()
    except PdlError as error:
        print(f'pdl_ros: {error}', file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # what no check before the work could know of
        if error.filename is None and error.errno not in _OF_THE_MACHINE:
            raise
        what = 'A file' if error.filename is None else error.filename
        print(f'pdl_ros: {what} cannot be used: {os_error_reason(error)}.', file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


@app.command()
def variants() -> None:
    """List the model variants: published accuracy, size, and where weights come from."""
    from pdl_ros.cli.catalogue import print_variants

    print_variants()


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option('--version', help='Print the version.')] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit
