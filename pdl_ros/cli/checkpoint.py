"""`pdl_ros checkpoint`: look at and convert files of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pdl_ros.cli.options import OutFile, WeightsFile, import_torch
from pdl_ros.errors import require

checkpoint = typer.Typer(help='Look at and convert files of weights.', no_args_is_help=True)


@checkpoint.command()
def inspect(file: WeightsFile) -> None:
    """Say what a file of weights is: its format, release, variant, classes, size and cost."""
    import_torch()
    from pdl_ros.cli.inspection import describe

    for name, value in describe(file):
        print(f'{name + ":":<16}{value}')


@checkpoint.command('import')
def import_(
    file: WeightsFile,
    out: Annotated[Path, OutFile],
    variant: Annotated[
        str | None, typer.Option(help='Variant, where the parameters fit several.')
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help='Label set (name or YAML), if trained on other classes.')
    ] = None,
) -> None:
    """Convert published weights to a file that pdl_ros and its node load by themselves."""
    from pdl_ros.labels import LabelSet
    from pdl_ros.network.variants import get_variant

    require(out.suffix == '.safetensors', f'{out} must end in .safetensors.')
    label_set = None if labels is None else LabelSet.load(labels)
    if variant is not None:
        get_variant(variant)
    import_torch()
    from pdl_ros.network import checkpoints

    network, found = checkpoints.load(file, variant, label_set)
    checkpoints.save(network, found, out, {'imported': Path(file).name}, half=False)
    print(f'{out}: {found.name}, {found.label_set.num_classes} classes ({found.label_set.name})')
