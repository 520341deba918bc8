"""What brings the data sets of the model card into one layout says what it lacks."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

PREPARE = Path(__file__).resolve().parents[2] / 'examples' / 'street' / 'prepare.py'


def test_a_picture_of_lima_that_is_missing_is_a_sentence(tmp_path):
    raw = tmp_path / 'street' / 'lima_streets'
    raw.mkdir(parents=True)
    (raw / 'train.json').write_text(json.dumps({'a.jpg': []}))
    with pytest.raises(SystemExit, match=r'a\.jpg is missing or damaged'):
        runpy.run_path(str(PREPARE))['lima'](tmp_path, tmp_path / 'out')
