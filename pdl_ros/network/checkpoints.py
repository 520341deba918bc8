"""Read and write weights. Files are untrusted: safetensors, or torch files restricted to
tensors.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelSet
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import Variant, get_variant

SHIPPED = Path(__file__).parent.parent / 'weights'
"""Folder of the checkpoints that come with the package, one ``<variant>.safetensors`` each."""

_HEADER = 'pdl_ros'
# ImageNet classifiers and BatchNorm's step counter: of no use to a segmentation network.
_CLASSIFIER = ('fc.', '_fc.', '_conv_head.', '_bn1.')


def load(file: str | Path, variant: str | None = None) -> tuple[PanopticDeepLab, Variant]:
    """Load a checkpoint of ours: a shipped variant's name, or a ``.safetensors`` file.

    Returns the network in evaluation mode, float32, on the CPU, and the variant with the label set
    that the weights were trained on. `variant` asserts which one is expected.
    """
    path = find(file)
    header, tensors = read(path)
    found = _variant_of(header)
    if variant is not None and variant != found.name:
        raise PdlError(
            f'{path} holds weights of variant {found.name!r}, not of {variant!r}; '
            f'name the variant {found.name!r} or give its weights.'
        )
    network = PanopticDeepLab(found)
    _load_strictly(network, tensors, path)
    return network.eval(), found


def find(file: str | Path) -> Path:
    """Return the path of a checkpoint given as a file or as the name of a shipped variant."""
    path = Path(file)
    if path.is_file():
        return path
    shipped = SHIPPED / f'{file}.safetensors'
    if path.name == str(file) and shipped.is_file():
        return shipped
    names = ', '.join(sorted(p.stem for p in SHIPPED.glob('*.safetensors'))) or 'none'
    raise PdlError(
        f'No weights {str(file)!r}: there is no such file, and the shipped weights are: {names}.'
    )


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return (header, tensors) of one of our checkpoint files."""
    try:
        with safe_open(path, framework='pt') as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise PdlError(
            f'{path} is not a readable safetensors file ({error}); '
            'it may be truncated or of another format.'
        ) from None
    if _HEADER not in metadata:
        raise PdlError(
            f'{path} has no pdl_ros header, so its variant and classes are unknown; '
            'use a file written by `pdl_ros train`.'
        )
    try:
        header = json.loads(metadata[_HEADER])
        _variant_of(header)
    except PdlError as error:
        raise PdlError(f'{path} cannot be used: {error}') from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise PdlError(
            f'{path} has a damaged pdl_ros header; use a file written by `pdl_ros train`.'
        ) from None
    return header, tensors


def save(network: nn.Module, variant: Variant, path: str | Path, info: Mapping[str, Any]) -> None:
    """Write weights as float16 safetensors with a JSON header: variant, label set, normalisation
    and `info`.

    BatchNorm statistics stay float32: small variances would lose digits that the outputs show.
    """
    header = {
        'variant': variant.name,
        'label_set': variant.label_set.to_dict(),
        'normalisation': {'mean': variant.mean, 'std': variant.std},
        **info,
    }
    tensors = {}
    for key, value in network.state_dict().items():
        if key.endswith('num_batches_tracked'):
            continue
        half = value.is_floating_point() and 'running_' not in key
        tensors[key] = value.detach().cpu().contiguous().to(torch.float16 if half else value.dtype)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'{path.name}.tmp')
    save_file(tensors, temporary, metadata={_HEADER: json.dumps(header)})
    os.replace(temporary, path)


def load_backbone(backbone: nn.Module, file: str | Path) -> None:
    """Fill an encoder from a file of ImageNet weights (a state dict in its usual release's
    names).
    """
    path = Path(file)
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
        if not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
            raise TypeError('not a state dict')
    except Exception as error:
        raise PdlError(
            f'{path} is not a plain file of tensors ({type(error).__name__}); '
            'give the state dict of an ImageNet release.'
        ) from None
    _load_strictly(
        backbone, {k: v for k, v in state.items() if not k.startswith(_CLASSIFIER)}, path
    )


def _variant_of(header: dict[str, Any]) -> Variant:
    """Return the named variant with the label set of the header."""
    return replace(
        get_variant(str(header['variant'])), label_set=LabelSet.from_dict(header['label_set'])
    )


def _load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    own = module.state_dict()
    wanted = {key for key in own if not key.endswith('num_batches_tracked')}
    given = {key for key in tensors if not key.endswith('num_batches_tracked')}
    wrong = sorted(key for key in wanted & given if own[key].shape != tensors[key].shape)
    for what, keys in (
        ('lacks', sorted(wanted - given)),
        ('has the unknown', sorted(given - wanted)),
        ('has other shapes for', wrong),
    ):
        if keys:
            more = f' and {len(keys) - 3} more' if len(keys) > 3 else ''
            raise PdlError(
                f'{path} does not fit this network: it {what} {", ".join(keys[:3])}{more}.'
            )
    bad = [key for key in sorted(wanted) if not torch.isfinite(tensors[key]).all()]
    if bad:
        raise PdlError(
            f'{path} holds NaN or infinity in {bad[0]}; the file is damaged or its training '
            'diverged.'
        )
    module.load_state_dict({key: tensors[key].float() for key in wanted}, strict=False)
