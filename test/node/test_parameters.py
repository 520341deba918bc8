"""Parameter files and thresholds mean what they say; test_docs.py has the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pdl_ros.fusion import FusionSettings
from pdl_ros.node.parameters import TABLE, NodeSettings

ROOT = Path(__file__).resolve().parents[2]
DEFAULTS = NodeSettings(**{row.name: row.default for row in TABLE})


@pytest.mark.parametrize('path', sorted(ROOT.glob('config/*.yaml')), ids=lambda p: p.name)
def test_shipped_parameter_files_name_only_parameters_that_exist(path: Path) -> None:
    parameters = yaml.safe_load(path.read_text())['/**']['ros__parameters']
    assert set(parameters) <= {row.name for row in TABLE}
    assert parameters['variant'] == path.stem


def test_negative_thresholds_leave_the_variants_own_in_force() -> None:
    own = FusionSettings(center_threshold=0.3, nms_kernel=9, top_k=50, stuff_area=77)
    assert DEFAULTS.fusion(own) == own
    changed = NodeSettings(**{**vars(DEFAULTS), 'top_k': 7, 'center_threshold': 0.0})
    assert changed.fusion(own) == FusionSettings(0.0, 9, 7, 77)
