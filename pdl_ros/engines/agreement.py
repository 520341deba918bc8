"""How far engines and precisions are from plain PyTorch in fp32, measured once and kept beside the
weights, in NAME.engines.json for NAME.safetensors.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pdl_ros.engines.engine import PRECISIONS
from pdl_ros.errors import PdlError, os_error_reason, require
from pdl_ros.runtime.cpu_features import X86, has_bf16, instruction_set
from pdl_ros.runtime.files import write_json

LEAST_EQUAL_PIXELS = 0.995
MOST_PQ_LOST = 0.3  # points
_LARGEST = 1 << 20  # bytes of a file
_LOG = logging.getLogger('pdl_ros.engines')


@dataclass(frozen=True)
class Agreement:
    """What one way to run a network was seen to give on one instruction set.

    engine: torch, openvino or onnxruntime. isa: as `instruction_set` names it. equal_pixels: the
    mean share, 0 to 1, of panoptic pixels that are plain PyTorch's in fp32. pq_difference: points
    of PQ that it has more; None: there were no labels to measure it with. frames: in words, which
    were compared and how many; empty: nobody noted it.
    """

    engine: str
    precision: str
    isa: str
    equal_pixels: float
    pq_difference: float | None
    frames: str = ''

    def __post_init__(self) -> None:
        texts = (self.engine, self.precision, self.isa)
        require(
            all(isinstance(text, str) and len(text) <= 40 for text in texts)
            and isinstance(self.frames, str)
            and self.precision in PRECISIONS
            and _is_within(self.equal_pixels, 0, 1)
            and (self.pq_difference is None or _is_within(self.pq_difference, -100, 100)),
            'holds a row that is none',
        )

    @property
    def meets_mark(self) -> bool:
        """Tell whether it may stand for fp32."""
        lost = 0.0 if self.pq_difference is None else -self.pq_difference
        return self.equal_pixels >= LEAST_EQUAL_PIXELS and lost <= MOST_PQ_LOST


def disagreement(engine: str, precision: str, rows: Iterable[Agreement]) -> str:
    """Return why a way to run a network on this CPU may not stand for fp32; empty where it may.

    fp32 may always; others if they were measured on this instruction set and met the mark. int8 may
    where it met it on other sets of x86: weights are scaled so that its sums are exact on all of
    them. torch's bf16 needs no measurement on processors that have instructions for it.
    """
    if precision == 'fp32':
        return ''
    isa = instruction_set(engine)
    measured = [row for row in rows if (row.engine, row.precision) == (engine, precision)]
    counts = [row for row in measured if row.isa == isa]
    if not counts and precision == 'int8' and isa in X86:
        counts = [row for row in measured if row.isa in X86]
    for row in counts:
        if not row.meets_mark:
            points = '' if row.pq_difference is None else f', {row.pq_difference:+.2f} PQ'
            return f'{100 * row.equal_pixels:.2f} % equal pixels{points}'
    if counts:
        return ''
    if (engine, precision) == ('torch', 'bf16') and has_bf16():
        return ''
    return f'not measured on {isa}'


def agreement_file(checkpoint: Path) -> Path:
    """Return where the agreement of a checkpoint's engines is kept."""
    return checkpoint.with_suffix('.engines.json')


def read_agreement(checkpoint: Path | None, weights: str) -> tuple[Agreement, ...]:
    """Return what was measured of a checkpoint's engines.

    `weights`: the digest of the network's (`weights_digest`); what was measured with others is not
    used. A file that is damaged or of other weights is as none, with a warning.
    """
    if checkpoint is None:
        return ()
    path = agreement_file(checkpoint)
    try:
        found = _read(path)
        require(found['weights'] == weights, 'is about other weights')
        # Older files name the frames once, for all rows.
        frames = found.get('frames', '')
        return tuple(Agreement(**{'frames': frames, **row}) for row in found['rows'])
    except FileNotFoundError:
        return ()
    except OSError as error:
        problem = f'cannot be read ({os_error_reason(error)})'
    except PdlError as error:
        problem = str(error)
    except (ValueError, TypeError, KeyError, RecursionError):
        problem = 'is damaged'
    _LOG.warning(
        '%s %s and is not used; pdl_ros bench agreement --keep writes it anew.', path, problem
    )
    return ()


def keep_agreement(checkpoint: Path, weights: str, rows: Iterable[Agreement]) -> Path:
    """Write what was measured beside a checkpoint, and return the file.

    What it held of the same weights stays, unless the same engine and precision were measured again
    on the same instruction set.
    """
    earlier = read_agreement(checkpoint, weights)
    kept = {(row.engine, row.precision, row.isa): row for row in (*earlier, *rows)}
    return _write(checkpoint, weights, [row for _, row in sorted(kept.items())])


def forget_int8(checkpoint: Path, weights: str) -> None:
    """Drop what was measured of a checkpoint's network in int8, before another one takes its place:
    rows name the weights that it was made of, and not its file.
    """
    rows = read_agreement(checkpoint, weights)
    kept = [row for row in rows if row.precision != 'int8']
    if len(kept) < len(rows):
        _write(checkpoint, weights, kept)


def _write(checkpoint: Path, weights: str, rows: Iterable[Agreement]) -> Path:
    path = agreement_file(checkpoint)
    write_json(path, {'weights': weights, 'rows': [asdict(row) for row in rows]})
    return path


def _read(path: Path) -> dict[str, Any]:
    with path.open('rb') as file:
        text = file.read(_LARGEST + 1)
    require(len(text) <= _LARGEST, 'is too large')
    found = json.loads(text)
    require(isinstance(found, dict) and isinstance(found.get('rows'), list), 'is damaged')
    return found


def _is_within(value: Any, least: float, most: float) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and least <= value <= most
