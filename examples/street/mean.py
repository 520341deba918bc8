"""Write the mean, weight by weight, of two networks of one variant, as of one and what it became.

python examples/street/mean.py FIRST.safetensors SECOND.safetensors OUT.safetensors [SHARE]

SHARE: of the second, 0 to 1; 0.5 where it is not given.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pdl_ros.network import checkpoints


def main() -> None:
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    first, second, out = map(Path, sys.argv[1:4])
    text = sys.argv[4] if len(sys.argv) == 5 else '0.5'
    try:
        share = float(text)
    except ValueError:
        share = -1
    if not 0 <= share <= 1:
        sys.exit(f'The share is {text}; it must be from 0 to 1.')
    (network, variant), (other, _) = checkpoints.load(first), checkpoints.load(second)
    theirs = other.state_dict()
    if network.state_dict().keys() != theirs.keys():
        sys.exit(f'{second} is of another variant than {first}.')
    mean = {
        name: (1 - share) * value + share * theirs[name] if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    network.load_state_dict(mean)
    checkpoints.save(network, variant, out, {'mean_of': [first.name, second.name], 'share': share})


if __name__ == '__main__':
    main()
