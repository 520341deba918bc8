"""The whole recipe of the shipped network of drawn streets: some minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..test_main_job import train


@pytest.mark.timeout(1800)
def test_the_recipe_of_the_drawn_streets_reaches_a_panoptic_quality_of_80(tmp_path: Path) -> None:
    _, after = train(tmp_path)
    assert after.pq >= 0.8, after
    assert after.pq_things >= 0.5, after
    assert after.miou >= 0.8, after
