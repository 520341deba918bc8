"""What several rooms' tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / 'shared'


@pytest.fixture(scope='session')
def camvid() -> Path:
    """The CamVid images with panoptic labels; their licence keeps them out of the project."""
    return _folder(SHARED / 'data' / 'camvid')


def _folder(path: Path) -> Path:
    if not path.is_dir():
        pytest.skip(f'needs the data that is not shipped with the project ({path.name})')
    return path
