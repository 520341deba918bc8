"""The demo's camera process: ``python -m pdl_ros.demo.camera SOURCE RATE FRAMES --ros-args``."""

from __future__ import annotations

import sys

from pdl_ros.demo.sources import open_source
from pdl_ros.errors import PdlError
from pdl_ros.node.camera import play

_LISTENERS = 2  # the node and the recorder: the camera starts when both are there
_PATIENCE = 120.0  # seconds; a cold disk takes its time to read PyTorch


def main() -> None:
    """Play FRAMES frames of a source at RATE a second; 0 is the source's own rate."""
    name, rate, limit = sys.argv[1:4]
    try:
        source = open_source(name)
        play(source, float(rate) or source.fps, int(limit), _LISTENERS, _PATIENCE)
    except PdlError as error:
        print(f'pdl_ros: {error}', file=sys.stderr)
        sys.exit(2)


if __name__ == '__main__':
    main()
