"""Where Triton keeps the kernels that it compiles."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from pdl_ros.errors import PdlError
from pdl_ros.runtime.files import require_writable_folder


def choose_triton_cache() -> None:
    """Have Triton keep kernels in a folder that can be written; before it is imported.

    Its own is in the home, and without one the first frame would fail. Then it is in PDL_ROS_CACHE
    where that is set, else in a folder that ends with the process: Triton runs what it finds there,
    so it is none whose name others could guess.
    """
    if os.environ.get('TRITON_CACHE_DIR'):
        return
    home = Path(os.environ.get('TRITON_HOME') or os.path.expanduser('~'), '.triton', 'cache')
    own = os.environ.get('PDL_ROS_CACHE')
    if _can_write(home):
        return
    if own and _can_write(Path(own)):
        os.environ['TRITON_CACHE_DIR'] = str(Path(own, 'triton').absolute())
    else:
        os.environ['TRITON_CACHE_DIR'] = folder = tempfile.mkdtemp(prefix='pdl_ros-triton-')
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _can_write(folder: Path) -> bool:
    try:
        require_writable_folder(folder)
    except PdlError:
        return False
    return True
