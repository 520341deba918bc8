"""What a quick run tries on a few of each kind, on all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..setup.test_workspace import check_that_it_builds_and_exchanges_messages, workspace
from ..unit.test_onnx_export import (
    architectures,
    check_the_heads_at_sizes_the_export_never_saw,
    families,
)

__all__ = ['workspace']


@pytest.mark.parametrize('name', sorted({*architectures().values()} - {*families()}))
def test_onnx_runtime_gives_the_heads_of_pytorch_for_every_architecture(name: str) -> None:
    check_the_heads_at_sizes_the_export_never_saw(name)


def test_a_workspace_of_links_builds_and_exchanges_messages(workspace: Path, domain: int) -> None:
    check_that_it_builds_and_exchanges_messages(workspace, domain, '--symlink-install')
