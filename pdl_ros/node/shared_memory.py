"""How images leave this process, where the middleware is Fast DDS."""

from __future__ import annotations

import os
import shutil
from collections.abc import MutableMapping
from pathlib import Path

PROFILE = Path(__file__).parent / 'fastdds.xml'
SEGMENT = 32 << 20
"""Bytes of shared memory that the profile asks for."""

# Fast DDS 3 (Kilted) reads only the first, Fast DDS 2 (Humble, Jazzy) only the second.
_PROFILES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')
_CHOICES = (*_PROFILES, 'FASTDDS_BUILTIN_TRANSPORTS', 'RMW_FASTRTPS_USE_QOS_FROM_XML')
_FILES = ('DEFAULT_FASTDDS_PROFILES.xml', 'DEFAULT_FASTRTPS_PROFILES.xml')
_SHARED = Path('/dev/shm')


def configure_shared_memory(
    environment: MutableMapping[str, str] = os.environ, shared: Path = _SHARED
) -> None:
    """Have messages of this process pass through a shared memory that images fit into, and be sent
    by a thread of Fast DDS. To be called before rclpy.init; docs/benchmarks.md has what it brings.

    What a user has chosen stays: any of the environment variables or files that Fast DDS reads; a
    profile that is named under one version's variable is named under the other's, too. Where
    `shared` has no room for two such memories (a container has 64 MB), only the thread.
    """
    if environment.get('RMW_IMPLEMENTATION', 'rmw_fastrtps').startswith('rmw_fastrtps'):
        environment.setdefault('RMW_FASTRTPS_PUBLICATION_MODE', 'ASYNCHRONOUS')
        chosen = any(environment.get(name) for name in _CHOICES)
        for name, other in zip(_PROFILES, reversed(_PROFILES), strict=True):
            if environment.get(other):
                environment.setdefault(name, environment[other])
        if not chosen and not any(Path(name).exists() for name in _FILES) and _has_room(shared):
            environment.update(dict.fromkeys(_PROFILES, str(PROFILE)))


def _has_room(shared: Path) -> bool:
    try:
        return shutil.disk_usage(shared).free >= 2 * SEGMENT
    except OSError:
        return False
