"""Files of weights as far as they are known without PyTorch: where they are, and which container
they are in. So a wrong one is told before PyTorch is imported.
"""

from __future__ import annotations

import pickle
from pathlib import Path

from pdl_ros.errors import PdlError, os_error_reason
from pdl_ros.network.variants import VARIANTS

DEFAULT_VARIANT = 'street_efficientnet_lite0'
"""The shipped street model, for who names neither variant nor weights."""
SHIPPED = Path(__file__).parent.parent / 'weights'
"""Folder of the checkpoints that come with the package, one ``<variant>.safetensors`` each."""

# Before version 1.6 torch.save wrote a row of pickles, and this number as the first.
_LEGACY_MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)[2:]


def find_weights(file: str | Path) -> Path:
    """Return the path of a checkpoint given as a file or as the name of a shipped variant."""
    path = Path(file)
    if path.is_file():
        return path
    if path.name == str(file) and is_shipped(path.name):
        return SHIPPED / f'{file}.safetensors'
    names = ', '.join(sorted(p.stem for p in SHIPPED.glob('*.safetensors'))) or 'none'
    variant = VARIANTS.get(str(file))
    if variant is None:
        raise PdlError(
            f'No weights {str(file)!r}: there is no such file, and the shipped weights are: '
            f'{names}.'
        )
    way = f'train it with `pdl_ros train {file}`'
    if variant.download:
        way = f'download them from {variant.download}'
    raise PdlError(
        f'No weights {str(file)!r}: the variant comes without; {way} and give the file, or take '
        f'shipped ones: {names}.'
    )


def is_shipped(variant: str) -> bool:
    """Tell whether weights of a variant come with the package."""
    return (SHIPPED / f'{variant}.safetensors').is_file()


def container_of(path: Path) -> str:
    """Return 'safetensors', 'PyTorch' or 'pickle' by a file's first bytes; its name tells nothing.

    Raises PdlError for what is none of these.
    """
    try:
        with path.open('rb') as file:
            start = file.read(512)
    except OSError as error:
        raise PdlError(f'{path} cannot be read: {os_error_reason(error)}.') from None
    _refuse_strangers(path, start)
    if start[8:9] == b'{':
        return 'safetensors'
    if start.startswith(b'PK\x03\x04') or _LEGACY_MAGIC in start[:20]:
        return 'PyTorch'
    if start[:1] == b'\x80':
        return 'pickle'
    raise PdlError(
        f'{path} is not a file of weights: it is neither safetensors nor PyTorch nor a pickle of '
        'arrays; it may be damaged.'
    )


def _refuse_strangers(path: Path, start: bytes) -> None:
    text = start.lstrip().lower()
    if not start:
        raise PdlError(f'{path} is empty; download it again.')
    if start.startswith(b'version https://git-lfs'):
        raise PdlError(
            f'{path} is a Git LFS pointer, not the weights themselves; fetch them with: git lfs '
            'pull.'
        )
    if text.startswith((b'<!doctype', b'<html', b'<?xml')):
        raise PdlError(
            f'{path} is a web page, not a file of weights; the download led to an error or a '
            'confirmation page, so download it again in a browser.'
        )
