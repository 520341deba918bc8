"""Parameter names of the published releases, in terms of ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

Rule = tuple[str, str | Callable[[re.Match[str]], str]]


class Release(NamedTuple):
    """One code base whose checkpoints can be read.

    mark: what only its network's names begin with. rules: regular expressions and replacements,
    applied one after the other. tolerated: beginnings of names that its files may hold beside the
    network.
    """

    name: str
    mark: str
    rules: tuple[Rule, ...]
    tolerated: tuple[str, ...]


_RESNET: tuple[Rule, ...] = (
    (r'\bstem\.conv(\d)\.norm\.', r'bn\1.'),
    (r'\bstem\.', ''),
    (r'\bres(\d)\.(\d+)\.', lambda m: f'layer{int(m[1]) - 1}.{m[2]}.'),
    (r'shortcut\.norm', 'downsample.1'),
    (r'shortcut\.weight', 'downsample.0.weight'),
    (r'(layer\d.*)conv(\d)\.norm', r'\1bn\2'),
)
# timm's Xception-71, the only PyTorch release of its ImageNet weights.
_TIMM_XCEPTION: tuple[Rule, ...] = (
    (r'^stem\.([01])\.(conv|bn)\.', lambda m: f'{m[2]}{int(m[1]) + 1}.'),
    (r'^blocks\.(\d+)\.', lambda m: f'block{int(m[1]) + 1}.'),
    (r'\.stack\.conv(\d)\.', r'.sep_conv\1.block.'),
    (r'\.shortcut\.', '.'),
    (r'\.conv_dw\.', '.depthwise.'),
    (r'\.bn_dw\.', '.bn_depth.'),
    (r'\.conv_pw\.', '.pointwise.'),
    (r'\.bn_pw\.', '.bn_point.'),
)
_DETECTRON2: tuple[Rule, ...] = (
    (r'^sem_seg_head\.decoder', 'semantic_decoder'),
    (r'^ins_embed_head\.decoder', 'instance_decoder'),
    (r'^sem_seg_head\.head', 'semantic_head.block'),
    (r'^sem_seg_head\.predictor', 'semantic_head.predictor'),
    (r'^ins_embed_head\.(center|offset)_head', r'\1_head.block'),
    (r'^ins_embed_head\.(center|offset)_predictor', r'\1_head.predictor'),
    (r'decoder\.res5\.project_conv\.convs\.4\.1', 'decoder.aspp.pool'),
    (r'decoder\.res5\.project_conv\.convs', 'decoder.aspp.branches'),
    (r'decoder\.res5\.project_conv\.project', 'decoder.aspp.project'),
    (r'decoder\.(res[234])\.(project|fuse)_conv', r'decoder.\2.\1'),
    # There a convolution owns its norm, here both belong to a block.
    (
        r'^((?:semantic|instance|center|offset)_(?:decoder|head)'
        r'(?!.*(?:predictor|aspp\.pool|norm)).*)\.weight$',
        r'\1.conv.weight',
    ),
)
_AUTHORS: tuple[Rule, ...] = (
    (r'^decoder\.(semantic|instance)_decoder', r'\1_decoder'),
    (r'^decoder\.(?:semantic|instance)_head\.classifier\.(\w+)\.1\.', r'\1_head.predictor.'),
    (r'^decoder\.(?:semantic|instance)_head\.classifier\.(\w+)\.0\.', r'\1_head.block.'),
    (r'aspp\.convs\.4\.aspp_pooling\.1', 'aspp.pool'),
    (r'aspp\.convs', 'aspp.branches'),
    (r'(decoder\.fuse\.\d|_head\.block)\.0\.0\.0', r'\1.depthwise.conv'),
    (r'(decoder\.fuse\.\d|_head\.block)\.0\.0\.1', r'\1.depthwise.norm'),
    (r'(decoder\.fuse\.\d|_head\.block)\.0\.1', r'\1.pointwise.conv'),
    (r'(decoder\.fuse\.\d|_head\.block)\.0\.2', r'\1.pointwise.norm'),
    (r'(aspp\.project|decoder\.project\.\d|aspp\.branches\.\d)\.0\.', r'\1.conv.'),
    (r'(aspp\.project|decoder\.project\.\d|aspp\.branches\.\d)\.1\.', r'\1.norm.'),
)

RELEASES = (
    Release('pdl_ros', 'semantic_decoder.', (), ()),
    Release(
        'detectron2',
        'sem_seg_head.',
        _DETECTRON2,
        # Buffers of 2020's releases: the normalisation is the variant's.
        ('pixel_mean', 'pixel_std'),
    ),
    Release('authors', 'decoder.semantic_decoder.', _AUTHORS, ()),
)
"""Ours, detectron2's projects/Panoptic-DeepLab, and the authors' panoptic-deeplab repository."""

COUNTER = 'num_batches_tracked'
"""BatchNorm's step counter ends so: old files lack it, and no network output depends on it."""

