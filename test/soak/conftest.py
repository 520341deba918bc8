"""The node's fixtures, for tests that take minutes."""

from __future__ import annotations

from ..node.conftest import _threads, parameters, rgb, segmenter, weights

__all__ = ['_threads', 'parameters', 'rgb', 'segmenter', 'weights']
