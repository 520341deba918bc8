"""The resumable state of a training: what it belongs to, and what differs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pdl_ros.datasets import PanopticDataset, groups_of
from pdl_ros.datasets.mapped import MappedDataset
from pdl_ros.datasets.mixture import Mixture
from pdl_ros.errors import PdlError
from pdl_ros.network.variants import Variant
from pdl_ros.runtime.files import atomic_write
from pdl_ros.training.settings import AugmentationSettings, TrainSettings

_FORM = 2  # of the file; raised where an older one cannot be resumed


def identity(variant: Variant, dataset: PanopticDataset, settings: TrainSettings) -> dict[str, Any]:
    """Return what must stay the same for a training to be the same, as plain data."""
    data = {
        'form': _FORM,
        'variant': variant.name,
        'input': [variant.short_edge, variant.long_edge],
        'classes': variant.label_set.to_dict(),
        'data': _fingerprint(dataset),
        'recipe': asdict(settings),
    }
    plain: dict[str, Any] = json.loads(json.dumps(data))
    return plain


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a state; a crash while writing leaves the last good one."""
    with atomic_write(path) as file:
        torch.save(state, file)


def load(path: Path, device: torch.device, now: dict[str, Any]) -> dict[str, Any]:
    """Read a state for the training `now`; PdlError where it is no state, or another training's."""
    try:
        # The file is our own; it is read without executing anything in it all the same.
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        then, _ = state['identity'], state['step']
        form = then['form']
    except Exception as error:
        raise PdlError(
            f'{path} is not a training state of this version ({type(error).__name__}); remove it '
            'to start anew.'
        ) from None
    changed = differences(then, now) if form == _FORM else [f'form {form} (now {_FORM})']
    if changed:
        raise PdlError(
            f'{path} is a training with {", ".join(changed)}; give what it was begun with, or '
            'another folder for the results.'
        )
    return state


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return in words what makes `now` another training than `then`; more steps do not."""
    changed = []
    if then['variant'] != now['variant']:
        changed.append(f'variant {then["variant"]} (now {now["variant"]})')
    if then.get('input', now['input']) != now['input']:  # older states do not say it
        changed.append('input edges {} to {} (now {} to {})'.format(*then['input'], *now['input']))
    if then['classes'] != now['classes']:
        changed.append(f'label set {_classes(then)} (now {_classes(now)})')
    if then['data'] != now['data']:
        changed.append(f'{_images(then)} (now {_images(now)})')
    # What a recipe did not have then was as it is where a recipe does not name it.
    old, new = _unnamed() | _flat(then['recipe']), _flat(now['recipe'])
    if new['steps'] >= old['steps']:
        old['steps'] = new['steps']
    changed += [
        f'{key} {old.get(key)} (now {new.get(key)})'
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    return changed


def _unnamed() -> dict[str, Any]:
    return _flat(json.loads(json.dumps(asdict(TrainSettings(AugmentationSettings((32, 32)), 1)))))


def _flat(recipe: dict[str, Any], prefix: str = '') -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in recipe.items():
        flat |= (
            _flat(value, f'{prefix}{key}.')
            if isinstance(value, dict)
            else {f'{prefix}{key}': value}
        )
    return flat


def _classes(of: dict[str, Any]) -> str:
    return f'{of["classes"]["name"]!r} of {len(of["classes"]["classes"])} classes'


def _images(of: dict[str, Any]) -> str:
    return f'data of {of["data"]["images"]} images ({of["data"]["hash"]})'


def _fingerprint(dataset: PanopticDataset) -> dict[str, Any]:
    """Tell data sets apart: by how many images there are, and by the first, a middle and the last
    one with their labels. Reading all would take longer than some trainings. Of a mixture also by
    what its file says of each set.
    """
    digest = hashlib.sha256()
    if groups := groups_of(dataset):
        digest.update(repr(groups).encode())
    if isinstance(dataset, Mixture):
        for name, weight, part, _ in dataset.sets:
            rules = part.rules if isinstance(part, MappedDataset) else None
            digest.update(repr((name, weight, len(part), rules)).encode())
    for index in sorted({0, len(dataset) // 2, len(dataset) - 1}):
        sample = dataset[index]
        digest.update(repr((sample.name, sample.image.shape, sample.segments)).encode())
        for pixels in (sample.image, sample.panoptic):
            digest.update(np.ascontiguousarray(pixels).data)
    return {'images': len(dataset), 'hash': digest.hexdigest()[:8]}
