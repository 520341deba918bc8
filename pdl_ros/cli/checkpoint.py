"""`pdl_ros checkpoint`: look at and convert files of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pdl_ros.cli.options import OutFile

checkpoint = typer.Typer(help='Look at and convert files of weights.', no_args_is_help=True)


@checkpoint.command()
def inspect(file: Annotated[str, typer.Argument(help='A file of weights.')]) -> None:
    """Say what a file of weights is: its format, release, variant, classes, size and cost."""
    from pdl_ros.cli.catalogue import describe

    for name, value in describe(file):
        print(f'{name + ":":<16}{value}')


@checkpoint.command('import')
def import_(
    file: Annotated[str, typer.Argument(help="detectron2's or the authors' file of weights.")],
    out: Annotated[Path, OutFile],
    variant: Annotated[
        str | None, typer.Option(help='Variant, where the parameters fit several.')
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help='Label set (name or YAML), if trained on other classes.')
    ] = None,
) -> None:
    """Convert published weights to a file that pdl_ros and its node load by themselves."""
    from pdl_ros.errors import require
    from pdl_ros.labels import LabelSet
    from pdl_ros.network import checkpoints

    require(out.suffix == '.safetensors', f'{out} must end in .safetensors.')
    label_set = None if labels is None else LabelSet.load(labels)
    network, found = checkpoints.load(file, variant, label_set)
    checkpoints.save(network, found, out, {'imported': Path(file).name}, half=False)
    print(f'{out}: {found.name}, {found.label_set.num_classes} classes ({found.label_set.name})')
