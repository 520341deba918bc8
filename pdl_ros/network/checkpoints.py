"""Weights on disk: find, load, save. What files hold is told apart by their parameter names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save as serialise
from torch import Tensor, nn

from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelSet
from pdl_ros.network.backbones import BACKBONES, make_backbone
from pdl_ros.network.formats import open_weights
from pdl_ros.network.names import (
    BACKBONE_EXTRAS,
    COUNTER,
    Release,
    our_backbone_names,
    our_names,
    release_of,
)
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import VARIANTS, Variant, get_variant
from pdl_ros.network.weight_files import find_weights
from pdl_ros.runtime.files import atomic_write

_HEADER = 'pdl_ros'
_PREDICTOR = 'semantic_head.predictor.'


class Checkpoint(NamedTuple):
    """A network's weights, read and recognised.

    container: safetensors, PyTorch or pickle. release: the code base whose names it uses. variant:
    with the label set that the weights were trained on. tensors: by our names, in the file's dtype.
    header: what `save` noted, empty for published files. ignored: names in the file that no output
    depends on.
    """

    container: str
    release: str
    variant: Variant
    tensors: dict[str, Tensor]
    header: dict[str, Any]
    ignored: tuple[str, ...]


def load(
    file: str | Path, variant: str | None = None, label_set: LabelSet | None = None
) -> tuple[PanopticDeepLab, Variant]:
    """Load a shipped variant by name, or a checkpoint file: ours, detectron2's or the authors'.

    Returns the network in evaluation mode, float32, on the CPU, and the variant with the label set
    that the weights were trained on. `variant` and `label_set` are as in `read`.
    """
    path = find_weights(file)
    checkpoint = read(path, variant, label_set)
    # Drawing random weights only to replace them takes seconds for a large network.
    network = skeleton(checkpoint.variant)
    fill(network, checkpoint.tensors, path)
    return network, checkpoint.variant


def read(path: Path, variant: str | None = None, label_set: LabelSet | None = None) -> Checkpoint:
    """Read a file of a whole network's weights and tell what it holds.

    The variant comes from our header, or is the one variant whose parameters the file holds by
    name and shape; `variant` chooses between several. `label_set` replaces the classes of a
    published variant, for weights that were trained on others.
    """
    contents = open_weights(path)
    release = release_of(contents.tensors)
    if release is None:
        raise PdlError(
            f'{path} holds no Panoptic-DeepLab: its parameters (the first is '
            f'{next(iter(contents.tensors), "none")!r}) are of another network.'
        )
    names = our_names(contents.tensors, release)
    tensors = {ours: contents.tensors[theirs] for theirs, ours in names.items()}
    ignored = tuple(sorted(contents.tensors.keys() - names.keys()))
    header: dict[str, Any] = {}
    if release.name == 'pdl_ros':
        header, found = _read_header(contents.metadata, path)
        if variant is not None and variant != found.name:
            raise PdlError(
                f'{path} holds weights of variant {found.name!r}, not of {variant!r}; '
                f'name the variant {found.name!r} or give its weights.'
            )
    else:
        found = _recognise(tensors, release, variant, label_set, path)
    return Checkpoint(contents.container, release.name, found, tensors, header, ignored)


def save(
    network: nn.Module,
    variant: Variant,
    path: str | Path,
    info: Mapping[str, Any],
    half: bool = True,
) -> None:
    """Write weights as safetensors with a JSON header: variant, label set, normalisation and
    `info`.

    `half` stores them as float16, but BatchNorm statistics as float32: small variances would lose
    digits that the outputs show. NaN in `info`, which JSON has not, is a ValueError.
    """
    header = {
        'variant': variant.name,
        'label_set': variant.label_set.to_dict(),
        'normalisation': {'mean': variant.mean, 'std': variant.std},
        **info,
    }
    text = json.dumps(header, allow_nan=False)
    tensors = {}
    for key, value in network.state_dict().items():
        if key.endswith(COUNTER):
            continue
        halve = half and value.is_floating_point() and 'running_' not in key
        tensors[key] = value.detach().cpu().contiguous().to(torch.float16 if halve else value.dtype)
    with atomic_write(Path(path)) as file:
        file.write(serialise(tensors, metadata={_HEADER: text}))


def load_backbone(backbone: nn.Module, file: str | Path) -> None:
    """Fill an encoder from a file of ImageNet weights, in torchvision's, detectron2's or its
    authors' names.

    The classifier in the file is left aside.
    """
    path = Path(file)
    tensors = open_weights(path).tensors
    names = our_backbone_names(tensors)
    wanted = backbone.state_dict().keys()
    fill(
        backbone,
        {
            ours: tensors[theirs]
            for theirs, ours in names.items()
            if ours in wanted or not ours.startswith(BACKBONE_EXTRAS)
        },
        path,
    )


def backbone_in(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of the one encoder whose ImageNet release has these parameters; None: there
    is none.
    """
    names = our_backbone_names(tensors)
    given = {ours: tensors[theirs].shape for theirs, ours in names.items()}
    for name in BACKBONES:
        with torch.device('meta'):
            state = make_backbone(name, 32, ()).state_dict()
        own = {k: v.shape for k, v in state.items() if not k.endswith(COUNTER)}
        extra = given.keys() - own.keys()
        if all(k in given and given[k] == shape for k, shape in own.items()) and all(
            k.startswith(BACKBONE_EXTRAS) for k in extra
        ):
            return name
    return None


