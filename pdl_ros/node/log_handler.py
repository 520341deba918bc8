"""What the library says reaches the node's log."""

from __future__ import annotations

import logging
from typing import Any


class NodeLogHandler(logging.Handler):
    """Hand the records of the loggers `pdl_ros.*` to a node's logger."""

    def __init__(self, logger: Any) -> None:
        super().__init__(logging.INFO)
        self._logger = logger
        root = logging.getLogger('pdl_ros')
        root.setLevel(logging.INFO)
        root.propagate = False  # the node's log writes to the console, too
        root.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record at its level."""
        say = {'WARNING': self._logger.warning, 'ERROR': self._logger.error}
        say.get(record.levelname, self._logger.info)(record.getMessage())
