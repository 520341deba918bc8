"""The demo's camera process: ``python -m pdl_ros.demo.camera SOURCE RATE FRAMES [LISTENERS]
--ros-args``.
"""

from __future__ import annotations

import itertools
import sys

from rclpy.utilities import remove_ros_args

from pdl_ros.demo.sources import open_source
from pdl_ros.errors import PdlError
from pdl_ros.node.camera import play

_LISTENERS = 2  # the node and the recorder: the camera starts when both are there
_PATIENCE = 120.0  # seconds; a cold disk takes its time to read PyTorch


def main() -> None:
    """Play FRAMES frames of a source at RATE a second, when there are so many LISTENERS.

    RATE 0 is the source's own; FRAMES 0 is without end, from the beginning again and again.
    """
    name, rate, limit, *listeners = remove_ros_args(sys.argv)[1:]
    try:
        source = open_source(name)
        endless = itertools.chain.from_iterable(itertools.repeat(source))
        play(
            source if int(limit) else endless,
            float(rate) or source.fps,
            int(limit),
            int(listeners[0]) if listeners else _LISTENERS,
            _PATIENCE,
        )
    except PdlError as error:
        print(f'pdl_ros: {error}', file=sys.stderr)
        sys.exit(2)


if __name__ == '__main__':
    main()
