"""Write the mean, weight by weight, of two networks of one variant, as of one and what it became.

python examples/street/mean.py FIRST.safetensors SECOND.safetensors OUT.safetensors
"""

from __future__ import annotations

import sys
from pathlib import Path

from pdl_ros.network import checkpoints


def main() -> None:
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    first, second, out = map(Path, sys.argv[1:])
    (network, variant), (other, _) = checkpoints.load(first), checkpoints.load(second)
    theirs = other.state_dict()
    if network.state_dict().keys() != theirs.keys():
        sys.exit(f'{second} is of another variant than {first}.')
    mean = {
        name: (value + theirs[name]) / 2 if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    network.load_state_dict(mean)
    checkpoints.save(network, variant, out, {'mean_of': [first.name, second.name]})


if __name__ == '__main__':
    main()
