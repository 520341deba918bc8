"""The network in int8 that lies beside a checkpoint, NAME.int8.onnx for NAME.safetensors."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pdl_ros.errors import PdlError, os_error_reason, require

if TYPE_CHECKING:
    from onnx import GraphProto

_LARGEST = 1 << 30  # bytes of a file
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
        with path.open('rb') as file:
            model = file.read(_LARGEST + 1)
        require(len(model) <= _LARGEST, 'is too large')
        require(_weights_of(model) == weights, 'was made of other weights')
        return model
    except FileNotFoundError:
        return None
    except OSError as error:
        problem = f'cannot be read ({os_error_reason(error)})'
    except PdlError as error:
        problem = str(error)
    _LOG.warning('%s %s and is not used; pdl_ros export openvino makes it anew.', path, problem)
    return None


def note_facts(model: bytes, weights: str, facts: dict[str, str]) -> bytes:
    """Return an ONNX file whose metadata name the float network that it was made of, and more.

    weights: as in `read_quantised`.
    """
    import onnx

    proto = onnx.load_from_string(model)
    noted = {entry.key: entry.value for entry in proto.metadata_props}
    onnx.helper.set_model_props(proto, {**noted, **facts, 'weights': weights})
    return proto.SerializeToString(deterministic=True)


def _weights_of(model: bytes) -> str:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load_from_string(model)
    except DecodeError:
        raise PdlError('is damaged') from None
    require(not _names_files(proto.graph), 'names other files to be read')
    return {entry.key: entry.value for entry in proto.metadata_props}.get('weights', '')


def _names_files(graph: GraphProto) -> bool:
    """Tell whether weights of a graph, or of a graph in it, lie in other files.

    Runtimes would read them, from whatever path stands there.
    """
    attributes = [a for node in graph.node for a in node.attribute]
    sparse = [t for s in graph.sparse_initializer for t in (s.values, s.indices)]
    tensors = [*graph.initializer, *sparse, *(a.t for a in attributes)]
    tensors += [t for a in attributes for t in a.tensors]
    inner = [
        *(a.g for a in attributes if a.HasField('g')),
        *(g for a in attributes for g in a.graphs),
    ]
    return any(t.external_data or t.data_location for t in tensors) or any(map(_names_files, inner))
