"""Write street weights as a start for CamVid's classes: in the one layer that knows classes, each
of CamVid's gets the row of the street class that it is, or is most of.

python examples/street/as_camvid.py STREET.safetensors OUT.safetensors
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from pdl_ros.network import checkpoints
from pdl_ros.network.variants import get_variant

STREET = {
    'pavement': 'sidewalk',
    'tree': 'vegetation',
    'sign': 'traffic sign',
    'pedestrian': 'person',
    'bicyclist': 'two-wheeler',
}


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, out = map(Path, sys.argv[1:])
    network, variant = checkpoints.load(source)
    if variant.label_set.name != 'street':
        sys.exit(f'{source} knows the classes of {variant.label_set.name}; give street weights.')
    camvid = get_variant(variant.name.replace('street', 'camvid'))
    known = [c.name for c in variant.label_set.classes]
    own = [c.name for c in camvid.label_set.classes]
    rows = torch.tensor([known.index(STREET.get(name, name)) for name in own])
    predictor = network.semantic_head.predictor
    for tensor in (predictor.weight, predictor.bias):
        tensor.data = tensor.data[rows]
    checkpoints.save(network, camvid, out, {'start': source.name})


if __name__ == '__main__':
    main()