def skeleton(variant: Variant) -> PanopticDeepLab:
    """Build the network without memory for its weights, to look at names, shapes and cost."""
    with torch.device('meta'):
        return PanopticDeepLab(variant).eval()


def _read_header(metadata: Mapping[str, str], path: Path) -> tuple[dict[str, Any], Variant]:
    if _HEADER not in metadata:
        raise PdlError(
            f'{path} has no pdl_ros header, so its variant and classes are unknown; '
            'use a file written by `pdl_ros train`.'
        )
    try:
        header = json.loads(metadata[_HEADER])
        label_set = LabelSet.from_dict(header['label_set'])
        return header, replace(get_variant(str(header['variant'])), label_set=label_set)
    except PdlError as error:
        raise PdlError(f'{path} cannot be used: {error}') from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise PdlError(
            f'{path} has a damaged pdl_ros header; use a file written by `pdl_ros train`.'
        ) from None


def _recognise(
    tensors: Mapping[str, Tensor],
    release: Release,
    variant: str | None,
    label_set: LabelSet | None,
    path: Path,
) -> Variant:
    """Return the one variant of a release whose parameters have these names and shapes."""
    candidates = (
        [get_variant(variant)]
        if variant
        else [v for v in VARIANTS.values() if v.release == release.name]
    )
    if label_set is not None:
        candidates = [replace(v, label_set=label_set) for v in candidates]
    misfits = {v.name: _misfits(skeleton(v), tensors) for v in candidates}
    fitting = [v for v in candidates if not misfits[v.name]]
    if len(fitting) > 1:
        raise PdlError(
            f'{path} fits several variants: {", ".join(v.name for v in fitting)}; say which one it '
            'is with --variant.'
        )
    if not fitting:
        closest = min(candidates, key=lambda v: len(misfits[v.name]))
        raise PdlError(
            f'{path} has the parameter names of {release.name}, but fits no variant; the closest '
            f'is {closest.name}: {_in_words(misfits[closest.name])}'
            f'{_about_classes(tensors, closest, misfits[closest.name])}.'
        )
    return fitting[0]


def _about_classes(
    tensors: Mapping[str, Tensor], closest: Variant, misfits: list[tuple[str, str]]
) -> str:
    """Return what to do where only the number of classes differs."""
    if not all(key.startswith(_PREDICTOR) and key in tensors for _, key in misfits):
        return ''
    theirs = tensors[misfits[0][1]].shape[:1].numel()
    own = closest.label_set
    return (
        f'; the weights are of {theirs} classes and label set {own.name} has {own.num_classes}, so '
        'give theirs: pdl_ros checkpoint import FILE --labels YOURS.yaml -o NEW.safetensors'
    )


def fill(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load every parameter, or say what is wrong."""
    misfits = _misfits(module, tensors)
    if misfits:
        raise PdlError(f'{path} does not fit this network: {_in_words(misfits)}.')
    given = {key: value for key, value in tensors.items() if not key.endswith(COUNTER)}
    bad = [key for key, value in sorted(given.items()) if not torch.isfinite(value).all()]
    if bad:
        raise PdlError(
            f'{path} holds NaN or infinity in {bad[0]}; the file is damaged or its training '
            'diverged.'
        )
    # Copies, laid out as usual: what was read may be a view of the file, or of other tensors.
    state = {key: value.to(torch.float32, copy=True).contiguous() for key, value in given.items()}
    counters = (key for key in module.state_dict() if key.endswith(COUNTER))
    state |= {key: torch.zeros((), dtype=torch.int64) for key in counters}
    module.load_state_dict(state, assign=True)


def _misfits(module: nn.Module, tensors: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """Return (what is wrong, parameter) for every parameter that is missing, unknown or of another
    shape.
    """
    own = {k: v.shape for k, v in module.state_dict().items() if not k.endswith(COUNTER)}
    given = {k: v.shape for k, v in tensors.items() if not k.endswith(COUNTER)}
    return [
        *(('lacks', key) for key in sorted(own.keys() - given.keys())),
        *(('has the unknown', key) for key in sorted(given.keys() - own.keys())),
        *(
            ('has other shapes for', key)
            for key in sorted(own.keys() & given.keys())
            if own[key] != given[key]
        ),
    ]


def _in_words(misfits: list[tuple[str, str]]) -> str:
    what = misfits[0][0]
    keys = [key for wrong, key in misfits if wrong == what]
    more = f' and {len(keys) - 3} more' if len(keys) > 3 else ''
    return f'it {what} {", ".join(keys[:3])}{more}'