BACKBONE_EXTRAS = (
    # Classifiers of ImageNet releases, and the layers that lead to nothing else.
    'fc.',
    'classifier.',
    'head.fc.',
    '_fc.',
    '_conv_head.',
    '_bn1.',
    'features.18.',
    'incre_modules.',
    'downsamp_modules.',
    'final_layer.',
)
"""What an ImageNet release holds beside the encoder."""


TABLES = (
    *('model', 'state_dict', 'model_state_dict', 'model_state', 'net', 'network', 'module'),
    *('weights', 'params', 'state', 'ema', 'model_ema', 'ema_state_dict', 'teacher', 'student'),
)
"""What trainers call a network, in the order in which it is looked for; then anything else."""

_INNER_WRAPPERS = re.compile(
    r'\b(_orig_mod|_forward_module|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.'
)
"""What compilation, sharding and checkpointing put anywhere into a name."""
_OUTER_WRAPPERS = tuple(f'{name}.' for name in (*TABLES, 'encoder', 'backbone'))
"""What may stand before all the names of an encoder."""


def table_rank(name: str) -> int:
    """Return the place of a name in `TABLES`; those that are not there come last."""
    return TABLES.index(name.lower()) if name.lower() in TABLES else len(TABLES)


def unwrapped(keys: Iterable[str]) -> dict[str, str]:
    """Take the names of wrappers off a network's parameter names: name in the file -> without.

    `module.`, `_orig_mod.`, `model.net.`: whatever stands before what a release's names begin with.
    What has not the same before it is another part of the training's and left out; of several
    networks (student, teacher) the first of `TABLES` is taken.
    """
    names = {key: _INNER_WRAPPERS.sub('', key) for key in keys}
    prefix = _network_prefix(names.values())
    if prefix is not None:
        return {k: n.removeprefix(prefix) for k, n in names.items() if n.startswith(prefix)}
    while common := next(
        (w for w in _OUTER_WRAPPERS if names and all(n.startswith(w) for n in names.values())), ''
    ):
        names = {key: name.removeprefix(common) for key, name in names.items()}
    return names


def _network_prefix(names: Iterable[str]) -> str | None:
    """Return what stands before a release's network; None: there is none of a release."""
    names = list(names)
    # Longest first: the authors' mark ends as ours does.
    for release in sorted(RELEASES, key=lambda r: -len(r.mark)):
        before = dict.fromkeys(n.partition(release.mark)[0] for n in names if release.mark in n)
        prefixes = [prefix for prefix in before if not prefix or prefix.endswith('.')]
        if prefixes:
            return min(prefixes, key=lambda p: (bool(p), table_rank(p[:-1].rpartition('.')[2])))
    return None


def release_of(keys: Iterable[str]) -> Release | None:
    """Return the release whose network has these parameter names; None: none of them."""
    keys = list(keys)
    for release in RELEASES:
        if any(key.startswith(release.mark) for key in keys):
            return release
    return None


def our_names(keys: Iterable[str], release: Release) -> dict[str, str]:
    """Translate a network's parameter names: published name -> ours, without what is tolerated."""
    names = {
        key: _renamed(key, release.rules)
        for key in keys
        if not key.endswith(COUNTER) and not key.startswith(release.tolerated or ('\0',))
    }
    if release.name == 'detectron2':
        names = {
            key: 'backbone.' + _renamed(name[9:], _RESNET) if name.startswith('backbone.') else name
            for key, name in names.items()
        }
        # Its decoder steps carry their feature's name, ours their place in the order of execution.
        steps = sorted({m[1] for n in names.values() if (m := re.search(r'\.(res[234])\.', n))})
        order = {stage: str(i) for i, stage in enumerate(reversed(steps))}
        names = {
            key: re.sub(
                r'decoder\.(\w+)\.(res[234])\.', lambda m: f'decoder.{m[1]}.{order[m[2]]}.', n
            )
            for key, n in names.items()
        }
    return names


def our_backbone_names(keys: Iterable[str]) -> dict[str, str]:
    """Translate an ImageNet release's parameter names: published name -> ours.

    torchvision's names and the authors' are ours; detectron2's ResNets and timm's Xceptions are
    renamed.
    """
    keys = [key for key in keys if not key.endswith(COUNTER)]
    timm = any('.conv_dw.' in key for key in keys)
    rules = _TIMM_XCEPTION if timm else _RESNET
    return {key: _renamed(key, rules) for key in keys}


def _renamed(key: str, rules: tuple[Rule, ...]) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key
