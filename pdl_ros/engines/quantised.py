"""The network in int8 that lies beside a checkpoint, NAME.int8.onnx for NAME.safetensors."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path

from pdl_ros.errors import PdlError, os_error_reason, require

_LOG = logging.getLogger('pdl_ros.engines')


def quantised_file(checkpoint: Path) -> Path:
    """Return where the int8 network of a checkpoint lies."""
    return checkpoint.with_suffix('.int8.onnx')


def read_quantised(checkpoint: Path | None, weights: str) -> bytes | None:
    """Return the ONNX file of a checkpoint's network in int8; None where there is none.

    `weights`: the digest of the float network (`weights_digest`), which the file's metadata name. A
    file that is damaged or of other weights is as none, with a warning.
    """
    if checkpoint is None or find_spec('onnx') is None:
        return None
    path = quantised_file(checkpoint)
    try:
        model = path.read_bytes()
        require(_weights_of(model) == weights, 'was made of other weights')
        return model
    except FileNotFoundError:
        return None
    except OSError as error:
        problem = f'cannot be read ({os_error_reason(error)})'
    except PdlError as error:
        problem = str(error)
    _LOG.warning('%s %s and is not used; quantise these weights again.', path, problem)
    return None


def _weights_of(model: bytes) -> str:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load_from_string(model)
    except DecodeError:
        raise PdlError('is damaged') from None
    return {entry.key: entry.value for entry in proto.metadata_props}.get('weights', '')
