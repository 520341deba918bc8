"""A page as its reader sees it: headless Chromium, and what the page asked the network for."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest


def look_at(page: Path, folder: Path, size: tuple[int, int] = (1100, 2400)) -> np.ndarray:
    """Return the (H, W, 3) uint8 RGB picture of a page; folder: an empty one for the browser."""
    picture = folder / 'page.png'
    _run(page, folder, f'--screenshot={picture}', f'--window-size={size[0]},{size[1]}')
    return cv2.imread(str(picture))[..., ::-1]


def requests_of(page: Path, folder: Path) -> list[str]:
    """Return the addresses that a page asks for; the browser's own requests are not the page's."""
    log = folder / 'net.json'
    _run(page, folder, f'--log-net-log={log}', f'--screenshot={folder / "page.png"}')
    events = [event.get('params') for event in json.loads(log.read_bytes())['events']]
    return sorted(
        {
            params['url']
            for params in events
            if isinstance(params, dict)
            and 'url' in params
            and params.get('initiator', 'not an origin') != 'not an origin'
        }
    )


def _run(page: Path, folder: Path, *arguments: str) -> None:
    browser = shutil.which('chromium') or shutil.which('chromium-browser')
    if browser is None:
        pytest.skip('needs chromium')
    command = [
        browser,
        '--headless',
        '--no-sandbox',
        '--disable-gpu',
        '--disable-background-networking',
        '--host-resolver-rules=MAP * ~NOTFOUND',  # whatever it asks for, nothing leaves
        f'--user-data-dir={folder / "profile"}',
        *arguments,
        page.resolve().as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
