"""What the library says reaches the node's log."""

from __future__ import annotations

import logging
from typing import Any

_LIBRARY = logging.getLogger('pdl_ros')


class NodeLogHandler(logging.Handler):
    """Hand the records of the loggers `pdl_ros.*` to a node's logger, until it is closed."""

    def __init__(self, logger: Any) -> None:
        super().__init__(logging.INFO)
        self._logger = logger
        _LIBRARY.addHandler(self)
        _LIBRARY.setLevel(logging.INFO)
        _LIBRARY.propagate = False  # the node's log writes to the console, too

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record at its level."""
        say = {'WARNING': self._logger.warning, 'ERROR': self._logger.error}
        say.get(record.levelname, self._logger.info)(record.getMessage())

    def close(self) -> None:
        """Hand on nothing more; after the last node the library logs as it did before the first."""
        _LIBRARY.removeHandler(self)
        if not any(isinstance(handler, NodeLogHandler) for handler in _LIBRARY.handlers):
            _LIBRARY.setLevel(logging.NOTSET)
            _LIBRARY.propagate = True
        super().close()
