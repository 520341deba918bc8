"""What a training starts from: ImageNet weights of the encoder, or those of a whole network."""

from __future__ import annotations

import logging
from pathlib import Path

from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelSet
from pdl_ros.network import checkpoints
from pdl_ros.network.formats import open_weights
from pdl_ros.network.names import COUNTER, our_backbone_names, our_names, release_of
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import VARIANTS, Variant
from pdl_ros.network.weight_files import find_weights

_LOG = logging.getLogger('pdl_ros.training')
_PREDICTOR = 'semantic_head.predictor.'  # the one layer that knows classes


def begin(
    network: PanopticDeepLab,
    variant: Variant,
    backbone_weights: str | Path | None,
    start: str | Path | None,
) -> None:
    """Give a new network the weights that its training starts from, and say which."""
    if start is not None:
        path = find_weights(start)
        left_out = start_from(network, variant, path)
        except_for = (
            f' without {" and ".join(left_out)}, which know other classes' if left_out else ''
        )
        _LOG.info('Starting from %s%s.', path, except_for)
    elif backbone_weights is not None:
        checkpoints.load_backbone(network.backbone, backbone_weights)
        _LOG.info('Starting from the encoder weights %s.', backbone_weights)


def start_from(network: PanopticDeepLab, variant: Variant, path: Path) -> list[str]:
    """Fill a network from a checkpoint of the same variant, ours or a published one; return the
    names of the layers that were left out.

    The layer that tells classes apart is left out where the weights know other classes, or their
    number differs; it keeps its random start. Anything else that does not fit is a PdlError.
    """
    contents = open_weights(path)
    release = release_of(contents.tensors)
    if release is None:
        raise PdlError(f'{path} {_kind_of_stranger(contents.tensors)}')
    names = our_names(contents.tensors, release)
    tensors = {ours: contents.tensors[theirs] for theirs, ours in names.items()}
    if release.name == 'pdl_ros':
        known: LabelSet = checkpoints.read(path).variant.label_set
    else:
        known = VARIANTS[variant.name].label_set
    own = network.state_dict()
    classes = [key for key in own if key.startswith(_PREDICTOR) and not key.endswith(COUNTER)]
    same_shapes = all(key in tensors and tensors[key].shape == own[key].shape for key in classes)
    same_classes = _names(known) == _names(variant.label_set)
    left_out = [] if same_classes and same_shapes else classes
    checkpoints.fill(network, {**tensors, **{key: own[key] for key in left_out}}, path)
    return left_out


def _names(label_set: LabelSet) -> list[tuple[str, bool]]:
    return [(c.name, c.is_thing) for c in label_set.classes]


def _kind_of_stranger(tensors: dict) -> str:
    if our_backbone_names(tensors):
        return (
            'holds no Panoptic-DeepLab; if it is an encoder of ImageNet, give it with '
            '--backbone-weights instead of --start.'
        )
    return 'holds no Panoptic-DeepLab: its parameters are of another network.'
