"""What is kept on disk: the cache folder and the shipped weights."""

from __future__ import annotations

from pathlib import Path

from pdl_ros.doctor.child import ProbeError, ask
from pdl_ros.doctor.finding import DOUBTFUL, MISSING, Finding, Section, megabytes

WEIGHTS = Path(__file__).parents[1] / 'weights'
STREET, SMALL = 'street_efficientnet_lite0', 'scene_tiny'


def storage_section() -> Section:
    """Look at the cache folder and the weights."""
    return Section('Files', [_cache(), _weights(WEIGHTS)])


def _cache() -> Finding:
    try:
        answer = ask('cache')
    except ProbeError as error:
        advice = 'Compiled kernels cannot be kept, so each start compiles them; see the packages.'
        return Finding('cache folder', f'unknown: {error}', DOUBTFUL, advice)
    kinds = (
        f'{count} {kind} ({megabytes(answer["bytes"][kind])})'
        for kind, count in sorted(answer['files'].items())
    )
    found = f'{answer["folder"]}: {", ".join(kinds) or "empty"}'
    if not answer['error']:
        return Finding('cache folder', found, data=answer)
    advice = (
        'Kernels and TensorRT engines cannot be kept, so each start makes them anew: '
        f'{answer["error"].rstrip(".")}, by setting PDL_ROS_CACHE.'
    )
    return Finding('cache folder', f'{found}, not writable', DOUBTFUL, advice, answer)


def _weights(folder: Path) -> Finding:
    sizes = {path.stem: path.stat().st_size for path in sorted(folder.glob('*.safetensors'))}
    shown = ', '.join(f'{name} ({megabytes(size)})' for name, size in sizes.items())
    data = {'bytes': sizes}
    if STREET in sizes and min(sizes.values()) > 1000:  # Git LFS leaves pointers of 130 bytes
        return Finding('shipped weights', shown, data=data)
    advice = (
        f'The node starts with the weights of {STREET} unless told otherwise, and they are not in '
        f'{folder}: install the package again.'
    )
    return Finding('shipped weights', shown or 'none', MISSING, advice, data)
