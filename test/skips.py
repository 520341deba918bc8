"""What did not run, and why: listed at the end, and a failure where it should have run.

In an environment that scripts/setup_env.py made, everything that tests need is there. Whatever is
skipped there for another reason than the machine's is a fault of the set-up or of a test, and fails
the run; elsewhere, as beside a ROS distribution without the extras, it is only listed.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / 'shared'
MACHINE = (
    'needs a GPU',
    'needs bf16 instructions',
    'needs Node',
    'needs a second core',
    'needs root',
    'needs rclcpp',  # the wheels are those of Python
    'needs a checkout that was set up',
    'needs oneDNN',
    'needs an x86_64 processor',
    'needs /dev/full',
    'needs chromium',  # only to look at pages as their readers do
    'needs a machine without ',  # a package that is optional, and is installed
    "needs ROS 2's own cv_bridge",
    'starts the interpreted process, which this is',
    'is for compiled kernels',
)
X86 = ('needs tensorrt-cu12-bindings',)  # no other wheels, as the lock says
# Data and packages that lie beside the checkout and are not part of the project.
BESIDE = {
    SHARED / 'data': 'needs the data that is not shipped',
    SHARED / 'reference' / 'ros2_launch': 'needs launch',
    SHARED / 'reference' / 'vision_msgs': 'needs vision_msgs',
}


def may_skip(reason: str) -> bool:
    """Tell whether a test may be skipped on this machine for a reason."""
    missing = [start for folder, start in BESIDE.items() if not folder.is_dir()]
    missing += () if platform.machine() == 'x86_64' else X86
    return reason.startswith((*MACHINE, *missing))


def skipped(config: pytest.Config) -> dict[str, str]:
    """Return the reason by test; a file that is skipped as a whole counts as one test."""
    reporter = config.pluginmanager.get_plugin('terminalreporter')
    reports: list[Any] = reporter.stats.get('skipped', []) if reporter else []
    return {
        report.nodeid: re.sub('^Skipped: ', '', report.longrepr[2])
        for report in reports
        if isinstance(report.longrepr, tuple)  # an expected failure has none
    }


def is_strict() -> bool:
    """Tell whether the tests run in the environment that the set-up made in this checkout."""
    prefix = Path(sys.prefix)
    made_here = prefix.parent == ROOT and (prefix / 'pdl_ros.stamp').exists()
    return made_here or 'PDL_ROS_MUST_RUN' in os.environ


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in which a test was skipped that must not be."""
    wrong = [reason for reason in skipped(session.config).values() if not may_skip(reason)]
    if is_strict() and wrong and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """List each reason once, with the number of tests and where they stand."""
    found = skipped(terminalreporter.config)
    if not found:
        return
    terminalreporter.section('not run')
    for reason, count in sorted(Counter(found.values()).items()):
        places = sorted({node.partition('::')[0] for node, why in found.items() if why == reason})
        wrong = is_strict() and not may_skip(reason)
        line = f'{count:3} {reason}: {", ".join(places)}'
        terminalreporter.line(f'{line}  <- MUST RUN HERE' if wrong else line, red=wrong)
