"""Favour classes that a network says too seldom: add so much to their logits, everywhere (logit
adjustment, Menon et al., ICLR 2021). How much is to be chosen on pictures of the training.

python examples/street/favour.py WEIGHTS.safetensors OUT.safetensors pole=0.5 "traffic sign=0.5"
"""

from __future__ import annotations

import sys
from pathlib import Path

from pdl_ros.network import checkpoints


def main() -> None:
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    source, out = map(Path, sys.argv[1:3])
    network, variant = checkpoints.load(source)
    names = [c.name for c in variant.label_set.classes]
    favours = dict(word.rsplit('=', 1) for word in sys.argv[3:])
    if unknown := [name for name in favours if name not in names]:
        sys.exit(f'{source} has no class {unknown[0]!r}; it has {", ".join(names)}.')
    bias = network.semantic_head.predictor.bias
    for name, more in favours.items():
        bias.data[names.index(name)] += float(more)
    checkpoints.save(network, variant, out, {'favoured': favours})


if __name__ == '__main__':
    main()
