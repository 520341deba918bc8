"""`pdl_ros bench`: time the parts beside plain versions of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

bench = typer.Typer(help='Time the parts beside plain versions of them.', no_args_is_help=True)


@bench.callback()
def _several() -> None:
    """Keep the name of a command even while there is only one."""


@bench.command('fusion')
def bench_fusion(
    json_file: Annotated[
        Path | None, typer.Option('--json', help='Also write the results here.')
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help='Frames timed in each case.')] = 30,
    published: Annotated[
        bool, typer.Option(help='Also time the published algorithm: minutes, and gigabytes.')
    ] = True,
) -> None:
    """Time the fusion at 512×1024 and 1024×2048, beside the published algorithm in PyTorch."""
    from pdl_ros.bench import fusion

    results = fusion.bench_fusion(repeats, published)
    fusion.print_results(results)
    if json_file is not None:
        json_file.write_text(json.dumps(results, indent=1) + '\n')
